"""Battles: two models and who won, one comparison a row, in order (evalica, arena-rank).

Each row is a pair of its own without texts; its id is its line number.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from app.dialects.reasons import RowInvalid
from app.identifiers import shown
from judges.probability import parse_label

FIELDS: Final = ("left", "right", "winner")
MODEL_FIELDS: Final = ("model_a", "model_b", "winner")
_READ: Final = frozenset({*FIELDS, *MODEL_FIELDS, "annotator", "judge", "id", "group"})
# with these a row says more than who won, and reading it as a battle would lose it
_OTHER_FORMATS: Final = ("conversation_a", "conversation_b", "human")


def matches(row: Mapping[str, Any]) -> bool:
    """Whether the row has the fields of one of the two spellings and nothing to judge."""
    if any(name in row for name in _OTHER_FORMATS) or ("question_id" in row and "judge" in row):
        return False
    return all(n in row for n in FIELDS) or all(n in row for n in MODEL_FIELDS)


def convert(row: Mapping[str, Any], line: int) -> dict[str, Any]:
    """Return the canonical row without texts; an id of the source moves into the metadata.

    Raises:
        RowInvalid: the winner is none, or a field is missing.
    """
    names = FIELDS if "left" in row else MODEL_FIELDS
    try:
        label = parse_label(row.get("winner"))
    except ValueError:
        known = f"{names[0]}, {names[1]}, tie"
        raise RowInvalid(f"winner: {shown(row.get('winner'))} is none of {known}") from None
    vote = {"annotator": row.get("annotator", row.get("judge")), "label": label}
    if isinstance(row["winner"], str) and "bad" in row["winner"].lower():
        vote["both_bad"] = True
    metadata = {name: value for name, value in row.items() if name not in _READ}
    if "id" in row:
        metadata["source_id"] = row["id"]
    return {
        "id": line,
        "model_a": row.get(names[0]),
        "model_b": row.get(names[1]),
        "group": row.get("group"),
        "human": [vote],
        "metadata": metadata,
    }
