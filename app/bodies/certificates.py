"""Bodies of certificates, plans and experiments."""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired

from typing_extensions import Doc, TypedDict

from app.bodies.common import Estimate, JsonValue

Columns = Literal["raw", "stacked", "learned"]
Scope = Literal["answered", "dataset"]
CertificateStatus = Literal["pending", "running", "certified", "not_certifiable", "failed"]


class Threshold(TypedDict):
    """A judge answers where its confidence is at least `threshold`; None: never."""

    judge: str
    threshold: float | None


class JudgeFailures(TypedDict):
    """How often a judge was asked, how often it gave no score, and perhaps why the first time."""

    asked: int
    failed: int
    manners: NotRequired[Annotated[dict[str, int], Doc("manners of answering, counted")]]
    first_reason: NotRequired[str | None]


class JudgeWeight(TypedDict):
    """How much a judge's answer counts in a learned stack."""

    judge: str
    log_odds: Annotated[float, Doc("weight of the clipped log-odds of its probability")]
    sign: Annotated[float, Doc("weight of its verdict")]


class PathBody(TypedDict):
    """One sequence of thresholds that was walked, and where the tests ended on it."""

    path: str
    columns: NotRequired[Columns]
    share: Annotated[float, Doc("part of the failure probability that belongs to it")]
    nodes: int
    tested: int
    thresholds: list[Threshold] | None
    answered: float
    disagreements: float
    p_value: float
    level: float


class RiskBoundBody(TypedDict):
    """What holds at other thresholds together with the certificate."""

    thresholds: list[Threshold]
    answered: float
    disagreements: float
    coverage: float
    agreement_lower_bound: float | None
    error_upper_bound: NotRequired[Annotated[float | None, Doc("of all pairs; scope dataset")]]


class AllLabelled(TypedDict):
    """How many of all labelled pairs a certificate answers, those left out of its test included."""

    pairs: Annotated[int, Doc("labelled pairs with scores, ties and pairs without a majority too")]
    answered: int


class OutcomeFigures(TypedDict):
    """What one test of thresholds found."""

    pairs: Annotated[int, Doc("labelled pairs that tested it: those that the label rule counts")]
    groups: Annotated[int, Doc("groups of these pairs")]
    answered: Annotated[float, Doc("how many of these pairs the cascade answered")]
    disagreements: Annotated[float, Doc("on how many of the answered pairs people disagree")]
    coverage: Annotated[
        float, Doc("share of `pairs` that are answered; of other pairs see `answers`")
    ]
    agreement: Annotated[float | None, Doc("share of the answered pairs on which people agree")]
    agreement_lower_bound: Annotated[
        float | None,
        Doc("agreement that the test shows, with confidence 1 - `level`; promised is the target"),
    ]
    error_upper_bound: NotRequired[
        Annotated[float | None, Doc("share of all pairs with a wrong verdict; for scope dataset")]
    ]
    composition: Annotated[dict[str, float], Doc("share of the pairs that each judge answers")]
    cost_per_pair: Annotated[float | None, Doc("USD; null where a judge asked has no price")]
    relative_cost: Annotated[float | None, Doc("over asking the last judge about every pair")]
    set_aside: Annotated[int, Doc("pairs that set where the tests begin, and test nothing")]
    path: NotRequired[str | None]
    p_value: NotRequired[float | None]
    level: NotRequired[float | None]
    nodes_tested: NotRequired[int]
    dropped_in_groups: NotRequired[int]
    learning: NotRequired[Annotated[int, Doc("pairs that taught the weights of a learned stack")]]
    paths: NotRequired[list[PathBody]]
    bounds: NotRequired[list[RiskBoundBody]]


class CalibrationFigures(OutcomeFigures):
    """What a certificate was tested on, and what came out."""

    pool: Annotated[int, Doc("unlabelled pairs that set where the tests begin")]
    held_for_examples: int
    seen_in_training: int
    failures: dict[str, JudgeFailures]
    labelled: NotRequired[int]
    unlabelled: NotRequired[int]
    undecided: NotRequired[int]
    ties_left_out: NotRequired[int]
    prompts_in_several_groups: NotRequired[int]
    all_labelled: NotRequired[
        Annotated[AllLabelled | None, Doc("null where nothing is certified, or by older versions")]
    ]


