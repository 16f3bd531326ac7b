"""Requests for certificates, and questions about them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from app.core.db import read_duration
from app.core.errors import Unprocessable
from app.datasets.splits import Part

Method = Literal[
    "auto", "diagonal", "strongest", "learned", "pareto_testing", "stagewise", "simultaneous",
    "sequential", "average", "published_code", "auto_raw", "learned_stack", "weighted",
]  # fmt: skip
_FOR_PANELS = (
    "auto", "auto_raw", "learned_stack", "diagonal", "strongest", "learned", "pareto_testing",
)  # fmt: skip
_DECLARABLE = (*_FOR_PANELS, "stagewise")
SliceRule = Literal["joint", "each", "common"]
LabelRule = Literal["majority", "random_annotator", "panel"]
Ties = Literal["exclude", "error", "half", "class"]


def _no_percentage(value: object) -> object:
    if isinstance(value, int | float) and 1 < value < 100:
        raise ValueError(f"is a share between 0 and 1: for {value:g} % write {value / 100:g}")
    return value


def _no_agreement(value: object) -> object:
    value = _no_percentage(value)
    if isinstance(value, int | float) and 0.5 <= value < 1:
        raise ValueError(
            f"is a share of wrong verdicts below 0.5: for an agreement of {value:g} write "
            f"{round(1 - value, 12):g}"
        )
    return value


# nearer to 0 or 1 nothing would be left of the other side after rounding to 12 decimals
Share = Annotated[float, BeforeValidator(_no_percentage), Field(ge=1e-9, le=1 - 1e-9)]
# of all pairs, those with a wrong verdict
ErrorShare = Annotated[float, BeforeValidator(_no_agreement), Field(ge=1e-9, lt=0.5)]
Scope = Literal["answered", "dataset"]
Name = Annotated[str, Field(min_length=1, max_length=512)]


Queues = Annotated[
    list[Name],
    Field(
        min_length=1,
        max_length=64,
        description="only labels that these queues asked for, by id or name; default: all labels but "
        "those of audits and of what was abstained on",
    ),
]


# what says nothing of the test itself
OF_ITS_LIFE: Final = ("expires_in", "supersedes")


def _duration(text: str) -> str:
    read_duration(text)
    return text


def _seconds(given: Any) -> Any:
    is_number = isinstance(given, int) and not isinstance(given, bool)
    return f"{given}s" if is_number else given


# a number is seconds, as everywhere; it is stored as a text that says so
Duration = Annotated[
    str,
    Field(max_length=64),
    AfterValidator(_duration),
    BeforeValidator(_seconds, json_schema_input_type=str | int),
]


class JudgeOrder(BaseModel):
    """A cascade made for this request: judges from cheap to strong."""

    model_config = ConfigDict(extra="forbid")
    judges: list[Name] = Field(min_length=1, max_length=16, examples=[["student", "gpt-4"]])


def _declared_together(methods: list[Method]) -> list[Method]:
    refused = [one for one in methods if one not in _DECLARABLE]
    if refused:
        raise ValueError(
            f"{', '.join(refused)} cannot be declared with others; those that can: "
            f"{', '.join(_DECLARABLE)}"
        )
    if len(set(methods)) < len(methods):
        raise ValueError("holds a method twice")
    return methods


Methods = Annotated[
    Method
    | Annotated[
        list[Method], Field(min_length=2, max_length=4), AfterValidator(_declared_together)
    ],
    Field(
        description="how thresholds are chosen and tested; several that are declared together share "
        "the failure probability, and the one that answers most is taken"
    ),
]


class CalibrationIn(BaseModel):
    """Which cascade to certify, on which labels, for which promise."""

    model_config = ConfigDict(extra="forbid")
    dataset: Name = Field(description="id or name of the dataset that holds the labels")
    cascade: Name | JudgeOrder = Field("default", description="a configured cascade, or its judges")
    target_agreement: Share = Field(0.85, description="least share of verdicts people agree with")
    scope: Scope = Field(
        "answered",
        description="what is promised: that people agree with the verdicts given, or that of all pairs "
        "at most max_error are given a wrong verdict, while people label those without one",
    )
    max_error: ErrorShare | None = Field(
        None, description="for scope dataset, in place of target_agreement"
    )
    failure_probability: Share = Field(
        0.1, description="probability that the promise does not hold, over the draw of the labels"
    )
    method: Methods = "auto"
    label_rule: LabelRule = Field(
        "majority",
        description="agree with the annotators' majority, with one drawn at random, or with what most "
        "would say if many voted (panel): each pair needs two votes or more, the first three count",
    )
    ties: Ties = Field("exclude", description="what a tie of the people means for a verdict")
    part: Part | None = None
    slices: Name | None = Field(None, description="a metadata field: a certificate for each value")
    slice_rule: SliceRule = Field(
        "joint",
        description="the slices' certificates hold together, each alone, or by common thresholds",
    )
    menu: list[Share] | None = Field(
        None,
        min_length=1,
        max_length=16,
        description="further target agreements declared together; for scope dataset further errors",
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
    expires_in: Duration | None = Field(
        None,
        description="after how long it promises nothing any more: a number of seconds, 12h, 90d, 8w, "
        "or as ISO 8601",
        examples=["90d"],
    )
    supersedes: Name | None = Field(None, description="id of the certificate that it renews")
    queues: Queues | None = None
    seed: int = Field(0, ge=0, lt=2**63)

    @model_validator(mode="after")
    def _promises_one_thing(self) -> Self:
        """Refuse a target that the scope does not have.

        Raises:
            Unprocessable: names the field.
        """
        if self.scope == "answered":
            if self.max_error is not None:
                raise Unprocessable.field(["max_error"], 'goes with "scope": "dataset"')
            return self
        if "target_agreement" in self.model_fields_set:
            raise Unprocessable.field(
                ["target_agreement"],
                "does not go with scope dataset, whose promise is on all pairs: give max_error alone",
            )
        if self.max_error is None:
            raise Unprocessable.field(["max_error"], "is needed for scope dataset")
        if any(error >= 0.5 for error in self.menu or ()):
            raise Unprocessable.field(["menu"], "holds shares of wrong verdicts here, below 0.5")
        return self

    @model_validator(mode="after")
    def _declares_methods_alone(self) -> Self:
        """Refuse slices and menus where several methods are declared.

        Raises:
            Unprocessable: names the field.
        """
        for field in ("slices", "menu"):
            if len(self.methods) > 1 and getattr(self, field) is not None:
                raise Unprocessable.field(
                    [field], "does not go with several methods: declare one method"
                )
        return self

    @model_validator(mode="after")
    def _suits_a_panel(self) -> Self:
        """Refuse what has no promise about a panel.

        Raises:
            Unprocessable: names the field.
        """
        if self.label_rule != "panel":
            return self
        refused = {
            "scope": self.scope != "answered" and "a panel's promise is on the verdicts given",
            "ties": self.ties != "exclude"
            and "must be exclude: a panel says which response most people find better",
            "method": any(one not in _FOR_PANELS for one in self.methods)
            and f"has no promise about a panel; those that have: {', '.join(_FOR_PANELS)}",
            "target_agreement": self.promised_risk >= 0.5 and "must be above 0.5 for a panel",
            "menu": any(risk >= 0.5 for risk in self.other_risks)
            and "must hold targets above 0.5 for a panel",
        }
        for field, why in refused.items():
            if why:
                raise Unprocessable.field([field], why)
        return self

    @model_serializer(mode="wrap")
    def _as_before(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out what was not asked, so that a request without a scope is what it was before."""
        written: dict[str, Any] = write(self)
        for name in ("scope", "max_error") if self.scope == "answered" else ("target_agreement",):
            written.pop(name, None)
        for name in OF_ITS_LIFE:
            if written.get(name) is None:
                written.pop(name, None)
        if self.queues is None:
            written.pop("queues", None)
        return written

    def expires_at(self, moment: datetime) -> datetime | None:
        """Return when a certificate that is asked for at this moment expires; None: never."""
        return None if self.expires_in is None else moment + read_duration(self.expires_in)

    @property
    def methods(self) -> tuple[Method, ...]:
        """The methods asked for, mostly one."""
        return (self.method,) if isinstance(self.method, str) else tuple(self.method)

    @property
    def promised(self) -> str:
        """The target in words."""
        if self.max_error is not None:
            return f"an error of {self.max_error:g}"
        return f"an agreement of {self.target_agreement:g}"

    @property
    def promised_risk(self) -> float:
        """The largest share of wrong verdicts: of those given, or of all pairs."""
        return round(1 - self.target_agreement, 12) if self.max_error is None else self.max_error

    @property
    def other_risks(self) -> list[float]:
        """Those of the menu."""
        menu = self.menu or []
        return [round(1 - one, 12) for one in menu] if self.scope == "answered" else menu

    @property
    def target(self) -> dict[str, float | None]:
        """The target as a certificate shows it."""
        return shown_target(self.promised_risk, self.scope)


