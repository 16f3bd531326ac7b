"""Reads and writes MT-Bench votes and judgments, and joins questions with answers.

Votes on one question, turn and unordered pair of models are one pair; model a is the one whose
name sorts first, because the column order of the published votes is not random.

Without judgements and votes every two models are a pair at every turn. With them only what was
judged is a pair; turn t is judged with the turns before it, as in FastChat.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, Final

from app.core.names import shown
from app.formats import arena_hard, lmarena
from app.formats.base import RowInvalid, trim
from app.formats.columns.declared import looks_like_model
from app.formats.columns.flat import of_python, texts_in
from app.formats.columns.verdicts import Heard, is_empty
from app.formats.joining import (
    Fault,
    Join,
    Joined,
    Outcome,
    Piece,
    by_name,
    name_of,
    text_of,
    texts_of,
)
from app.formats.writing import Given, Loss, Options, count_lost, is_judged, labels_by_order
from judges.probability import parse_label, swap_label

JUDGEMENT_FIELDS: Final = ("question_id", "model_1", "model_2", "g1_winner", "g2_winner")
VOTE_FIELDS: Final = ("question_id", "model_a", "model_b", "winner", "judge")
FIELDS: Final = (*JUDGEMENT_FIELDS, *VOTE_FIELDS)
_MODELS: Final = ("model_1", "model_2", "model_a", "model_b", "model_id")
_KEPT: Final = frozenset({*JUDGEMENT_FIELDS, "judge", "turn", "category"})
# what a vote says by fields of its own; all else is kept as metadata
_OF_VOTES: Final = frozenset(
    {*VOTE_FIELDS, "turn", "category", "conversation_a", "conversation_b", "annotator"}
)
_INCONSISTENT: Final = "tie (inconsistent)"
_GAMES: Final = ("g1_winner", "g2_winner")
_WINNERS: Final = {"model_1": "a", "model_2": "b", "tie": "tie", "error": None}


def matches(row: Mapping[str, Any]) -> bool:
    """Return whether the row has the fields of one of the two forms, and is none of an arena."""
    is_vote = all(name in row for name in VOTE_FIELDS) and not lmarena.is_140k(row)
    # further texts would be lost: such a row is read by its columns
    is_vote = is_vote and set(texts_in(row)) <= {"conversation_a", "conversation_b"}
    return is_vote or all(name in row for name in JUDGEMENT_FIELDS)


def prepared(row: Mapping[str, Any], heard: Heard) -> list[dict[str, Any]]:
    """Return the row with names as texts, the winner read, and the judge told from a person.

    Raises:
        RowInvalid: the winner cannot be read.
    """
    made = {
        name: trim(str(value)) if name in _MODELS and _is_name(value) else value
        for name, value in row.items()
    }
    _read_games(made, heard)
    if not all(name in made for name in VOTE_FIELDS):
        left = [name for name in made if name not in _KEPT] if "g1_winner" in made else []
        if left:
            heard.notes[f"{{n}} judgements have fields that are not kept ({', '.join(left)})"] += 1
        return [made]
    if is_empty(made["judge"]):
        made["judge"] = None
    judge, winner = made["judge"], made["winner"]
    if winner != _INCONSISTENT:
        made["winner"] = heard.label("winner", winner, (made["model_a"], made["model_b"]))
    if isinstance(judge, str | int) and not isinstance(judge, bool):
        if winner == _INCONSISTENT or heard.is_model("judge", str(judge)):
            made["judge"] = [str(judge)]
        else:
            made["annotator"] = judge
    return [made]


def _read_games(made: dict[str, Any], heard: Heard) -> None:
    """Put winners of games that are written in other words in the words of MT-bench."""
    for name in _GAMES:
        if isinstance(made.get(name), str) and made[name] not in _WINNERS:
            said = heard.label(name, made[name], (made.get("model_1"), made.get("model_2")))
            made[name] = said and _WRITTEN_WINNERS.get(said, "tie")


def _is_name(value: object) -> bool:
    return isinstance(value, int | str) and not isinstance(value, bool)


def convert(row: Mapping[str, Any], line: int) -> dict[str, Any]:
    """Return the canonical row: a pair with one vote or with one recorded judge.

    Raises:
        RowInvalid: a field cannot be read.
    """
    if "g1_winner" in row:
        return _judgement(row)
    return _vote(row)


def _judgement(row: Mapping[str, Any]) -> dict[str, Any]:
    record: dict[str, Any] = {
        "label_original": _winner("g1_winner", row.get("g1_winner")),
        "label_swapped": _winner("g2_winner", row.get("g2_winner")),
    }
    return {
        **_identity(row, row.get("model_1"), row.get("model_2")),
        "judges": {_judge_name(row.get("judge", "judge")): record},
    }


def _winner(field: str, value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or value not in _WINNERS:
        raise RowInvalid(f"{field}: {shown(value)} is none of {', '.join(_WINNERS)}")
    return _WINNERS[value]


def _judge_name(judge: object) -> str:
    """Return a judge's name: its model, or its model and the name of its prompt."""
    parts = judge if isinstance(judge, list) and judge else [judge]
    names = [part for part in parts if isinstance(part, str)]
    if len(names) < len(parts):
        raise RowInvalid(f"judge: {shown(judge)} is neither a name nor a list of names")
    return "/".join(names)