class Advice(TypedDict):
    """What the labels could certify, and how many the target needs."""

    certifiable_agreement: float | None
    certifiable_error: NotRequired[Annotated[float | None, Doc("of all pairs; for scope dataset")]]
    certifiable_coverage: float | None
    labels_needed: int | None
    saving: NotRequired[Annotated[float | None, Doc("share of labels saved with labels_needed")]]
    text: str


class OtherMethodBody(TypedDict):
    """A method that would have certified, had it been declared together with those asked for."""

    method: str
    coverage: float


class RefusalBody(TypedDict):
    """Why nothing was certified, in two sentences."""

    tried: Annotated[str, Doc("which methods were tried on how many labels")]
    would_help: Annotated[str, Doc("another target, more labels, or another method")]
    methods: list[OtherMethodBody]


class PartCertificate(TypedDict):
    """The certificate of one slice, or of one target of a menu."""

    slice: str | None
    scope: NotRequired[Scope]
    target_agreement: float | None
    max_error: NotRequired[float | None]
    saved_labels: NotRequired[Estimate | None]
    panel: NotRequired[PanelFigures]
    status: Literal["certified", "not_certifiable"]
    claim: NotRequired[str]
    thresholds: list[Threshold]
    columns: NotRequired[Columns]
    clip: NotRequired[float | None]
    weights: NotRequired[list[JudgeWeight] | None]
    shift_margin: NotRequired[float | None]
    calibration: OutcomeFigures


class TrafficFigures(TypedDict):
    """How the labelled pairs stand for other traffic, for which the promise is."""

    dataset: Annotated[str | None, Doc("the traffic; null where the ratio came with the pairs")]
    ratio: Literal["known", "estimated"]
    assumed: Annotated[bool, Doc("the promise rests on an estimate, which no test has shown right")]
    max_ratio: Annotated[float, Doc("clip: a pair counts at most this many times")]
    left_out: Annotated[float, Doc("share of the traffic that the clip leaves out")]
    effective_pairs: Annotated[float, Doc("equally weighted pairs that would say as much")]


class Contribution(TypedDict):
    """What one judge adds to a stack, on the labelled pairs; no promise."""

    judge: str
    answers: Annotated[bool, Doc("its own tier is open: it may be the last to be asked")]
    asked: Annotated[float, Doc("share of the pairs about which it is asked")]
    coverage_without: Annotated[float, Doc("share answered by the same thresholds, had it failed")]
    agreement_without: float | None


class PanelFigures(TypedDict):
    """The votes behind a promise about what most people would say."""

    two_votes: Annotated[int, Doc("pairs whose first two votes both name a better response")]
    split: Annotated[int, Doc("those of them on which the two differ")]
    one_vote: Annotated[int, Doc("pairs with one vote only, left out")]
    tied: Annotated[int, Doc("pairs left out because one of the first two votes is a tie")]
    three_votes: Annotated[
        int,
        Doc(
            "pairs whose third vote may test the assumption; 0 where third votes were asked for "
            "because of what the first two said"
        ),
    ]
    assumption: Annotated[
        Literal["assumed", "tested"],
        Doc(
            "that people are no noisier where the verdicts are wrong: assumed, or not needed, since a "
            "test of third votes shows the promise without it"
        ),
    ]


class ImportedBody(TypedDict):
    """Where a certificate came from that was made elsewhere."""

    signed_by: Annotated[str, Doc("public key of the service that signed it")]
    signed_at: str
    imported_at: str


class ChangeBody(TypedDict):
    """A field in which two certificates differ."""

    field: str
    old: JsonValue
    new: JsonValue


class SameLabels(TypedDict):
    """A certificate in force that was made from the same labels with the same judges."""

    id: str
    summary: str


