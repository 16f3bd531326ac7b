"""Bodies of what is made from stored reports: history, comparisons, health cards."""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired

from typing_extensions import Doc, TypedDict

from app.bodies.common import Estimate, JsonValue
from app.bodies.datasets import PartBody
from app.bodies.reports import JudgeFigures, Outcome, ReportGround


class PointGround(TypedDict):
    """What a point of a history rests on."""

    label_set_hash: str | None
    dataset_content_hash: str | None
    fingerprints: dict[str, str | None]
    calibration: str | None
    part: str | PartBody | None
    revision: int | None


class HistoryPoint(TypedDict):
    """The figures of one report, and what it does not rest on as the point before."""

    report: str
    object: Literal["agreement_report", "batch_report"]
    batch: str | None
    created_at: str
    pairs: int
    rests_on: PointGround
    changed: Annotated[list[str], Doc("what of `rests_on` is not as in the point before")]
    agreement: NotRequired[Estimate]
    agreement_three_way: NotRequired[Estimate]
    agreement_consistent: NotRequired[Estimate]
    cohens_kappa: NotRequired[Estimate]
    cohens_kappa_three_way: NotRequired[Estimate]
    gwets_ac1: NotRequired[Estimate]
    answer_share: NotRequired[Estimate]
    position_consistency: NotRequired[Estimate]
    failure_share: NotRequired[Estimate]
    coverage: NotRequired[Annotated[Estimate, Doc("of a cascade")]]


class Series(TypedDict):
    """One judge, or the cascade of one certificate, over time."""

    of: Literal["judge", "cascade"]
    name: str
    points: list[HistoryPoint]


class HistoryBody(TypedDict):
    """How agreement and coverage on a dataset went over time."""

    object: Literal["history"]
    dataset: str
    series: list[Series]


class GroundChange(TypedDict):
    """Something that two reports do not both rest on."""

    before: JsonValue
    after: JsonValue


class FigureChange(TypedDict):
    """One figure of two reports, and its difference."""

    before: Estimate
    after: Estimate
    difference: Estimate


class JudgeChange(TypedDict):
    """How the figures of one judge changed."""

    judge: str
    agreement: NotRequired[FigureChange]
    agreement_three_way: NotRequired[FigureChange]
    agreement_consistent: NotRequired[FigureChange]
    cohens_kappa: NotRequired[FigureChange]
    cohens_kappa_three_way: NotRequired[FigureChange]
    gwets_ac1: NotRequired[FigureChange]
    answer_share: NotRequired[FigureChange]
    position_consistency: NotRequired[FigureChange]
    failure_share: NotRequired[FigureChange]


# the name of one of its fields is a word of the language
_Compared = TypedDict("_Compared", {"report": str, "with": str})


class ReportComparisonBody(_Compared):
    """What changed from one report to another, figure by figure."""

    object: Literal["report_comparison"]
    changed: dict[str, GroundChange]
    interval: str
    human: dict[str, FigureChange]
    judges: list[JudgeChange]
    cascade: dict[str, FigureChange] | None


class LineFigure(TypedDict):
    """A figure that is held against a line; without data it has no confidence level either."""

    value: float | None
    low: float | None
    high: float | None
    confidence_level: float | None
    n: int


class HealthLine(TypedDict):
    """One line of a health card, and on which side of it the judge lies."""

    name: str
    title: str
    meaning: str
    sense: Literal["at_least", "at_most", "within"]
    line: float
    figure: LineFigure
    outcome: Outcome
    unit: NotRequired[
        Annotated[
            Literal["pairs", "people", "verdicts", "votes"], Doc("what `n` of the figure counts")
        ]
    ]
    needs: NotRequired[Annotated[str, Doc("the data that the figure takes")]]
    remark: NotRequired[Annotated[str | None, Doc("why data that are there do not do")]]


class HealthCardBody(TypedDict):
    """A judge's figures held against lines."""

    object: Literal["health_card"]
    report: str
    judge: str
    outcome: Outcome
    counts: Annotated[dict[str, int], Doc("lines with data by their outcome")]
    without_data: Annotated[list[str], Doc("lines whose figure has no data")]
    lines: list[HealthLine]
    figures: JudgeFigures
    not_judged: Annotated[str | None, Doc("that no pair was judged, and what to do about it")]
    dataset: str
    part: str | PartBody | None
    pairs: int
    labels: int
    annotators: int
    confidence_level: float
    created_at: str
    fingerprint: str | None
    rests_on: ReportGround
