"""JudgeBench: a question, two responses of one model, and which of them is right."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from app.core.names import shown
from app.formats.base import RowInvalid
from app.formats.columns.verdicts import BOTH_BAD, Heard

FIELDS: Final = ("question", "response_A", "response_B", "label")
# a table of people's votes with the same names of columns is read by its columns
_OTHERS: Final = frozenset({"annotator", "criterion", "model_a", "model_b", "human"})
_LABELS: Final = {"A>B": "a", "B>A": "b", "A=B": "tie"}
_OTHER: Final = {"a": "b", "b": "a", "tie": "tie", None: None}
_READ: Final = frozenset({*FIELDS, "pair_id", "judgments", "judge_name"})


def matches(row: Mapping[str, Any]) -> bool:
    """Return whether the row has the fields of this format."""
    return all(name in row for name in FIELDS) and not _OTHERS & row.keys()


def prepared(row: Mapping[str, Any], heard: Heard) -> list[dict[str, Any]]:
    """Return the row with its label read.

    Raises:
        RowInvalid: the label cannot be read, nor any label of the upload.
    """
    said = heard.label("label", row["label"])
    made = {**row, "label": _one(said)}
    if isinstance(row.get("judgments"), list):
        made["judgments"] = [_with_decision(one, heard) for one in row["judgments"]]
    return [made]


def _one(said: str | None) -> str | None:
    return "tie" if said == BOTH_BAD else said


def _with_decision(one: object, heard: Heard) -> object:
    """Return what a judge said with its decision as JudgeBench spells it, if it is a text."""
    decision = one.get("decision") if isinstance(one, dict) else None
    if not isinstance(one, dict) or not isinstance(decision, str) or decision in _LABELS:
        return one
    said = _one(heard.label("judgments.decision", decision))
    return {**one, "decision": next((word for word, side in _LABELS.items() if side == said), None)}


def convert(row: Mapping[str, Any], line: int) -> dict[str, Any]:
    """Return the canonical row with one label of the annotator `gold`.

    Raises:
        RowInvalid: what a judge said cannot be read.
    """
    label = row["label"]
    return {
        "id": row.get("pair_id"),
        "prompt": row["question"],
        "response_a": row["response_A"],
        "response_b": row["response_B"],
        "group": row.get("original_id"),
        "human": [{"annotator": "gold", "label": label}] if label is not None else [],
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
