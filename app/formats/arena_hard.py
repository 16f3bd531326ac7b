"""Reads and writes Arena-Hard judgments, and joins questions with answers.

Game 1 shows the baseline as A and the model as B, game 2 the reverse. A pair has the model as its
response a and the baseline as b, so game 2 is its order as written and game 1 the swapped one.
Without judgements every two models are a pair.

Rows of v0.1 call a question `question_id` and a model `model_id`, and keep texts in turns; their
judgements do not name the baseline, which was gpt-4-0314.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, Final

from app.core.names import shown
from app.formats.base import RowInvalid, trim
from app.formats.columns.flat import answers_in
from app.formats.columns.verdicts import Heard
from app.formats.joining import Fault, Join, Joined, Outcome, Piece, by_name, name_of, text_of
from app.formats.writing import Given, Loss, Options, count_lost, is_judged, labels_by_order

# what a game's score says of who was shown as A: label, strength
SCORES: Final = {
    "A>>B": ("a", 2), "A>B": ("a", 1), "A=B": ("tie", 0), "B>A": ("b", 1), "B>>A": ("b", 2),
}  # fmt: skip
_SPELT: Final = {"a": "A>B", "b": "B>A"}
_OTHER: Final = {"a": "b", "b": "a", "tie": "tie"}
JUDGEMENT_FIELDS: Final = ("uid", "model", "baseline", "games")
OLD_JUDGEMENT_FIELDS: Final = ("question_id", "model", "judge", "games")
OLD_BASELINE: Final = "gpt-4-0314"
_MODELS: Final = ("model", "baseline")
# a row with one of these is no question
_ANSWERS: Final = frozenset(
    {"chosen", "rejected", "response", "output", "generations", "completions"}
)


def is_judgement(row: Mapping[str, Any]) -> bool:
    """Return whether the row is a judge's two games."""
    return all(name in row for name in JUDGEMENT_FIELDS)


def is_answer(row: Mapping[str, Any]) -> bool:
    """Return whether the row is a model's answer."""
    return all(name in row for name in ("uid", "model", "messages")) and "games" not in row


def is_question(row: Mapping[str, Any]) -> bool:
    """Return whether the row is a question."""
    has_answers = answers_in(row) is not None or bool(_ANSWERS & row.keys())
    return "uid" in row and "prompt" in row and not has_answers


def matches(row: Mapping[str, Any]) -> bool:
    """Return whether the row is one of the three, of either version."""
    is_new = is_judgement(row) or is_answer(row) or is_question(row)
    return is_new or _is_old_judgement(row) or _is_old_question(row) or is_old_answer(row)


def _is_old_judgement(row: Mapping[str, Any]) -> bool:
    return all(name in row for name in OLD_JUDGEMENT_FIELDS)


def _is_old_question(row: Mapping[str, Any]) -> bool:
    return "question_id" in row and bool(_contents(row.get("turns")))


def is_old_answer(row: Mapping[str, Any]) -> bool:
    """Return whether the row is a model's answer of v0.1, whose turns are objects."""
    choices = row.get("choices")
    first = choices[0] if isinstance(choices, list) and choices else None
    turns = first.get("turns") if isinstance(first, dict) else None
    return "question_id" in row and "model_id" in row and bool(_contents(turns))


def _contents(turns: object) -> list[Any]:
    """Return the contents of turns that are objects; none where they are not."""
    is_objects = isinstance(turns, list) and all(
        isinstance(turn, dict) and "content" in turn for turn in turns
    )
    return [turn["content"] for turn in turns] if is_objects else []  # type: ignore[attr-defined]


def prepared(row: Mapping[str, Any], heard: Heard) -> list[dict[str, Any]]:
    """Return a row of v0.1 as one of v2, and names as texts.

    Raises:
        RowInvalid: a question or an answer has several turns.
    """
    made: dict[str, Any] = dict(row)
    for name in _MODELS:
        if isinstance(made.get(name), int | str) and not isinstance(made[name], bool):
            made[name] = trim(str(made[name]))
    if isinstance(made.get("games"), list):
        made["games"] = [_with_score(game, heard) for game in made["games"]]
    if "uid" in made or "question_id" not in made:
        return [made]
    made["uid"] = made.pop("question_id")
    if "games" in made:
        if not isinstance(made.get("baseline"), str):
            made["baseline"] = OLD_BASELINE
            heard.notes[
                f"{{n}} judgements of Arena-Hard v0.1 are taken as against {OLD_BASELINE}"
            ] += 1
        return [made]
    if "choices" in made:
        answer = _only("choices", _contents(made.pop("choices")[0]["turns"]))
        made["model"] = trim(str(made.pop("model_id")))
        made["messages"] = [{"role": "assistant", "content": answer}]
        return [made]
    made["prompt"] = _only("turns", _contents(made.pop("turns")))
    return [made]


