"""Bodies of leaderboards."""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired

from typing_extensions import Doc, TypedDict

from app.bodies.common import Estimate, JsonValue
from app.bodies.datasets import PartBody


class Interval(TypedDict):
    """The least and the most that a number can be."""

    low: float
    high: float


class ModelRow(TypedDict):
    """One model's place."""

    model: str
    rating: Annotated[Estimate, Doc("in the scale of the method")]
    strength: float | None
    win_rate: Estimate
    rank: int
    rank_low: int
    rank_high: int
    rank_text: str
    pairs: Annotated[int, Doc("comparisons: with votes `each`, one a vote")]
    distinct_pairs: int
    wins: float
    losses: float
    ties: float
    asked: int
    abstained: int
    abstained_share: float | None
    unresolved: int
    unresolved_share: NotRequired[float | None]
    failed: NotRequired[int]
    missing: NotRequired[int]
    win_rate_bounds: NotRequired[
        Annotated[Interval | None, Doc("if pairs without a verdict were all lost, or all won")]
    ]
    human_only: NotRequired[Estimate | None]
    labelled: NotRequired[int]


class RankingTest(TypedDict):
    """How it was tested which models can be told apart."""

    test: str
    confidence_level: float
    model_pairs: int
    told_apart: int


class CoefficientBody(TypedDict):
    """How much one feature of style matters."""

    name: str
    estimate: Estimate
    scale: float


class CriterionRows(TypedDict):
    """The models by one criterion alone."""

    criterion: str
    weight: float
    comparisons: int
    rows: list[ModelRow]


class Powered(TypedDict):
    """What the correction of verdicts by labels rests on."""

    labelled: int
    labelled_groups: int
    predicted: int
    without_verdict: int
    are_abstentions_audited: bool
    prediction_weight: float | None
    effective_labels: float | None


class _Standings(TypedDict):
    rows: list[ModelRow]
    pairs: int
    comparisons: int
    abstained: int
    rankable: bool
    warnings: list[str]
    not_rankable_because: NotRequired[str | None]
    components: NotRequired[
        Annotated[list[list[str]] | None, Doc("sets of models that are not linked")]
    ]
    ranking_test: NotRequired[RankingTest]
    log_tie: NotRequired[float | None]
    intervals: NotRequired[str | None]
    resamples: NotRequired[int]
    resamples_undefined: NotRequired[int]
    coefficients: NotRequired[list[CoefficientBody]]
    by_criterion: NotRequired[list[CriterionRows]]
    prediction_powered: NotRequired[Powered]
    failed: NotRequired[int]
    missing: NotRequired[int]
    unlabelled: NotRequired[int]
    undecided: NotRequired[int]
    without_models: NotRequired[int]
    same_model: NotRequired[int]
    calibration_pair: NotRequired[int]
    known_to_judge: NotRequired[int]
    ties_left_out: NotRequired[Annotated[int, Doc("comparisons that are ties, with ties: exclude")]]


class SliceStandings(_Standings):
    """The models on one slice; `error` says why they could not be ranked."""

    group: str
    error: NotRequired[str]


class LeaderboardGround(TypedDict):
    """What a leaderboard rests on."""

    dataset_id: str
    dataset: str
    dataset_content_hash: str
    pairs: int
    comparisons: int
    abstained: int
    verdicts_hash: str
    labels: NotRequired[int]
    label_set_hash: NotRequired[str | None]
    fingerprints: NotRequired[dict[str, str]]
    calibration: NotRequired[str]
    status: NotRequired[str]
    target_agreement: NotRequired[float | None]
    certificate_label_set_hash: NotRequired[str | None]
    labels_changed: NotRequired[int]
    known_to_certificate: NotRequired[int]
    calibration_pairs: NotRequired[int]
    no_preference: NotRequired[
        Annotated[int, Doc("pairs that the judge finds equal: ties here, abstentions of a batch")]
    ]


class CertificateNow(TypedDict):
    """What became of a certificate since."""

    id: str
    status: str
    revoked_at: NotRequired[str | None]


class MeetingBody(TypedDict):
    """What two models got against each other."""

    first: str
    second: str
    n: int
    wins: Annotated[int, Doc("of the first model")]
    losses: int
    ties: int
    win_rate: Annotated[Estimate, Doc("points of the first model per comparison, by weight")]


class MatrixBody(TypedDict):
    """Who won how often against whom."""

    models: Annotated[list[str], Doc("the first models, best first")]
    meetings: Annotated[list[MeetingBody], Doc("of every two of them that met")]


class EloBody(TypedDict):
    """Constants of Elo."""

    k: float
    start: float
    scale: float


class LeaderboardBody(_Standings):
    """Models by rank, with what was asked."""

    id: str
    object: Literal["leaderboard"]
    notes: Annotated[list[str], Doc("the warnings, and names that look like spellings of one")]
    created_at: str
    dataset: str
    source: str
    calibration: str | None
    judge: str | None
    certified_only: bool
    method: Literal["bradley_terry", "win_rate", "average_win_rate", "counting", "elo"]
    options: EloBody | None
    ties: Literal["half", "exclude", "davidson"]
    votes: Literal["each", "majority", "mean_sign"]
    baseline: str | None
    soft: bool
    control: list[str] | None
    criteria: dict[str, float] | None
    confidence_level: float
    group_by: str | None
    part: PartBody | None
    seed: int
    groups: list[SliceStandings]
    promise: str | None
    suspended_because: str | None
    rests_on: LeaderboardGround
    certificate_now: CertificateNow | None
    as_of: NotRequired[Annotated[str, Doc("votes until then are counted")]]
    reweighted_from: NotRequired[str]
    slice_weights: NotRequired[
        Annotated[dict[str, float], Doc("how much slices count; 1 where none is named")]
    ]
    stored: NotRequired[Annotated[bool, Doc("false: what it would be, under the id it is of")]]
    matrix: NotRequired[MatrixBody]


class LeaderboardReference(TypedDict):
    """A leaderboard that is compared, and what it rests on."""

    id: str
    created_at: str
    rests_on: LeaderboardGround
    certificate_now: CertificateNow | None
    promise: str | None


class ModelChange(TypedDict):
    """How one model's place changed."""

    model: str
    rating_change: Estimate | None
    win_rate_change: Estimate
    rank_before: int
    rank_after: int
    rank_change: int
    rank_text_before: str | None
    rank_text_after: str | None
    rank_has_surely_changed: bool


class LeaderboardDifference(TypedDict):
    """Something that two leaderboards do not have in common."""

    what: str
    earlier: JsonValue
    later: JsonValue


class LeaderboardComparisonBody(TypedDict):
    """What changed from the earlier to the later of two leaderboards."""

    object: Literal["leaderboard_comparison"]
    earlier: LeaderboardReference
    later: LeaderboardReference
    rows: list[ModelChange]
    entered: list[str]
    left: list[str]
    differs: list[LeaderboardDifference]
    rests_on_the_same_verdicts: bool
    ratings_comparable: bool
    not_comparable_because: str | None
    interval_rule: str