def _vote(row: Mapping[str, Any]) -> dict[str, Any]:
    first, second = row.get("model_a"), row.get("model_b")
    if not isinstance(first, str) or not isinstance(second, str):
        raise RowInvalid(f"model_a, model_b: {shown([first, second])} are not two names")
    is_turned = second < first
    if is_turned:
        first, second = second, first
    converted = {
        **_identity(row, first, second),
        **_texts(row, is_turned=is_turned),
        **_said(row, is_turned=is_turned),
    }
    further = {name: value for name, value in row.items() if name not in _OF_VOTES}
    return {**converted, "metadata": {**further, **converted["metadata"]}}


def _said(row: Mapping[str, Any], *, is_turned: bool) -> dict[str, Any]:
    winner, judge = row.get("winner"), row.get("judge")
    is_flip = winner == _INCONSISTENT
    try:
        label = parse_label("tie" if is_flip else winner)
    except ValueError as error:
        raise RowInvalid(f"winner: {error}") from None
    label = swap_label(label) if is_turned else label
    is_person = "annotator" in row
    if is_flip or isinstance(judge, list) or (not is_person and looks_like_model(str(judge))):
        return {"judges": {_judge_name(judge): {"label": label, "inconsistent": is_flip}}}
    vote = {"annotator": judge, "label": label}
    if isinstance(winner, str) and "bad" in winner.lower():
        vote["both_bad"] = True
    return {"human": [vote]}


def _identity(row: Mapping[str, Any], model_a: object, model_b: object) -> dict[str, Any]:
    question, turn = row.get("question_id"), row.get("turn", 1)
    metadata = {"question_id": question, "turn": turn}
    if "category" in row:
        metadata["category"] = row["category"]
    return {
        "id": f"{question}|{turn}|{model_a}|{model_b}",
        "model_a": model_a,
        "model_b": model_b,
        "metadata": metadata,
    }


def _texts(row: Mapping[str, Any], *, is_turned: bool) -> dict[str, Any]:
    """Return the conversations, if the row has them: the user's turns, an answer to each."""
    if row.get("conversation_a") is None and row.get("conversation_b") is None:
        return {}
    turns_a, responses_a = _turns(row, "conversation_a")
    turns_b, responses_b = _turns(row, "conversation_b")
    if turns_a != turns_b:
        raise RowInvalid("conversation_b: the user's turns differ from those of conversation_a")
    if is_turned:
        responses_a, responses_b = responses_b, responses_a
    return {"prompt": turns_a, "responses_a": responses_a, "responses_b": responses_b}


def _turns(row: Mapping[str, Any], field: str) -> tuple[list[str], list[str]]:
    turn = row.get("turn", 1)
    conversation = row.get(field)
    if not isinstance(turn, int) or isinstance(turn, bool) or turn < 1:
        raise RowInvalid(f"turn: {shown(turn)} is not 1, 2, ...")
    if not isinstance(conversation, list) or len(conversation) < 2 * turn:
        raise RowInvalid(
            f"{field}: is not a list of {2 * turn} messages or more{of_python(conversation)}"
        )
    texts: list[str] = []
    for message, role in zip(conversation, ("user", "assistant") * turn, strict=False):
        text = message.get("content") if isinstance(message, dict) else None
        if not isinstance(text, str) or message.get("role") != role:
            raise RowInvalid(f"{field}: user and assistant do not take turns with texts")
        texts.append(text)
    return texts[::2], texts[1::2]


_TEXTS: Final = ("question", "answer")
_NOT_KEPT: Final = frozenset({"question_id", "turns", "category"})


def is_question(row: Mapping[str, Any]) -> bool:
    """Return whether the row is a question: the user's turns."""
    turns = row.get("turns")
    is_of_objects = isinstance(turns, list) and any(isinstance(turn, dict) for turn in turns)
    return "question_id" in row and "turns" in row and not is_of_objects


def is_answer(row: Mapping[str, Any]) -> bool:
    """Return whether the row is a model's answer."""
    is_answer_row = all(name in row for name in ("question_id", "model_id", "choices"))
    return is_answer_row and not arena_hard.is_old_answer(row)


def _kind(row: Mapping[str, Any]) -> str:
    name_of(row, "question_id")
    if is_question(row):
        texts_of(row, "turns")
        return "question"
    if is_answer(row):
        text_of(row, "model_id")
        _answer_turns(row)
        return "answer"
    convert(row, 0)
    return "verdict"