def _with_score(game: Any, heard: Heard) -> Any:
    """Return a game whose score is spelt as Arena-Hard spells it.

    Raises:
        RowInvalid: the score cannot be read, nor any score of the upload.
    """
    score = game.get("score") if isinstance(game, dict) else None
    if not isinstance(score, str) or score in SCORES:
        return game
    said = heard.label("games.score", score)
    return {**game, "score": said and _SPELT.get(said, "A=B")}


def _only(field: str, contents: Sequence[Any]) -> Any:
    if len(contents) != 1:
        raise RowInvalid(f"{field}: {len(contents)} turns, where Arena-Hard has one")
    return contents[0]


def _kind(row: Mapping[str, Any]) -> str:
    name_of(row, "uid")
    if is_judgement(row):
        text_of(row, "model")
        text_of(row, "baseline")
        _games(row)
        return "judgement"
    if is_answer(row):
        text_of(row, "model")
        _messages(row)
        return "answer"
    text_of(row, "prompt")
    return "question"


def _games(row: Mapping[str, Any]) -> tuple[str | None, str | None]:
    games = row["games"]
    if not isinstance(games, list) or len(games) != 2:
        raise RowInvalid(f"games: {shown(games)} is not a list of two games")
    first, second = (_score(number, game) for number, game in enumerate(games))
    return first, second


def _score(number: int, game: object) -> str | None:
    score = game.get("score") if isinstance(game, dict) else None
    if score is not None and (not isinstance(score, str) or score not in SCORES):
        known = ", ".join(SCORES)
        raise RowInvalid(f"games.{number}.score: {shown(score)} is none of {known} and not null")
    return score


def _messages(row: Mapping[str, Any]) -> tuple[list[Any], str]:
    """Return what was said before a model's answer, and the answer."""
    messages = row["messages"]
    last = messages[-1] if isinstance(messages, list) and messages else None
    content = last.get("content") if isinstance(last, dict) else None
    answer = content.get("answer") if isinstance(content, dict) else content
    if not isinstance(answer, str):
        raise RowInvalid("messages: the last one holds no answer")
    return messages[:-1], answer


def _pairs(pieces: Sequence[Piece], kinds: Collection[str]) -> Iterator[Outcome]:
    questions, faults = by_name(
        [p for p in pieces if p.kind == "question"], lambda piece: "", "this question"
    )
    answers, further = by_name(
        [p for p in pieces if p.kind == "answer"], lambda p: str(p.row["model"]), "the answer of"
    )
    yield from (*faults, *further)
    question = questions.get("")
    judgements = [piece for piece in pieces if piece.kind == "judgement"]
    if "judgement" in kinds:
        yield from _all_judged(judgements, question, answers, "answer" in kinds)
        return
    for (name_a, a), (name_b, b) in combinations(answers.items(), 2):
        row = {**_identity(a.row, question, name_a, name_b), **_texts(a, b, question)}
        yield Joined(row, (a, b, *((question,) if question else ())))


def _all_judged(
    judgements: Sequence[Piece],
    question: Piece | None,
    answers: Mapping[str, Piece],
    has_answers: bool,
) -> Iterator[Outcome]:
    """Yield a pair for every two models that were judged, with all its judges."""
    of_pair: dict[tuple[str, str], list[Piece]] = {}
    for piece in judgements:
        of_pair.setdefault((piece.row["model"], piece.row["baseline"]), []).append(piece)
    for names, judged in of_pair.items():
        missing = [name for name in names if name not in answers] if has_answers else []
        if missing:
            reason = f"no answer of {', '.join(map(shown, missing))} to its question"
            yield from (Fault(piece, reason) for piece in judged)
            continue
        by_judge, faults = by_name(judged, _judge, "the judge")
        yield from faults
        yield _judged(names, by_judge, question, answers)


