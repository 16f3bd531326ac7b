"""AlpacaEval annotations: one instruction, two outputs, and one annotator's preference.

`preference` is 1 where output 1 is better and 2 where output 2 is, values between for weighted
ones; 1.5 and 0 are ties, null and NaN are failures. The annotator is a model: a recorded judge.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

from app.dialects.reasons import RowInvalid
from app.identifiers import shown

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
    """Whether the row has the fields of this format."""
    return all(name in row for name in FIELDS)


def convert(row: Mapping[str, Any], line: int) -> dict[str, Any]:
    """Return the canonical row; the annotator's raw completion is not kept.

    Raises:
        RowInvalid: the preference is none.
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
