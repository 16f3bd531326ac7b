"""Requests for certificates, and questions about them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from app.datasets.splits import Part

Method = Literal[
    "auto", "diagonal", "strongest", "learned", "pareto_testing", "stagewise", "simultaneous",
    "sequential", "average", "published_code", "auto_raw", "learned_stack", "weighted",
]  # fmt: skip
SliceRule = Literal["joint", "each", "common"]
LabelRule = Literal["majority", "random_annotator"]
Ties = Literal["exclude", "error", "half", "class"]


def _no_percentage(value: object) -> object:
    if isinstance(value, int | float) and 1 < value < 100:
        raise ValueError(f"is a share between 0 and 1: for {value:g} % write {value / 100:g}")
    return value


# nearer to 0 or 1 nothing would be left of the other side after rounding to 12 decimals
Share = Annotated[float, BeforeValidator(_no_percentage), Field(ge=1e-9, le=1 - 1e-9)]
Name = Annotated[str, Field(min_length=1, max_length=512)]


class JudgeOrder(BaseModel):
    """A cascade made for this request: judges from cheap to strong."""

    model_config = ConfigDict(extra="forbid")
    judges: list[Name] = Field(min_length=1, max_length=16, examples=[["student", "gpt-4"]])


class CalibrationIn(BaseModel):
    """Which cascade to certify, on which labels, for which promise."""

    model_config = ConfigDict(extra="forbid")
    dataset: Name = Field(description="id or name of the dataset that holds the labels")
    cascade: Name | JudgeOrder = Field("default", description="a configured cascade, or its judges")
    target_agreement: Share = Field(0.85, description="least share of verdicts people agree with")
    failure_probability: Share = Field(
        0.1, description="probability that the promise does not hold, over the draw of the labels"
    )
    method: Method = "auto"
    label_rule: LabelRule = Field(
        "majority", description="agree with the annotators' majority, or with one drawn at random"
    )
    ties: Ties = Field("exclude", description="what a tie of the people means for a verdict")
    part: Part | None = None
    slices: Name | None = Field(None, description="a metadata field: a certificate for each value")
    slice_rule: SliceRule = Field(
        "joint",
        description="the slices' certificates hold together, each alone, or by common thresholds",
    )
    menu: list[Share] | None = Field(
        None, min_length=1, max_length=16, description="further target agreements declared together"
    )
    pool: Name | None = Field(None, description="a dataset of unlabelled pairs for the start")
    max_group_size: int | None = Field(None, ge=1, le=10_000)
    min_label_probability: float | None = Field(None, gt=0, le=1)
    max_shift: float = Field(
        1.0,
        ge=1,
        le=100,
        description="factor by which any kind of pair may become more frequent, or rarer",
    )
    traffic: Name | None = Field(
        None, description="for method weighted: a dataset of pairs as they come in the traffic"
    )
    traffic_features: list[Name] | None = Field(
        None,
        min_length=1,
        max_length=16,
        description="metadata fields by which the traffic differs, beside lengths and judges' answers",
    )
    max_ratio: float | None = Field(
        None,
        gt=0,
        le=1_000,
        description="for method weighted: clip of how many times as frequent a kind of pair is",
    )
    seed: int = Field(0, ge=0, lt=2**63)


class KnownPromptsIn(BaseModel):
    """Prompts that a certificate may have been made from."""

    model_config = ConfigDict(extra="forbid")
    prompts: list[str] = Field(
        min_length=1,
        max_length=256,
        description="first user turns; case, spaces and punctuation make no difference",
    )