class CertificateBody(TypedDict):
    """A certificate; what it rests on is there when it is made."""

    id: str
    object: Literal["calibration"]
    status: CertificateStatus
    scope: NotRequired[
        Annotated[
            Scope,
            Doc(
                "what the promise is on: the verdicts given, or a dataset as a whole, whose pairs "
                "without a verdict people label"
            ),
        ]
    ]
    summary: NotRequired[
        Annotated[str, Doc("the promise in one sentence, or that nothing is promised; see `claim`")]
    ]
    answers: NotRequired[
        Annotated[
            str, Doc("of how many tested, and of how many labelled pairs it answers how many")
        ]
    ]
    target_agreement: Annotated[
        float | None,
        Doc("1 - alpha: least share of the verdicts given that agree; null for scope dataset"),
    ]
    max_error: NotRequired[
        Annotated[float | None, Doc("largest share of all pairs with a wrong verdict")]
    ]
    saved_labels: NotRequired[
        Annotated[Estimate | None, Doc("share of later pairs that people need not label")]
    ]
    failure_probability: Annotated[
        float,
        Doc("delta: probability, over the draw of the labels, that the promise does not hold"),
    ]
    error: str | None
    request: Annotated[dict[str, JsonValue], Doc("what was asked for")]
    created_at: str
    revoked_at: str | None
    expires_at: NotRequired[Annotated[str | None, Doc("from then on it promises nothing")]]
    supersedes: NotRequired[Annotated[str | None, Doc("the certificate that it renews")]]
    superseded_by: NotRequired[Annotated[str | None, Doc("the certified one that renewed it")]]
    changes: NotRequired[
        Annotated[list[ChangeBody], Doc("what differs from the certificate that it supersedes")]
    ]
    imported: NotRequired[Annotated[ImportedBody, Doc("where it came from, if made elsewhere")]]
    suspended_because: NotRequired[
        Annotated[
            str,
            Doc("why no new verdict carries the promise, where an alarm suspended or revoked it"),
        ]
    ]
    method: NotRequired[str]
    methods: NotRequired[
        Annotated[list[str] | None, Doc("those declared together, of which `method` is used")]
    ]
    claim: NotRequired[Annotated[str, Doc("the promise word by word")]]
    thresholds: NotRequired[list[Threshold]]
    columns: NotRequired[
        Annotated[
            Columns,
            Doc(
                "what thresholds are compared with: a judge's own confidence (raw), that of all judges "
                "so far together (stacked), or that of all judges under learned weights (learned)"
            ),
        ]
    ]
    clip: NotRequired[Annotated[float | None, Doc("of the probabilities in a stack; null: raw")]]
    weights: NotRequired[list[JudgeWeight] | None]
    max_shift: NotRequired[Annotated[float, Doc("declared change of the traffic")]]
    shift_margin: NotRequired[
        Annotated[
            float | None,
            Doc(
                "the promise survives while no kind of pair becomes this many times as frequent or as "
                "rare, so 1 is no margin; null where nothing is certified"
            ),
        ]
    ]
    traffic: NotRequired[
        Annotated[
            TrafficFigures | None, Doc("null: the promise is for pairs as the labelled ones came")
        ]
    ]
    contributes: NotRequired[
        Annotated[
            list[Contribution] | None,
            Doc("what each judge adds to a stack; null where judges are heard one at a time"),
        ]
    ]
    panel: NotRequired[
        Annotated[PanelFigures | None, Doc("null: people are those who gave the labels")]
    ]
    calibration: NotRequired[CalibrationFigures]
    fingerprints: NotRequired[dict[str, str]]
    label_set_hash: NotRequired[str]
    label_set_uses: NotRequired[Annotated[int, Doc("certificates made from these labels")]]
    label_set_plans: NotRequired[int]
    labels_changed: NotRequired[
        Annotated[int, Doc("pairs whose labels are no longer those that it read; not in lists")]
    ]
    advice: NotRequired[Advice]
    refusal: NotRequired[Annotated[RefusalBody | None, Doc("null where something is certified")]]
    same_labels: NotRequired[
        Annotated[
            list[SameLabels],
            Doc("of one that is not certifiable: what the same labels do certify; not in lists"),
        ]
    ]
    certificates: NotRequired[list[PartCertificate]]
    uncertified_thresholds: NotRequired[list[Threshold]]


class KnownPromptsBody(TypedDict):
    """Which prompts a certificate knows, in the order in which they were asked about."""

    object: Literal["known_prompts"]
    calibration: str
    known: Annotated[
        list[bool],
        Doc(
            "the certificate was made from pairs of this prompt, whatever their responses, or one "
            "of its judges was trained on it or shows it as an example: it promises nothing there"
        ),
    ]


