"""Bodies of agreement reports."""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired

from typing_extensions import Doc, TypedDict

from app.bodies.common import Estimate
from app.bodies.datasets import PartBody

Outcome = Literal["pass", "fail", "not_enough_evidence"]
Confusion = dict[str, dict[str, int]]


class AnnotatorPair(TypedDict):
    """How well two people agree on the pairs that both labelled."""

    annotators: list[str]
    n: int
    cohens_kappa: Estimate
    agreement: NotRequired[Estimate]
    agreement_without_ties: NotRequired[Estimate]


class PersonFigures(TypedDict):
    """How well one person agrees with the others."""

    annotator: str
    labels: int
    with_others: Annotated[Estimate, Doc("share of the others' labels that are the same")]
    with_majority: Annotated[
        Estimate,
        Doc("share of pairs on which most of the others say one thing, and this person too"),
    ]
    cohens_kappa: Annotated[Estimate, Doc("with that majority")]
    concerns: Annotated[
        list[str], Doc("why these labels should be looked at; empty: nothing found")
    ]


class HumanFigures(TypedDict):
    """How well people agree, with a, b and tie as classes."""

    annotators: int
    labels: int
    percent_agreement: Estimate
    krippendorff_alpha: Estimate
    fleiss_kappa: Estimate
    annotator_pairs: list[AnnotatorPair]
    by_annotator: NotRequired[
        Annotated[list[PersonFigures], Doc("those with the most labels first; at most 100")]
    ]
    annotator_pairs_left_out: NotRequired[
        Annotated[int, Doc("couples with fewer pairs in common, beyond those that are listed")]
    ]
    annotators_not_compared: NotRequired[
        Annotated[int, Doc("annotators with fewer labels, beyond those that are compared")]
    ]
    labelled_pairs: NotRequired[int]
    percent_agreement_without_ties: NotRequired[Estimate]
    leave_one_out_agreement: NotRequired[Estimate]
    gwets_ac1: NotRequired[Estimate]
    krippendorff_alpha_without_ties: NotRequired[Estimate]
    fleiss_kappa_without_ties: NotRequired[Estimate]
    gwets_ac1_without_ties: NotRequired[Estimate]
    confusion: NotRequired[
        Annotated[Confusion, Doc("couples of votes on a pair, each counted from either side")]
    ]
    difficulty: NotRequired[Annotated[dict[str, int], Doc("how many pairs are how hard")]]
    plurality: NotRequired[
        Annotated[dict[str, int], Doc("pairs by their most frequent label; `none`: none leads")]
    ]


class PositionFigures(TypedDict):
    """Where the two orders differ; a lean of 0 is none, 1 is always the first."""

    lean: Estimate
    to_first: Estimate
    to_second: Estimate
    through_tie: Estimate
    first_among_flips: Estimate


class LeanFigures(TypedDict):
    """Whether a judge takes one kind of response more often than people do."""

    lean: Estimate
    lean_given_quality: Estimate
    judge_chooses_it: Estimate
    people_choose_it: Estimate


class CeilingFigures(TypedDict):
    """A judge beside one more person, on the same held-out votes."""

    people: Estimate
    judge: Estimate
    difference: Estimate


class KappaCeilings(TypedDict):
    """The same by kappa, with and without ties."""

    three_way: CeilingFigures
    without_ties: CeilingFigures


class DifficultyFigures(TypedDict):
    """Agreement on pairs that are about equally hard."""

    difficulty: Literal["unanimous", "single_vote", "split", "no_plurality"]
    pairs: int
    agreement: Estimate
    agreement_three_way: Estimate
    cohens_kappa: Estimate
    cohens_kappa_three_way: Estimate
    coverage: NotRequired[Estimate]


class VoteFigures(TypedDict):
    """Agreement on pairs with the same votes."""

    votes: int
    for_plurality: int
    agreement: Estimate


class ReliabilityBinBody(TypedDict):
    """Verdicts of about the same confidence."""

    low: float
    high: float
    n: int
    mean_confidence: float | None
    accuracy: Estimate


class ReliabilityFigures(TypedDict):
    """How far a judge's confidence can be trusted."""

    expected_calibration_error: Annotated[
        Estimate, Doc("a verdict for neither response has the confidence .5, and is wrong")
    ]
    where_preferring: NotRequired[
        Annotated[Estimate, Doc("the same error without verdicts for neither response")]
    ]
    adaptive_calibration_error: Estimate
    maximum_calibration_error: Estimate
    brier_score: Estimate
    brier_reliability: Estimate
    brier_resolution: Estimate
    brier_uncertainty: Estimate
    log_loss: Estimate
    auroc: Estimate
    auprc: Estimate
    bins: list[ReliabilityBinBody]


