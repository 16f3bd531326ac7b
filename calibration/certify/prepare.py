"""From a request to a test: groups reduced, a pool set aside, and the test chosen."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from calibration.arrays import FloatArray, IntArray
from calibration.certify.columns import Layout
from calibration.certify.evidence import (
    ArrivingPairs,
    Betting,
    Evidence,
    ExactCounts,
    InEverySlice,
)
from calibration.certify.panel import PanelVotes
from calibration.errors import InvalidArgument, UnavailableMethod
from calibration.sample import (
    Sample,
    Scope,
    first_row_a_group,
    one_row_a_group,
    rows_of_drawn_groups,
)
from calibration.stack import margins

Promise = Literal[
    "pair",
    "pair_of_random_group",
    "first_of_random_group",
    "weighted_pair",
    "weighted_single_pair",
    "traffic_pair",
    "traffic_single_pair",
]


Method = Literal[
    "auto",
    "diagonal",
    "strongest",
    "learned",
    "pareto_testing",
    "stagewise",
    "simultaneous",
    "sequential",
    "average",
    "published_code",
    "auto_raw",
    "learned_stack",
    "weighted",
]
METHODS: tuple[str, ...] = get_args(Method)
SliceRule = Literal["joint", "each", "common"]

_SET_ASIDE_SHARE, _SMALLEST_POOL, _LARGEST_POOL = 0.1, 15, 100
_FIRST_ARRIVALS = 30
_SINGLES_FOR_REDUCTION = 0.95
_BY_PATHS = (
    "auto",
    "auto_raw",
    "learned_stack",
    "weighted",
    "diagonal",
    "strongest",
    "learned",
    "pareto_testing",
)
# third votes are walked along the same paths, and weights of traffic would have to weigh them, too
_FOR_PANELS = tuple(method for method in _BY_PATHS if method != "weighted")
# those of which several may share the failure probability
DECLARABLE = (*_FOR_PANELS, "stagewise")
# those whose test is of a cascade as a whole, node by node
_FOR_DATASETS = (*_BY_PATHS, "sequential", "simultaneous")


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """A request for a certificate.

    Attributes:
        target_risk: Largest risk promised.
        failure_probability: Level of the whole test.
        method: How thresholds are chosen and tested.
        costs: Cost of each judge, shape (k,).
        layout: What the columns of the sample are.
        pool: Confidences of other pairs, shape (m, c); None: some labelled pairs are set aside.
        max_group_size: Declared bound on the size of a group.
        min_label_probability: Declared lower bound on the probability of being labelled.
        is_randomized: Test with a number drawn beforehand, so that no level is left over.
        is_common: One threshold vector must pass in every slice.
        has_groups: Groups were declared, even if each has one pair here.
        max_shift: Largest factor by which any kind of pair may become more frequent, or rarer.
        scope: What the risk is a share of.
        pool_evidence: Summed log-odds of the pool after each judge, shape (m, k); None where there
            is no pool, or judges are heard one at a time.
        panel: The votes behind a promise about a panel; None where the labels themselves are people.
    """

    target_risk: float
    failure_probability: float
    method: Method
    costs: FloatArray
    layout: Layout
    pool: FloatArray | None
    max_group_size: int | None
    min_label_probability: float | None
    is_randomized: bool = False
    is_common: bool = False
    has_groups: bool = False
    max_shift: float = 1.0
    scope: Scope = "answered"
    pool_evidence: FloatArray | None = None
    panel: PanelVotes | None = None

    @property
    def tested_risk(self) -> float:
        """The risk to be refuted on pairs as they are now, so that the promise survives the shift."""
        return risk_before_shift(self.target_risk, self.max_shift)

    def __post_init__(self) -> None:
        """Check that the method is offered and that the numbers are in range.

        Raises:
            InvalidArgument: A number is out of its range.
            UnavailableMethod: The method is not offered, or not in a randomised form.
        """
        self._check_method()
        for name in ("target_risk", "failure_probability"):
            value = getattr(self, name)
            if not 0.0 < value < 1.0:
                raise InvalidArgument(f"{name} must lie strictly between 0 and 1, not {value}")
        if self.max_group_size is not None and self.max_group_size < 1:
            raise InvalidArgument(f"max_group_size must be at least 1, not {self.max_group_size}")
        if not 1.0 <= self.max_shift < np.inf:
            raise InvalidArgument(f"max_shift must be at least 1 and finite, not {self.max_shift}")
        floor = self.min_label_probability
        if floor is not None and not 0.0 < floor <= 1.0:
            raise InvalidArgument(f"min_label_probability must lie in (0, 1], not {floor}")
        if self.panel is not None:
            self._check_panel()

    def _check_panel(self) -> None:
        if self.scope != "answered":
            raise UnavailableMethod("label_rule 'panel' promises nothing about a whole data set")
        if self.method not in _FOR_PANELS:
            offered = ", ".join(_FOR_PANELS)
            raise UnavailableMethod(
                f"method {self.method!r} promises nothing about a panel; those that do: {offered}"
            )
        if self.target_risk >= 0.5:
            raise InvalidArgument(
                f"a promise about a panel needs a target risk below 0.5, not {self.target_risk}"
            )

    def _check_method(self) -> None:
        if self.method not in METHODS:
            offered = ", ".join(METHODS)
            raise UnavailableMethod(f"method {self.method!r} is not offered; there are {offered}")
        if self.scope not in get_args(Scope):
            offered = ", ".join(get_args(Scope))
            raise InvalidArgument(f"scope must be one of {offered}, not {self.scope!r}")
        if self.scope == "dataset" and self.method not in _FOR_DATASETS:
            offered = ", ".join(_FOR_DATASETS)
            raise UnavailableMethod(
                f"method {self.method!r} promises nothing about a whole data set; those that do: "
                f"{offered}"
            )
        if self.is_randomized and self.method not in _BY_PATHS:
            offered = ", ".join(_BY_PATHS)
            raise UnavailableMethod(
                f"method {self.method!r} has no randomized form; those that have: {offered}"
            )

    def for_each(self, targets: Iterable[float]) -> list[Request]:
        """Return the same request for each of some targets."""
        return [replace(self, target_risk=target) for target in targets]


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """The prepared inputs of a test.

    Attributes:
        sample: The pairs that test.
        pool: Confidences that fix where tests start, shape (m, k).
        set_aside: Labelled pairs used as the pool.
        dropped: Labelled pairs dropped because another pair of their group was drawn.
        promise: What the verdicts are promised on.
        evidence: The test.
        bets_on_groups: Whether it bets on whole groups.
        uniform: The number that a randomised test was given.
        margins: Log-odds by which each column must exceed the threshold that it shares with others,
            shape (c,), fixed by the pool; None where columns are compared with it as they are.
    """

    sample: Sample
    pool: FloatArray
    set_aside: int
    dropped: int
    promise: Promise
    evidence: Evidence
    bets_on_groups: bool
    uniform: float | None
    margins: FloatArray | None = None


def risk_before_shift(target_risk: float, shift: float) -> float:
    """Return the risk that can grow to the target where densities change by a factor of `shift`.

    Answered pairs that were right may become `shift` times as rare and the wrong ones `shift` times
    as frequent, so the odds of a wrong verdict grow at most by the square.

    Example:
        >>> round(risk_before_shift(0.2, 2.0), 4)
        0.0588
    """
    if shift == 1.0:
        return target_risk
    return target_risk / (target_risk + shift**2 * (1.0 - target_risk))


def shift_between(risk: float, target_risk: float) -> float:
    """Return the shift under which a risk grows to the target at most; 1 where it is no smaller.

    Example:
        >>> round(shift_between(1 / 17, 0.2), 3)
        2.0
    """
    if risk >= target_risk:
        return 1.0
    # no bound on 0/1 losses is 0, but shares may make one
    odds = max(risk, 1e-12) / (1.0 - max(risk, 1e-12))
    return float(np.sqrt(target_risk / (1.0 - target_risk) / odds))


def prepare(sample: Sample, request: Request, rng: np.random.Generator) -> Prepared:
    """Reduce groups where the test needs it, then set pairs aside where no pool was given."""
    bets_on_groups = _bets_on_groups(sample, request)
    promise = _promise(sample, request, bets_on_groups)
    kept = sample
    if not bets_on_groups and sample.n_groups < sample.n:
        chosen = _one_row_a_group(sample, request, rng)
        kept = sample.rows(chosen)
    dropped = sample.n - kept.n
    pool, pool_evidence, set_aside = request.pool, request.pool_evidence, 0
    needs_none = pool is None and _needs_no_pool(kept, request, bets_on_groups)
    if needs_none or request.method == "published_code":
        pool = kept.confidence[:0]
    elif pool is None:
        # a number that does not depend on how many labels there are by now, where they arrive
        is_pool = (
            np.arange(kept.n) < _FIRST_ARRIVALS
            if request.method == "sequential"
            else rows_of_drawn_groups(kept.group, pool_size(kept.n_groups), rng)
        )
        pool, set_aside = kept.confidence[is_pool], int(is_pool.sum())
        pool_evidence = None if kept.evidence is None else kept.evidence[is_pool]
        kept = kept.rows(~is_pool)
    uniform = float(rng.uniform()) if request.is_randomized else None
    evidence = _evidence(kept, request, bets_on_groups, uniform, rng)
    margin = None if pool_evidence is None else request.layout.widened(margins(pool_evidence))
    return Prepared(
        kept, pool, set_aside, dropped, promise, evidence, bets_on_groups, uniform, margin
    )


def _needs_no_pool(sample: Sample, request: Request, bets_on_groups: bool) -> bool:
    """Return whether walks begin at a threshold of 1 and meet every break point of the sample."""
    is_fine = request.method in _BY_PATHS and not (
        bets_on_groups or sample.is_soft or sample.stakes is not None
    )
    return request.scope == "dataset" and is_fine


def evidence_against(prepared: Prepared, request: Request, risk: float) -> Evidence:
    """Return the test of another risk on the same pairs."""
    # the order of bets may be any that does not depend on the labels
    order = np.random.default_rng(0)
    other = replace(request, target_risk=risk, max_shift=1.0)
    if isinstance(prepared.evidence, ExactCounts):
        return prepared.evidence.against(other.tested_risk)
    return _evidence(prepared.sample, other, prepared.bets_on_groups, prepared.uniform, order)


def _bets_on_groups(sample: Sample, request: Request) -> bool:
    may_be_larger = request.has_groups and (request.max_group_size or 1) > 1
    if not (may_be_larger and sample.n and request.method in _BY_PATHS):
        return False
    is_single = np.bincount(sample.group) == 1
    # A pair drawn from its group would no longer have the label probability that was given.
    return sample.weight is not None or bool(is_single.mean() < _SINGLES_FOR_REDUCTION)


def _one_row_a_group(sample: Sample, request: Request, rng: np.random.Generator) -> IntArray:
    if sample.weight is not None:
        raise UnavailableMethod(
            f"method {request.method!r} takes one pair a group, which weights do not allow"
        )
    if request.method == "sequential":
        return first_row_a_group(sample.group)
    return one_row_a_group(sample.group, rng)


def _evidence(
    sample: Sample,
    request: Request,
    bets_on_groups: bool,
    uniform: float | None,
    rng: np.random.Generator,
) -> Evidence:
    is_counted = not (bets_on_groups or sample.is_soft or sample.stakes is not None)
    size = (request.max_group_size or 1) if bets_on_groups else 1
    floor = 1.0 if sample.weight is None else request.min_label_probability or 1.0
    is_arriving = request.method == "sequential"
    evidence: Evidence
    if is_arriving:
        stake = None if is_counted else 1.0 / floor
        evidence = ArrivingPairs(sample, request.tested_risk, stake, request.scope)
    elif is_counted:
        evidence = ExactCounts(sample, request.tested_risk, uniform, request.scope)
    elif uniform is None:
        evidence = Betting(sample, request.tested_risk, size / floor, rng, request.scope)
    else:
        raise UnavailableMethod(
            "randomized tests need agreement of 0 or 1, equal label probabilities and one pair a "
            "group"
        )
    if not request.is_common or sample.slice is None:
        return evidence
    return InEverySlice(evidence, sample.slice, is_arriving=is_arriving)


def with_set_aside(n_groups: int) -> int:
    """Return how many labelled groups leave this many to test, where there is no pool.

    Example:
        >>> with_set_aside(100)
        115
    """
    total = n_groups
    while total - pool_size(total) < n_groups:
        total += 1
    return total


def pool_size(n_groups: int) -> int:
    """Return how many labelled groups are set aside where there is no pool."""
    wanted = min(max(round(_SET_ASIDE_SHARE * n_groups), _SMALLEST_POOL), _LARGEST_POOL)
    return min(wanted, n_groups // 2)


def _promise(sample: Sample, request: Request, bets_on_groups: bool) -> Promise:
    """Return what a test is about; groups that could have more pairs than here matter, too."""
    is_one_of_more = request.has_groups and request.max_group_size != 1 and not bets_on_groups
    if request.method == "weighted":
        return "traffic_single_pair" if is_one_of_more else "traffic_pair"
    if sample.weight is not None:
        return "weighted_single_pair" if is_one_of_more else "weighted_pair"
    if not is_one_of_more:
        return "pair"
    return "first_of_random_group" if request.method == "sequential" else "pair_of_random_group"