def _answer_turns(row: Mapping[str, Any]) -> list[str]:
    choices = row["choices"]
    first = choices[0] if isinstance(choices, list) and choices else None
    if not isinstance(first, dict):
        raise RowInvalid(f"choices: {shown(choices)} is not a list of answers")
    try:
        return texts_of(first, "turns")
    except RowInvalid as error:
        raise RowInvalid(f"choices.0.{error}") from None


def _pairs(pieces: Sequence[Piece], kinds: Collection[str]) -> Iterator[Outcome]:
    of = {kind: [p for p in pieces if p.kind == kind] for kind in (*_TEXTS, "verdict")}
    if not any(kind in kinds for kind in _TEXTS):
        yield from (Joined(convert(p.row, p.line), (p,)) for p in of["verdict"])
        return
    questions, faults = by_name(of["question"], lambda piece: "", "this question")
    answers, further = by_name(of["answer"], lambda p: str(p.row["model_id"]), "the answer of")
    yield from (*faults, *further)
    question = questions.get("")
    if question is None:
        return
    if "verdict" in kinds:
        yield from (_judged(verdict, question, answers) for verdict in of["verdict"])
        return
    for (name_a, a), (name_b, b) in combinations(answers.items(), 2):
        for turn in range(1, len(question.row["turns"]) + 1):
            yield _pair(question, (name_a, a), (name_b, b), turn)


def _judged(verdict: Piece, question: Piece, answers: Mapping[str, Piece]) -> Outcome:
    row = convert(verdict.row, verdict.line)
    names = (row["model_a"], row["model_b"])
    missing = [name for name in names if not isinstance(name, str) or name not in answers]
    if missing:
        return Fault(verdict, f"no answer of {', '.join(map(shown, missing))} to its question")
    made = _pair(
        question,
        (names[0], answers[names[0]]),
        (names[1], answers[names[1]]),
        row["metadata"]["turn"],
    )
    if isinstance(made, Fault):
        return Fault(verdict, made.reason)
    said: dict[str, Any] = {name: row[name] for name in ("human", "judges") if name in row}
    metadata = {**row["metadata"], **made.row["metadata"]}
    return Joined({**made.row, **said, "metadata": metadata}, (*made.pieces, verdict))


def _pair(question: Piece, a: tuple[str, Piece], b: tuple[str, Piece], turn: Any) -> Outcome:
    turns_a, turns_b = _answer_turns(a[1].row), _answer_turns(b[1].row)
    asked = question.row["turns"]
    if not isinstance(turn, int) or not 1 <= turn <= min(len(asked), len(turns_a), len(turns_b)):
        return Fault(a[1], f"turn {shown(turn)} is not in the question and in both answers")
    fields = {name: value for name, value in question.row.items() if name not in _NOT_KEPT}
    number = question.row["question_id"]
    metadata = {"question_id": number, "turn": turn}
    if "category" in question.row:
        metadata["category"] = question.row["category"]
    row = {
        "id": f"{number}|{turn}|{a[0]}|{b[0]}",
        "prompt": asked[:turn],
        "responses_a": turns_a[:turn],
        "responses_b": turns_b[:turn],
        "model_a": a[0],
        "model_b": b[0],
        "metadata": {**fields, **metadata},
    }
    return Joined(row, (question, a[1], b[1]))


ANSWERS_JOIN: Final = Join(
    on="question_id",
    kind=_kind,
    key=lambda row: row["question_id"],
    pairs=_pairs,
    is_piece=lambda row, is_one_of_several: is_one_of_several or is_question(row) or is_answer(row),
)


_WRITTEN_WINNERS: Final = {"a": "model_1", "b": "model_2", "tie": "tie", None: "error"}
_OWN: Final = frozenset({"question_id", "turn", "category"})


def rows(given: Given, options: Options, loss: Loss) -> Iterator[dict[str, Any]]:
    """Yield the judgements of a pair."""
    row, metadata = given.row, given.row["metadata"]
    if not is_judged(given, loss):
        return
    question, turn = metadata.get("question_id", row["group"]), metadata.get("turn", 1)
    kept = {"models", "recorded scores", "groups"}
    named = f"{question}|{turn}|{row['model_a']}|{row['model_b']}"
    if not options.is_first(named):
        # a second pair of the same models would be read as the first one
        question = row["id"]
        kept.remove("groups")
    elif row["id"] == named:
        kept.add("ids")
    if metadata.keys() <= _OWN:
        kept.add("metadata of pairs")
    count_lost(given, kept, loss)
    for name, score in given.scores.items():
        original, swapped = labels_by_order(score, loss)
        yield {
            "question_id": question,
            "model_1": row["model_a"],
            "model_2": row["model_b"],
            "g1_winner": _WRITTEN_WINNERS[original],
            "g2_winner": _WRITTEN_WINNERS[swapped],
            "judge": name.split("/", 1),
            "turn": turn,
            **({"category": metadata["category"]} if "category" in metadata else {}),
        }