class RiskPoint(TypedDict):
    """The share of wrong answers at one threshold."""

    threshold: float
    coverage: float
    risk: Estimate


class RiskCoverage(TypedDict):
    """How agreement rises as a judge answers less."""

    area: Estimate
    excess_area: Estimate
    limits: str
    pairs: int
    points: list[RiskPoint]


class AnnotatorComparisonBody(TypedDict):
    """A judge beside one person."""

    annotator: str
    n: int
    judge_wins: float | None
    annotator_wins: float | None
    p_value: float | None
    test: Literal["t", "exact"] | None
    is_rejected: bool


class AlternativeAnnotatorTestBody(TypedDict, total=False):
    """Whether a judge may stand in for a person; or why that was not tested."""

    not_tested_because: str
    outcome: Outcome
    winning_rate: Estimate
    least_annotators: int
    least_units: int
    epsilon: float
    false_discovery_rate: float
    advantage: Estimate
    margin: Estimate
    annotators: list[AnnotatorComparisonBody]


class JudgeFigures(TypedDict):
    """How well one judge agrees with people; the details are of the whole, or asked for."""

    judge: str
    n: int
    agreement: Estimate
    agreement_three_way: Estimate
    agreement_consistent: Annotated[Estimate, Doc("where both orders gave the same a or b")]
    accuracy_mean_of_orders: Annotated[Estimate, Doc("each order counts, unparsed ones as wrong")]
    cohens_kappa: Estimate
    cohens_kappa_three_way: Estimate
    fleiss_kappa_with_human: Estimate
    coverage: Annotated[
        float | None,
        Doc("share of all pairs that have a verdict, one for neither response included"),
    ]
    position_consistency: Annotated[
        Estimate, Doc("same label in both orders, pairs of equal responses included")
    ]
    expected_calibration_error: Annotated[
        float | None, Doc("a verdict for neither response has the confidence .5, and is wrong")
    ]
    brier_score: float | None
    auroc: float | None
    auprc: float | None
    neither: NotRequired[Annotated[int, Doc("verdicts that are a tie, or no preference")]]
    same_responses: NotRequired[Annotated[int, Doc("verdicts on pairs of equal responses")]]
    confusion: Annotated[
        Confusion, Doc("people outside; their `tie` holds pairs without a plurality, too")
    ]
    no_plurality: NotRequired[
        Annotated[dict[str, int], Doc("of the row `tie`, the pairs without a plurality")]
    ]
    failures: int
    seen_in_training: NotRequired[int]
    gwets_ac1: NotRequired[Estimate]
    gwets_ac1_three_way: NotRequired[Estimate]
    position: NotRequired[PositionFigures]
    self_preference: NotRequired[LeanFigures]
    length: NotRequired[LeanFigures]
    style: NotRequired[LeanFigures]
    ceiling: NotRequired[CeilingFigures]
    ceiling_where_decided: NotRequired[CeilingFigures]
    kappa_ceiling: NotRequired[KappaCeilings]
    by_difficulty: NotRequired[list[DifficultyFigures]]
    fall_with_difficulty: NotRequired[Estimate]
    by_votes: NotRequired[list[VoteFigures]]
    reliability: NotRequired[ReliabilityFigures]
    risk_coverage: NotRequired[RiskCoverage]
    alternative_annotator: NotRequired[AlternativeAnnotatorTestBody]
    answer_share: NotRequired[Estimate]
    failure_share: NotRequired[Estimate]
    failure_kinds: NotRequired[dict[str, int]]
    half_parsed_share: NotRequired[Estimate]
    cost: NotRequired[Annotated[Estimate, Doc("mean cost in USD of the pairs whose cost is known")]]


class JudgePairFigures(TypedDict):
    """How well two judges agree; in `confusion` the outer label is that of the first."""

    judges: list[str]
    agreement: Estimate
    cohens_kappa: Estimate
    agreement_three_way: NotRequired[Estimate]
    cohens_kappa_three_way: NotRequired[Estimate]
    confusion: NotRequired[Confusion]


class CostFigures(TypedDict):
    """What a cascade costs beside asking the last judge about every pair."""

    per_pair: Estimate
    dearest_per_pair: Estimate
    relative: Estimate
    saved_per_pair: Estimate