def refuse_misplaced_traffic(request: CalibrationIn) -> None:
    """Refuse what does not go with method weighted, and what goes with it alone.

    Raises:
        Unprocessable: names the field.
    """
    if request.method == "weighted":
        if request.ties == "class":
            raise Unprocessable.field(
                ["ties"], "class goes with no weighted certificate: a tie has no side to stack"
            )
        if request.slices is not None or request.menu is not None:
            field = "menu" if request.slices is None else "slices"
            raise Unprocessable.field([field], "a weighted certificate has no slices and no menu")
        if request.traffic is None and request.max_ratio is None:
            raise Unprocessable.field(
                ["max_ratio"], "a known ratio needs a largest one that was fixed beforehand"
            )
        return
    for name in ("traffic", "traffic_features", "max_ratio"):
        if getattr(request, name) is not None:
            raise Unprocessable.field([name], "goes with method weighted alone")


def as_asked(stored: Mapping[str, Any]) -> CalibrationIn:
    """Return a stored request; before there were stacks, "auto" heard judges one at a time."""
    request = CalibrationIn.model_validate(stored)
    if "max_shift" not in stored and request.method == "auto":
        return request.model_copy(update={"method": "auto_raw"})
    return request


def shown_target(risk: float, scope: Scope) -> dict[str, Any]:
    """Return a target as certificates and plans show it: one of both numbers is null."""
    if scope == "answered":
        return {"scope": scope, "target_agreement": round(1 - risk, 12), "max_error": None}
    return {"scope": scope, "target_agreement": None, "max_error": risk}


class KnownPromptsIn(BaseModel):
    """Prompts that a certificate may have been made from."""

    model_config = ConfigDict(extra="forbid")
    prompts: list[str] = Field(
        min_length=1,
        max_length=256,
        description="first user turns; case, spaces and punctuation make no difference",
    )
