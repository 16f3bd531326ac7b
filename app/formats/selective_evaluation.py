"""Files of cascaded selective evaluation: one judge a file, joined on instruction and outputs.

A file's name is its judge's. `preferences` are people's, 1 for the first output and 2 for the
second, or in words; `probs` are the judge's for either, and p_a is the first's share of both.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, Final

from app.core.names import shown
from app.formats.base import RowInvalid
from app.formats.columns.verdicts import BOTH_BAD, Heard
from app.formats.joining import Join, Joined, Outcome, Piece, by_name, text_of, texts_of

FIELDS: Final = ("instruction", "outputs")
# what a preference says, which is the place of an output
_PLACES: Final = {1: "a", 2: "b"}
_READ: Final = frozenset({*FIELDS, "preferences", "probs", "judge", "generators"})


def matches(row: Mapping[str, Any]) -> bool:
    """Return whether the row has the fields of this format."""
    return all(name in row for name in FIELDS) and ("preferences" in row or "probs" in row)


def prepared(row: Mapping[str, Any], heard: Heard) -> list[dict[str, Any]]:
    """Return the row with the preferences of people read.

    Raises:
        RowInvalid: one cannot be read, nor any of the upload.
    """
    given = row.get("preferences")
    if not isinstance(given, dict):
        return [dict(row)]
    read = {annotator: _said(value, heard) for annotator, value in given.items()}
    return [{**row, "preferences": {name: said for name, said in read.items() if said is not None}}]


def _said(value: object, heard: Heard) -> str | None:
    is_place = isinstance(value, int | float) and not isinstance(value, bool) and value in _PLACES
    if is_place and not heard.is_declared(value):
        return _PLACES[value]  # type: ignore[index]  # it is one of its keys
    said = heard.label("preferences", value)
    return "tie" if said == BOTH_BAD else said


def _kind(row: Mapping[str, Any]) -> str:
    text_of(row, "instruction")
    if len(texts_of(row, "outputs")) != 2:
        raise RowInvalid(f"outputs: {shown(row['outputs'])} are not two texts")
    _votes(row)
    _p_a(row)
    return "judged"


def _votes(row: Mapping[str, Any]) -> list[dict[str, Any]]:
    preferences = row.get("preferences") or {}
    if not isinstance(preferences, dict):
        raise RowInvalid(f"preferences: {shown(preferences)} is not an object of annotators")
    return [{"annotator": annotator, "label": said} for annotator, said in preferences.items()]


def _p_a(row: Mapping[str, Any]) -> float | None:
    """Return the judge's p_a; None where it failed."""
    probs = row.get("probs")
    if probs is None:
        return None
    if not isinstance(probs, list) or len(probs) != 2 or not all(map(_is_amount, probs)):
        raise RowInvalid(f"probs: {shown(probs)} are not two probabilities")
    total = sum(map(float, probs))
    return float(probs[0]) / total if total > 0 and math.isfinite(total) else None


def _is_amount(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    is_too_large = isinstance(value, int) and value > sys.float_info.max
    return not (value < 0 or is_too_large)


def _judge(piece: Piece) -> str:
    judge = piece.row.get("judge")
    return judge if isinstance(judge, str) and judge else piece.file or "judge"


def _pairs(pieces: Sequence[Piece], kinds: Collection[str]) -> Iterator[Outcome]:
    judged, faults = by_name(pieces, _judge, "the judge")
    yield from faults
    votes: list[dict[str, Any]] = []
    metadata: dict[str, Any] = {}
    for piece in judged.values():
        votes += [vote for vote in _votes(piece.row) if vote not in votes]
        metadata = {**{k: v for k, v in piece.row.items() if k not in _READ}, **metadata}
    first = pieces[0].row
    models = first.get("generators")
    names = models if isinstance(models, list) and len(models) == 2 else [None, None]
    row = {
        "prompt": first["instruction"],
        "response_a": first["outputs"][0],
        "response_b": first["outputs"][1],
        "model_a": names[0],
        "model_b": names[1],
        "human": votes,
        "judges": {
            name: {"p_a": _p_a(piece.row)} for name, piece in judged.items() if "probs" in piece.row
        },
        "metadata": metadata,
    }
    yield Joined(row, tuple(judged.values()))


JOIN: Final = Join(
    on="instruction and outputs",
    kind=_kind,
    key=lambda row: [row["instruction"], row["outputs"]],
    pairs=_pairs,
)