class CascadeFigures(TypedDict):
    """Coverage, agreement and cost of a cascade on pairs that are new to it."""

    pairs: int
    coverage: Estimate
    agreement: Estimate
    composition: Annotated[dict[str, float], Doc("share of the pairs that each judge answers")]
    cost_per_pair: float | None
    relative_cost: float | None
    excluded_calibration_pairs: int
    agreement_three_way: NotRequired[Estimate]
    cohens_kappa: NotRequired[Estimate]
    cohens_kappa_three_way: NotRequired[Estimate]
    confusion: NotRequired[Confusion]
    no_plurality: NotRequired[
        Annotated[dict[str, int], Doc("of the row `tie`, the pairs without a plurality")]
    ]
    by_difficulty: NotRequired[list[DifficultyFigures]]
    answered: NotRequired[int]
    abstained: NotRequired[int]
    missing: NotRequired[int]
    cost: NotRequired[CostFigures]


class TextFigures(TypedDict):
    """A property of the texts, where the cascade answers and where it abstains."""

    answered: Estimate
    abstained: Estimate
    p_value: float | None


class AbstentionFigures(TypedDict):
    """How well people agree where the cascade answers and where it abstains."""

    human_agreement_answered: Estimate
    human_agreement_abstained: Estimate
    p_value: float | None
    length_ratio: NotRequired[TextFigures]
    token_overlap: NotRequired[TextFigures]


class CorrelationFigures(TypedDict):
    """How one judge, or the mean of several, goes together with people."""

    judges: Annotated[list[str], Doc("of several the mean is correlated")]
    criterion: Annotated[
        str | None, Doc("of people's scores; null: the weighted mean over criteria, or votes")
    ]
    n: Annotated[int, Doc("responses, or pairs, of which both are known")]
    pearson: Estimate
    spearman: Estimate
    kendall: Annotated[Estimate, Doc("tau-b")]


class CorrelationsBody(TypedDict):
    """Correlations of judges with people."""

    responses: Annotated[int, Doc("responses that people scored")]
    weights: Annotated[dict[str, float], Doc("of the criteria")]
    by_response: Annotated[
        list[CorrelationFigures], Doc("people's mean score and the rating of each response")
    ]
    by_pair: Annotated[list[CorrelationFigures], Doc("the mean vote on each pair and p_a")]


class SliceFigures(TypedDict):
    """The figures of one slice."""

    group: str
    pairs: int
    human: HumanFigures
    judges: list[JudgeFigures]
    judge_pairs: NotRequired[list[JudgePairFigures] | None]
    cascade: CascadeFigures | None
    abstention: AbstentionFigures | None
    correlations: NotRequired[CorrelationsBody]


class ReportGround(TypedDict):
    """What a report rests on."""

    dataset_id: str
    dataset_content_hash: str
    label_set_hash: str
    calibration: str | None
    fingerprints: dict[str, str]
    version: str
    inputs_hash: NotRequired[str]
    part: NotRequired[str | PartBody | None]
    revision: NotRequired[int]
    judges: NotRequired[list[str]]
    own: NotRequired[list[str]]
    group_by: NotRequired[str | None]
    include: NotRequired[list[str]]
    criteria: NotRequired[dict[str, float]]
    epsilon: NotRequired[float]
    seed: NotRequired[int]
    confidence_level: NotRequired[float]
    batch: NotRequired[str]
    verdicts: NotRequired[int]


class ReportBody(TypedDict):
    """How well people, judges and cascade agree; the figures are there when it is completed."""

    id: str
    object: Literal["agreement_report", "batch_report"]
    status: Literal["pending", "running", "completed", "failed"]
    error: str | None
    created_at: str
    dataset: str
    calibration: str | None
    part: str | PartBody | None
    group_by: str | None
    pairs: NotRequired[int]
    human: NotRequired[HumanFigures]
    judges: NotRequired[Annotated[list[JudgeFigures], Doc("not in the report of a batch")]]
    judge_pairs: NotRequired[list[JudgePairFigures] | None]
    cascade: NotRequired[CascadeFigures | None]
    abstention: NotRequired[AbstentionFigures | None]
    correlations: NotRequired[
        Annotated[
            CorrelationsBody, Doc("where people scored responses, or `include` asks for them")
        ]
    ]
    groups: NotRequired[list[SliceFigures]]
    rests_on: NotRequired[ReportGround]
    batch: NotRequired[str]
    batch_status: NotRequired[str]
    promise: NotRequired[str]
    failed: NotRequired[Annotated[int, Doc("verdicts of the batch that failed")]]
