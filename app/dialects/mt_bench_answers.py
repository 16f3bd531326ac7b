"""MT-bench questions and answers, one file a model, with judgements or votes on them if there are.

Without judgements and votes every two models are a pair at every turn. With them a pair is what was
judged; turn t is judged with what was said before, as in FastChat.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, Final

from app.dialects import mt_bench
from app.dialects.joining import (
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
from app.dialects.reasons import RowInvalid
from app.identifiers import shown

_TEXTS: Final = ("question", "answer")
_NOT_KEPT: Final = frozenset({"question_id", "turns", "category"})


def is_question(row: Mapping[str, Any]) -> bool:
    """Whether the row is a question: the user's turns."""
    return "question_id" in row and "turns" in row


def is_answer(row: Mapping[str, Any]) -> bool:
    """Whether the row is a model's answer."""
    return all(name in row for name in ("question_id", "model_id", "choices"))


def _kind(row: Mapping[str, Any]) -> str:
    name_of(row, "question_id")
    if is_question(row):
        texts_of(row, "turns")
        return "question"
    if is_answer(row):
        text_of(row, "model_id")
        _answer_turns(row)
        return "answer"
    mt_bench.convert(row, 0)
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
        yield from (Joined(mt_bench.convert(p.row, p.line), (p,)) for p in of["verdict"])
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
    row = mt_bench.convert(verdict.row, verdict.line)
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
    return Joined({**made.row, **said}, (*made.pieces, verdict))


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
