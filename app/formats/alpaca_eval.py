"""Reads and writes AlpacaEval annotations, and the output files of models.

`preference` is 1 where output 1 is better and 2 where output 2 is, values between for weighted
ones; 1.5 and 0 are ties, null and NaN are failures. The annotator is a model: a recorded judge.

Models are paired in the order of their files, each with every other.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, Final

from app.core.names import shown
from app.formats.base import RowInvalid
from app.formats.joining import Fault, Join, Joined, Outcome, Piece, both_sides, by_name, text_of
from app.formats.writing import Given, Loss, Options, count_lost, count_lost_of_scores
from judges.types import Score

FIELDS: Final = ("instruction", "output_1", "output_2")
_READ: Final = frozenset(
    {
        "instruction", "output_1", "output_2", "generator_1", "generator_2", "annotator",
        "preference", "price_per_example", "time_per_example",
    }
)  # fmt: skip
# one annotator's own words; rows of other annotators on the same outputs are the same pair
_OF_THE_ANNOTATOR: Final = frozenset({"raw_completion", "annotator_kwargs", "date", "version"})

RESERVED: Final = _READ | _OF_THE_ANNOTATOR


def matches(row: Mapping[str, Any]) -> bool:
    """Return whether the row has the fields of this format."""
    return all(name in row for name in FIELDS)


def convert(row: Mapping[str, Any], line: int) -> dict[str, Any]:
    """Return the canonical row; the annotator's raw completion is not kept.

    Raises:
        RowInvalid: the preference is unknown.
    """
    converted = {
        "prompt": row["instruction"],
        "response_a": row["output_1"],
        "response_b": row["output_2"],
        "model_a": row.get("generator_1"),
        "model_b": row.get("generator_2"),
        "metadata": {k: v for k, v in row.items() if k not in _READ | _OF_THE_ANNOTATOR},
    }
    if "preference" in row:
        annotator = row.get("annotator")
        if not isinstance(annotator, str):
            raise RowInvalid(f"annotator: {shown(annotator)} is no name, but there is a preference")
        converted["judges"] = {annotator: _record(row)}
    return converted


def _record(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "p_a": _p_a(row["preference"]),
        "cost": row.get("price_per_example"),
        "seconds": row.get("time_per_example"),
    }


def _p_a(preference: object) -> float | None:
    if preference is None or (isinstance(preference, float) and math.isnan(preference)):
        return None
    if isinstance(preference, bool) or not isinstance(preference, int | float):
        raise RowInvalid(f"preference: {shown(preference)} is not a number")
    if preference == 0:
        return 0.5
    if not 1 <= preference <= 2:
        raise RowInvalid(f"preference: {shown(preference)} is not between 1 and 2 (or 0, a tie)")
    return 2.0 - preference


_KEPT: Final = ("texts", "models", "recorded scores", "metadata of pairs")
_KNOWN_BY: Final = ("instruction", "output_1", "generator_1", "output_2", "generator_2")


def rows(given: Given, options: Options, loss: Loss) -> Iterator[dict[str, Any]]:
    """Yield the annotations of a pair; one without a judge is a row without a preference."""
    if not given.is_plain:
        loss["pairs that are not one prompt with two answers"] += 1
        return
    row = given.row
    count_lost(given, _KEPT, loss)
    count_lost_of_scores(given, loss)
    further = {name: value for name, value in row["metadata"].items() if name not in RESERVED}
    if len(further) < len(row["metadata"]):
        loss["metadata named like fields of the format"] += 1
    base = {
        **further,
        "instruction": row["prompt"],
        "output_1": row["response_a"],
        "generator_1": row.get("model_a"),
        "output_2": row["response_b"],
        "generator_2": row.get("model_b"),
    }
    if not given.scores and _is_alone(base, options, loss):
        yield base
    for name, score in _writable(given, base, options, loss):
        yield {
            **base,
            "annotator": name,
            "preference": None if score.p_a is None else 2.0 - score.p_a,
            "price_per_example": score.cost_usd,
            "time_per_example": score.seconds,
        }


def _is_alone(base: Mapping[str, Any], options: Options, loss: Loss) -> bool:
    """Return whether no earlier pair has these texts and models; reading takes such pairs for one."""
    if options.is_first(_key(base)):
        options.is_first(_key(base, whole=True))
        return True
    loss["pairs with the texts and models of an earlier one"] += 1
    return False


def _key(base: Mapping[str, Any], judge: str | None = None, *, whole: bool = False) -> str:
    known_by = [base[name] for name in _KNOWN_BY]
    return json.dumps([known_by, list(base.items()) if whole else judge])


def _writable(
    given: Given, base: Mapping[str, Any], options: Options, loss: Loss
) -> Iterator[tuple[str, Score]]:
    """Yield the scores that reading keeps.

    Pairs that are taken for one have one score of each judge, and must not differ otherwise.
    """
    if not given.scores:
        return
    is_read = _is_alone(base, options, loss) or options.has_seen(_key(base, whole=True))
    for name, score in given.scores.items():
        if is_read and options.is_first(_key(base, name)):
            yield name, score
        else:
            loss["recorded scores of pairs with the texts and models of an earlier one"] += 1


OUTPUT_FIELDS: Final = ("instruction", "output")
_HOW: Final = "tribunal import a.json b.json"
_READ_OUTPUTS: Final = frozenset({*OUTPUT_FIELDS, "generator", "input"})


def is_output(row: Mapping[str, Any]) -> bool:
    """Return whether the row is one model's answer."""
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
    """Return why answers to one instruction, all of one generator, make no pair."""
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
