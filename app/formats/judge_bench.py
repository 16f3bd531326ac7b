"""JudgeBench: a question, two responses of one model, and which of them is right."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from app.core.names import shown
from app.formats.base import RowInvalid

FIELDS: Final = ("question", "response_A", "response_B", "label")
_LABELS: Final = {"A>B": "a", "B>A": "b", "A=B": "tie"}
_OTHER: Final = {"a": "b", "b": "a", "tie": "tie", None: None}
_READ: Final = frozenset({*FIELDS, "pair_id", "judgments", "judge_name"})


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
        "judges": _judges(row),
        "metadata": {name: value for name, value in row.items() if name not in _READ},
    }


def _judges(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the judge of an output said, in either order; null is a failure."""
    said = row.get("judgments")
    if said is None:
        return {}
    if not isinstance(said, list) or len(said) not in (1, 2):
        raise RowInvalid(f"judgments: {shown(said)} are not one or two judgements")
    first, *second = [_decision(number, one) for number, one in enumerate(said)]
    record = {"label_original": first, "label_swapped": _OTHER[second[0]] if second else None}
    return {_judge(row, said): {"label": first} if not second and first else record}


def _judge(row: Mapping[str, Any], said: list[Any]) -> str:
    details = [one.get("judgment") for one in said if isinstance(one, dict)]
    models = [one.get("judge_model") for one in details if isinstance(one, dict)]
    names = (row.get("judge_name"), next((name for name in models if name), None))
    return "/".join(str(name) for name in names if name) or "judge"


def _decision(number: int, one: object) -> str | None:
    decision = one.get("decision") if isinstance(one, dict) else None
    if decision is None:
        return None
    if not isinstance(decision, str) or decision not in _LABELS:
        known = ", ".join(_LABELS)
        raise RowInvalid(f"judgments.{number}.decision: {shown(decision)} is none of {known}")
    return _LABELS[decision]
