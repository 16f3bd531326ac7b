"""JudgeBench: a question, two responses of one model, and which of them is right."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from app.core.names import shown
from app.formats.base import RowInvalid

FIELDS: Final = ("question", "response_A", "response_B", "label")
_LABELS: Final = {"A>B": "a", "B>A": "b", "A=B": "tie"}
_READ: Final = frozenset({*FIELDS, "pair_id"})


def matches(row: Mapping[str, Any]) -> bool:
    """Return whether the row has the fields of this format."""
    return all(name in row for name in FIELDS)


def convert(row: Mapping[str, Any], line: int) -> dict[str, Any]:
    """Return the canonical row with one label of the annotator `gold`.

    Raises:
        RowInvalid: the label is unknown.
    """
    label = row["label"]
    if not isinstance(label, str) or label not in _LABELS:
        raise RowInvalid(f"label: {shown(label)} is none of {', '.join(_LABELS)}")
    return {
        "id": row.get("pair_id"),
        "prompt": row["question"],
        "response_a": row["response_A"],
        "response_b": row["response_B"],
        "group": row.get("original_id"),
        "human": [{"annotator": "gold", "label": _LABELS[label]}],
        "metadata": {name: value for name, value in row.items() if name not in _READ},
    }
