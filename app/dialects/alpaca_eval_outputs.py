"""AlpacaEval outputs: a model's answers, one file a model, joined on their instruction.

Models are paired in the order of their files, each with every other.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, Final

from app.dialects.joining import Fault, Join, Joined, Outcome, Piece, both_sides, by_name, text_of
from app.dialects.reasons import RowInvalid
from app.identifiers import shown

OUTPUT_FIELDS: Final = ("instruction", "output")
_HOW: Final = "tribunal import a.json b.json"
_READ_OUTPUTS: Final = frozenset({*OUTPUT_FIELDS, "generator", "input"})


def is_output(row: Mapping[str, Any]) -> bool:
    """Whether the row is one model's answer."""
    return all(name in row for name in OUTPUT_FIELDS) and "output_1" not in row


def _kind(row: Mapping[str, Any]) -> str:
    for field in OUTPUT_FIELDS:
        text_of(row, field)
    generator = row.get("generator")
    if generator is not None and not isinstance(generator, str):
        raise RowInvalid(f"generator: {shown(generator)} is not a name")
    return "answer"


def _generator(piece: Piece) -> str:
    return piece.row.get("generator") or piece.file


def _of_one_model(pieces: Sequence[Piece]) -> str:
    """Say why answers to one instruction, all of one generator, make no pair."""
    if len(pieces) == 1:
        return f"no other model answers this instruction: give the files of two models ({_HOW})"
    files = " and ".join(dict.fromkeys(piece.file_name for piece in pieces if piece.file_name))
    return (
        f"all answers to this instruction ({files or 'several'}) are of the same generator, "
        f"{shown(_generator(pieces[0]))}: give the files of two models ({_HOW})"
    )


def _pairs(pieces: Sequence[Piece], kinds: Collection[str]) -> Iterator[Outcome]:
    generators = {_generator(piece) for piece in pieces}
    if len(generators) == 1 and "" not in generators:
        yield from (Fault(piece, _of_one_model(pieces)) for piece in pieces)
        return
    named, faults = by_name(
        [piece for piece in pieces if _generator(piece)], _generator, "an answer of"
    )
    yield from faults
    for piece in pieces:
        if not _generator(piece):
            yield Fault(piece, "generator: is missing, and the file has no name")
    for (name_a, a), (name_b, b) in combinations(named.items(), 2):
        row = {
            "prompt": a.row["instruction"],
            "input": a.row.get("input"),
            "response_a": a.row["output"],
            "response_b": b.row["output"],
            "model_a": name_a,
            "model_b": name_b,
            "metadata": both_sides(a.row, b.row, _READ_OUTPUTS),
        }
        yield Joined({name: value for name, value in row.items() if value is not None}, (a, b))


OUTPUTS_JOIN: Final = Join(
    on="instruction",
    kind=_kind,
    key=lambda row: [row["instruction"], row.get("input") or ""],
    pairs=_pairs,
)