class CheapestBody(TypedDict):
    """A certificate that answers as much as the best one, within 1 %, and costs less."""

    method: str
    coverage: float
    cost_per_pair: float
    relative_cost: float | None


class FrontierRow(TypedDict):
    """What one target would get."""

    scope: NotRequired[Scope]
    target_agreement: float | None
    max_error: NotRequired[float | None]
    saved_labels: NotRequired[Estimate | None]
    error_upper_bound: NotRequired[float | None]
    saving: NotRequired[Annotated[float | None, Doc("share of labels saved with labels_needed")]]
    status: Literal["certified", "not_certifiable"]
    method: NotRequired[str]
    cheapest: NotRequired[
        Annotated[
            CheapestBody | None,
            Doc("answers as much within 1 % at less cost, by hearing judges one at a time"),
        ]
    ]
    pairs: NotRequired[Annotated[int, Doc("labelled pairs that would test it")]]
    answered: NotRequired[Annotated[int, Doc("how many of them it would answer")]]
    coverage: Annotated[float | None, Doc("share of the pairs that would test it")]
    agreement: float | None
    agreement_lower_bound: float | None
    composition: dict[str, float]
    cost_per_pair: float | None
    relative_cost: float | None
    labels_needed: Annotated[
        int | None,
        Doc(
            "groups with a pair that counts (labelled, and decided under the label rule; a pair counts "
            "once, however many votes it has) with which 4 of 5 draws certify; null: no number would do"
        ),
    ]


class PlanBody(TypedDict):
    """The frontier of agreement, coverage and cost."""

    object: Literal["plan"]
    dataset: str
    failure_probability: float
    pairs: Annotated[int, Doc("labelled pairs that count: decided under the label rule")]
    groups: Annotated[int, Doc("groups of these pairs")]
    labelled_groups: NotRequired[Annotated[int, Doc("groups of all labelled pairs with scores")]]
    not_scored: Annotated[int, Doc("labelled pairs left out, because a score is not stored")]
    frontier: list[FrontierRow]
    claim: str


class CurvePoint(TypedDict):
    """How often the cascade is wrong where it answers this share of the pairs."""

    coverage: float
    risk: Annotated[Estimate, Doc("people disagree with so many answers")]


class CertifiedPoint(TypedDict):
    """Where on the curve the certificate is."""

    coverage: float
    risk: float
    upper_bound: Annotated[
        float | None, Doc("proven; null for scope dataset, whose promise is on all pairs")
    ]


class CurveBody(TypedDict):
    """How often a certificate's cascade is wrong as it answers more; it promises nothing."""

    object: Literal["curve"]
    calibration: str
    pairs: Annotated[int, Doc("labelled pairs, ranked: what it answers first, the surest first")]
    limits: Annotated[str, Doc("simultaneous: the intervals hold at all points at once")]
    points: list[CurvePoint]
    certified: Annotated[CertifiedPoint | None, Doc("null where nothing is certified")]


class ExperimentRow(TypedDict):
    """What one rule for choosing thresholds did over the splits, at one target."""

    target_agreement: float
    rule: str
    composition: dict[str, Estimate]
    coverage: Estimate
    agreement: Estimate
    success_rate: Annotated[
        Estimate,
        Doc("share of splits whose held-out pairs reach the target, or none of which is answered"),
    ]
    population_success_rate: Annotated[Estimate, Doc("the same on the pairs of both sides")]
    silent_rate: Annotated[Estimate, Doc("share of splits in which no held-out pair is answered")]
    relative_cost: Estimate | None
    unavailable: Annotated[str | None, Doc("why the rule could not be applied")]


class ExperimentBody(TypedDict):
    """Rules for choosing thresholds, compared over random splits of the labels."""

    object: Literal["experiment"]
    dataset: str
    judges: list[str]
    failure_probability: float
    pairs: int
    groups: int
    not_scored: int
    undecided: int
    ties_left_out: int
    splits: int
    calibration_pairs: float
    test_pairs: float
    rows: list[ExperimentRow]
    claim: str
