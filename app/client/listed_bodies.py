"""What lists and labels of the service hold, as typed dictionaries."""

from __future__ import annotations

from typing import Any, Literal, TypedDict


class LabelsBody(TypedDict):
    """What became of posted labels."""

    accepted: int
    replaced: int
    unchanged: int
    contradicted: int


class CheckedBody(TypedDict):
    """How many labels were looked at; none was stored."""

    checked: int


class LabelBody(TypedDict):
    """What one person said of a pair."""

    id: str
    dataset: str
    pair: str
    annotator: str | None
    label: Literal["a", "b", "tie"]
    criterion: str
    created_at: str
    replaced_at: str | None


class _Pair(TypedDict):
    id: str
    group: str
    human: list[dict[str, Any]]
    judges: dict[str, Any]
    metadata: dict[str, Any]


class PairBody(_Pair, total=False):
    """A pair as a row that would import it again; a battle has no texts."""

    prompt: str | list[str]
    messages: list[dict[str, str]]
    response_a: str
    response_b: str
    responses_a: list[str]
    responses_b: list[str]
    model_a: str
    model_b: str
    criterion: str


class JudgeBody(TypedDict):
    """A configured judge."""

    id: str
    name: str
    kind: str
    model: str | None
    fingerprint: str
    price_input: float | None
    price_output: float | None
    health: dict[str, Any]


class CascadeBody(TypedDict):
    """A configured cascade, judges from cheap to strong."""

    id: str
    name: str
    judges: list[str]