def _judged(
    names: tuple[str, str],
    by_judge: Mapping[str, Piece],
    question: Piece | None,
    answers: Mapping[str, Piece],
) -> Joined:
    used = [*by_judge.values(), *([question] if question else [])]
    row = _identity(used[0].row, question, *names)
    if names[0] in answers:
        a, b = answers[names[0]], answers[names[1]]
        row |= _texts(a, b, question)
        used += [a, b]
    row["judges"] = {name: _record(piece.row) for name, piece in by_judge.items()}
    strengths = {name: _strengths(piece.row) for name, piece in by_judge.items()}
    strong = {name: found for name, found in strengths.items() if 2 in found}
    if strong:
        row["metadata"]["strength"] = strong
    return Joined(row, tuple(used))


def _judge(piece: Piece) -> str:
    judge = piece.row.get("judge")
    if isinstance(judge, list) and all(isinstance(part, str) for part in judge):
        judge = "/".join(judge)
    return judge if isinstance(judge, str) and judge else piece.file or "judge"


def _record(row: Mapping[str, Any]) -> dict[str, Any]:
    first, second = _games(row)
    return {
        "label_original": SCORES[second][0] if second else None,
        "label_swapped": _OTHER[SCORES[first][0]] if first else None,
    }


def _strengths(row: Mapping[str, Any]) -> list[int | None]:
    """Return the strength of each game's preference, in the order original, swapped."""
    first, second = _games(row)
    return [SCORES[score][1] if score else None for score in (second, first)]


def _identity(
    row: Mapping[str, Any], question: Piece | None, model_a: str, model_b: str
) -> dict[str, Any]:
    uid = row["uid"]
    fields = question.row if question else row
    metadata = {
        name: fields[name] for name in ("category", "subcategory", "cluster") if name in fields
    }
    return {
        "id": f"{uid}|{model_a}|{model_b}",
        "model_a": model_a,
        "model_b": model_b,
        "group": uid,
        "metadata": {"uid": uid, "baseline": model_b, **metadata},
    }


def _texts(a: Piece, b: Piece, question: Piece | None) -> dict[str, Any]:
    before, answer_a = _messages(a.row)
    asked: dict[str, Any] = {"messages": before}
    if question is not None:
        asked = {"prompt": question.row["prompt"]}
    elif len(before) == 1 and isinstance(before[0], dict) and before[0].get("role") == "user":
        asked = {"prompt": before[0].get("content")}
    return {**asked, "response_a": answer_a, "response_b": _messages(b.row)[1]}


JOIN: Final = Join(on="uid", kind=_kind, key=lambda row: row["uid"], pairs=_pairs)


_SCORES: Final = {("a", 1): "A>B", ("a", 2): "A>>B", ("b", 1): "B>A", ("b", 2): "B>>A"}
_SWAPPED: Final = {"a": "b", "b": "a"}
_OWN: Final = frozenset({"uid", "baseline", "category", "subcategory", "cluster", "strength"})


def rows(given: Given, options: Options, loss: Loss) -> Iterator[dict[str, Any]]:
    """Yield the judgements of a pair."""
    row, metadata = given.row, given.row["metadata"]
    if not is_judged(given, loss):
        return
    uid = metadata.get("uid", row["group"])
    kept = {"models", "recorded scores"}
    named = f"{uid}|{row['model_a']}|{row['model_b']}"
    if not options.is_first(named):
        # a second pair of the same models would be read as the first one
        uid = row["id"]
    elif row["id"] == named:
        kept.add("ids")
    if row["group"] == str(uid):
        kept.add("groups")
    if metadata.keys() <= _OWN:
        kept.add("metadata of pairs")
    count_lost(given, kept, loss)
    strengths = metadata.get("strength")
    for name, score in given.scores.items():
        original, swapped = labels_by_order(score, loss)
        strong = _recorded_strengths(strengths, name)
        yield {
            "uid": uid,
            "judge": name,
            "model": row["model_a"],
            "baseline": row["model_b"],
            "games": [
                {"score": _written_score(_SWAPPED.get(swapped or "", swapped), strong[1])},
                {"score": _written_score(original, strong[0])},
            ],
            **{key: metadata[key] for key in ("category", "subcategory") if key in metadata},
        }


def _recorded_strengths(strengths: object, judge: str) -> tuple[int, int]:
    found = strengths.get(judge) if isinstance(strengths, dict) else None
    first, second = found if isinstance(found, list) and len(found) == 2 else (1, 1)
    return (2 if first == 2 else 1), (2 if second == 2 else 1)


def _written_score(label: str | None, strength: int) -> str | None:
    if label is None:
        return None
    return "A=B" if label == "tie" else _SCORES[label, strength]
