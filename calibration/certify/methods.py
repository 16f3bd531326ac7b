"""The methods of certification: those that walk no path, and the choice among all.

`stagewise_thresholds` certifies every judge on what the judges before it left, at an equal part of
the failure probability. A later judge's pairs were chosen by an earlier walk over the same labels,
so three things are done: pairs that a walk passed are answered and gone; the pair a walk stopped at
stays, but counts as an error; and since a walk that fails at once leaves its pairs to later judges
unsettled, stage i splits its level over the 2^(i-1) ways in which earlier judges may be in or out.
`published_thresholds` is the rule of the authors' released code, which controls nothing.

`risk_bounds` takes cascades that a pool fixes, without the calibration pairs: all judges at one
threshold, at coverages from a fifth up, and the last judge alone. Each gets an exact upper bound at
an equal part of the failure probability (Bonferroni), so that with the rest of it every bound holds.

`average_threshold` is for verdicts on a pool. One threshold t is shared by all judges. Let V(t)
count the calibration pairs on which the cascade was wrong at some threshold of at least t, and M(t)
the pool's pairs that it answers at t. Of the n calibration pairs and the m of the pool, the smallest
t with

    m (1 + V(t)) / ((n + 1) M(t)) <= target

keeps the expected share of wrong verdicts among those given on the pool at or below the target: a
pool's pair that was ever wrong down to t is exchangeable with the calibration pairs, and counting
"ever wrong" makes V monotone although verdicts may change hands as t falls, which the argument for
selection by conformal p-values needs (Jin and Candes 2023, after Benjamini and Hochberg 1995).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from calibration.arrays import BoolArray, FloatArray
from calibration.binomial import accepted_labels_needed, p_value, upper_bound
from calibration.cascade import answered_loss, decide, rounded
from calibration.certify.certificate import Certificate, RiskBound
from calibration.certify.evidence import ExactCounts
from calibration.certify.issuing import Passed, abstaining, issue, with_margin, with_tests
from calibration.certify.paths import thresholds_at
from calibration.certify.prepare import Prepared, Request, shift_between
from calibration.certify.walk import certified_by_walking
from calibration.errors import UnavailableMethod
from calibration.sample import Sample, Scope

_RESOLUTION = 1e-12
_GRID_SIZE = 5000
_SMALLEST_GROUP = 30


@dataclass(frozen=True, slots=True, eq=False)
class StagewiseResult:
    """Thresholds that passed stage by stage, with the weakest evidence among the stages."""

    thresholds: FloatArray
    p_value: float
    level: float
    risk_upper_bound: float
    nodes_tested: int


@dataclass(frozen=True, slots=True, eq=False)
class _Remainder:
    """Pairs that no certified judge has answered.

    Attributes:
        fresh: Pairs that no walk has looked at.
        border: Pairs at which a walk stopped; they count as errors from then on.
        pool: Rows of the pool that the certified judges would leave.
    """

    fresh: BoolArray
    border: BoolArray
    pool: BoolArray


@dataclass(frozen=True, slots=True, eq=False)
class _Stage:
    """One judge's walk: where it starts and stops, and what passed last."""

    threshold: float
    stopped_at: float
    p_value: float
    risk_upper_bound: float
    tested: int


def stagewise_thresholds(
    sample: Sample, pool: FloatArray, target_risk: float, failure_probability: float
) -> StagewiseResult:
    """Certify judge after judge, each at an equal part of the failure probability.

    Args:
        sample: Pairs with 0/1 losses, one a group.
        pool: Confidences of other pairs, shape (m, k); they fix where each walk starts.
        target_risk: Largest risk of each judge on the pairs it answers.
        failure_probability: Probability that some judge's promise is broken.
    """
    k = sample.n_judges
    left = _Remainder(
        np.ones(sample.n, dtype=np.bool_),
        np.zeros(sample.n, dtype=np.bool_),
        np.ones(len(pool), dtype=np.bool_),
    )
    thresholds = np.full(k, np.inf)
    result = StagewiseResult(thresholds, 0.0, 1.0, 0.0, 0)
    for judge in range(k):
        level = failure_probability / k / 2**judge
        stage = _walk_stage(sample, pool, left, judge, (target_risk, level))
        thresholds[judge] = stage.threshold
        if np.isfinite(stage.threshold):
            left = _left_by(left, sample.confidence[:, judge], pool[:, judge], stage)
        result = _with_stage(result, stage, level)
    return result


def published_thresholds(
    sample: Sample, target_risk: float, failure_probability: float
) -> FloatArray:
    """Return thresholds by the released code of Jung, Brahman and Choi (2025); no valid test.

    Every judge is tested at the full failure probability on the pairs that others left, over 5,000
    grid points that at least 30 pairs reach; the walk looks one step of another width ahead; when
    nothing passes it keeps the highest grid point, and with too few pairs the previous threshold.
    Pairs on which some judge failed are dropped.
    """
    kept = np.flatnonzero((sample.confidence > -np.inf).all(axis=1))
    confidence, loss = sample.confidence[kept], sample.loss[kept]
    remains = np.ones(len(kept), dtype=np.bool_)
    # With too few pairs for even the first judge the released code fails; here no judge answers.
    previous = np.inf
    thresholds = np.full(sample.n_judges, np.inf)
    for judge in range(sample.n_judges):
        scores, losses = confidence[remains, judge], loss[remains, judge]
        previous = _published_threshold(scores, losses, target_risk, failure_probability, previous)
        thresholds[judge] = previous
        remains &= confidence[:, judge] < previous
    return thresholds


def _walk_stage(
    sample: Sample, pool: FloatArray, left: _Remainder, judge: int, test: tuple[float, float]
) -> _Stage:
    target_risk, level = test
    silent = _Stage(np.inf, np.inf, 0.0, 0.0, 0)
    remains = left.fresh | left.border
    scores = sample.confidence[remains, judge]
    loss = np.where(left.border, 1.0, sample.loss[:, judge])[remains]
    start = _stage_start(pool[left.pool, judge], int(left.fresh.sum()), target_risk, level)
    if start is None:
        return silent
    nodes = np.unique(np.append(scores[(scores <= start) & (scores > -np.inf)], start))[::-1]
    order = np.argsort(-scores, kind="stable")
    answered = np.searchsorted(-scores[order], -nodes, side="right")
    lost = np.append(0.0, np.cumsum(loss[order]))[answered]
    p_values = p_value(lost, answered, target_risk)
    failed = np.flatnonzero(p_values > level)
    if failed.size and failed[0] == 0:
        return _Stage(np.inf, np.inf, 0.0, 0.0, 1)
    last = int(failed[0]) - 1 if failed.size else nodes.size - 1
    stopped_at = float(nodes[last + 1]) if failed.size else -np.inf
    # All thresholds above the one that failed passed; with none that failed, every threshold did.
    threshold = float(rounded(stopped_at + _RESOLUTION)) if failed.size else 0.0
    bound = float(upper_bound(lost[last], answered[last], level))
    return _Stage(threshold, stopped_at, float(p_values[last]), bound, last + 1 + bool(failed.size))


def _stage_start(scores: FloatArray, n: int, target_risk: float, level: float) -> float | None:
    """Return the threshold at which the pool foresees enough answers to survive one error."""
    ranked = np.sort(scores[scores > -np.inf])[::-1]
    if not ranked.size or not n:
        return None
    needed = accepted_labels_needed(1, target_risk, level)
    share = (needed + 2 * np.sqrt(needed)) / n
    rank = int(np.ceil(share * scores.size)) - 1
    return float(ranked[min(max(rank, 0), ranked.size - 1)])


def _left_by(left: _Remainder, scores: FloatArray, pool: FloatArray, stage: _Stage) -> _Remainder:
    return _Remainder(
        left.fresh & (scores < stage.stopped_at) | (left.fresh & (scores == -np.inf)),
        (left.border & (scores < stage.threshold))
        | (left.fresh & (scores == stage.stopped_at) & (scores > -np.inf)),
        left.pool & (pool < stage.threshold),
    )


def _with_stage(result: StagewiseResult, stage: _Stage, level: float) -> StagewiseResult:
    is_on = bool(np.isfinite(stage.threshold))
    return StagewiseResult(
        result.thresholds,
        max(result.p_value, stage.p_value) if is_on else result.p_value,
        min(result.level, level) if is_on else result.level,
        max(result.risk_upper_bound, stage.risk_upper_bound) if is_on else result.risk_upper_bound,
        result.nodes_tested + stage.tested,
    )


def _published_threshold(
    scores: FloatArray, loss: FloatArray, target_risk: float, level: float, previous: float
) -> float:
    order = np.argsort(-scores, kind="stable")
    ranked = -scores[order]
    lost = np.append(0.0, np.cumsum(loss[order]))
    # one test a number of pairs answered: many grid points answer the same pairs
    is_failed = np.asarray(p_value(lost, np.arange(lost.size), target_risk) > level)

    def fails(at: FloatArray) -> BoolArray:
        return np.asarray(is_failed[np.searchsorted(ranked, -at, side="right")], dtype=np.bool_)

    grid = np.linspace(0.0, 1.0, _GRID_SIZE)
    grid = grid[np.searchsorted(ranked, -grid, side="right") >= _SMALLEST_GROUP]
    if not grid.size:
        return previous
    if fails(grid[-1:])[0]:
        return float(grid[-1])
    falling = grid[::-1]
    stops = np.flatnonzero(fails(falling - 1.0 / grid.size))
    return float(falling[stops[0]] if stops.size else grid[0])


_SHARED_COVERAGES = np.linspace(0.2, 1.0, 9)
_LAST_COVERAGES = np.linspace(0.2, 1.0, 5)


def risk_bounds(
    sample: Sample, pool: FloatArray, failure_probability: float, scope: Scope = "answered"
) -> tuple[RiskBound, ...]:
    """Return upper bounds that hold together with probability 1 - failure_probability or more.

    Args:
        sample: Pairs with losses of 0 and 1, one a group.
        pool: Confidences of other pairs, shape (m, k).
        failure_probability: Probability that some bound fails.
        scope: What the risk is a share of.
    """
    k = sample.n_judges
    vectors = _vectors(pool, np.ones(k, dtype=np.bool_), _SHARED_COVERAGES)
    if k > 1:
        vectors |= _vectors(pool, np.arange(k) == k - 1, _LAST_COVERAGES)
    level = failure_probability / max(len(vectors), 1)
    return tuple(_bound(sample, np.array(vector), level, scope) for vector in vectors)


def _vectors(
    pool: FloatArray, is_on: BoolArray, coverages: FloatArray
) -> dict[tuple[float, ...], None]:
    """Return threshold vectors in their order, each once."""
    levels = thresholds_at(pool[:, is_on], coverages)
    return dict.fromkeys(tuple(np.where(is_on, level, np.inf).tolist()) for level in levels)


def _bound(sample: Sample, thresholds: FloatArray, level: float, scope: Scope) -> RiskBound:
    is_answered, loss = answered_loss(decide(sample.confidence, thresholds), sample.loss)
    answered, lost = int(is_answered.sum()), int(loss.sum())
    coverage = answered / sample.n if sample.n else 0.0
    counted = answered if scope == "answered" else sample.n
    return RiskBound(thresholds, answered, lost, coverage, float(upper_bound(lost, counted, level)))


def average_threshold(sample: Sample, pool: FloatArray, target_risk: float) -> float | None:
    """Return the smallest shared threshold that the rule allows; None where it allows none.

    The mean is over calibration pairs and pool together, all of them exchangeable.

    Args:
        sample: Pairs with losses of 0 and 1, one a group.
        pool: Confidences of the pairs to be answered, shape (m, k), -inf where a judge failed.
        target_risk: Largest expected share of wrong verdicts.
    """
    largest = np.sort(pool.max(axis=1, initial=-np.inf))
    largest = largest[largest > -np.inf]
    if not largest.size:
        return None
    thresholds, below = np.unique(largest, return_index=True)
    answered = largest.size - below
    ever_wrong = np.sort(_highest_wrong_threshold(sample))
    wrong = ever_wrong.size - np.searchsorted(ever_wrong, thresholds, side="left")
    estimate = len(pool) * (1.0 + wrong) / ((sample.n + 1.0) * answered)
    allowed = np.flatnonzero(estimate <= target_risk)
    return float(thresholds[allowed[0]]) if allowed.size else None


def _highest_wrong_threshold(sample: Sample) -> FloatArray:
    """Return the highest shared threshold at which each verdict is wrong, (n,); -inf if none.

    Judge i answers from its own confidence down to the largest confidence before it, so it is wrong
    first at its own confidence.
    """
    surest_before = np.maximum.accumulate(sample.confidence, axis=1)
    surest_before = np.concatenate([np.full((sample.n, 1), -np.inf), surest_before[:, :-1]], axis=1)
    is_wrong = (sample.confidence > surest_before) & (sample.loss > 0)
    highest: FloatArray = np.where(is_wrong, sample.confidence, -np.inf).max(axis=1)
    return highest


def certified_by_method(
    prepared: Prepared, request: Request, rng: np.random.Generator
) -> Certificate:
    """Apply the method of a request.

    Raises:
        UnavailableMethod: The method needs agreement of 0 or 1 and equal label probabilities.
    """
    by_counts = _BY_COUNTS.get(request.method)
    if by_counts is None:
        return certified_by_walking(prepared, request, rng)
    if not isinstance(prepared.evidence, ExactCounts):
        raise UnavailableMethod(
            f"method {request.method!r} needs agreement of 0 or 1, equal label probabilities and no "
            "threshold common to slices"
        )
    return by_counts(prepared, request)


def _stagewise(prepared: Prepared, request: Request) -> Certificate:
    stages = stagewise_thresholds(
        prepared.sample, prepared.pool, request.tested_risk, request.failure_probability
    )
    if np.isfinite(stages.thresholds).any():
        passed = Passed("stagewise", stages.p_value, stages.level, stages.risk_upper_bound)
        certificate = issue(prepared, request, stages.thresholds, passed)
    else:
        certificate = abstaining(prepared, request)
    return with_tests(certificate, stages.nodes_tested)


def _simultaneous(prepared: Prepared, request: Request) -> Certificate:
    sample, scope = prepared.sample, request.scope
    bounds = risk_bounds(sample, prepared.pool, request.failure_probability, scope)
    within = [
        bound
        for bound in bounds
        if bound.upper_bound <= request.tested_risk and (scope == "answered" or bound.answered)
    ]
    if within:
        best = max(within, key=lambda bound: bound.coverage)
        level = request.failure_probability / len(bounds)
        counted = best.answered if scope == "answered" else sample.n
        p = float(p_value(best.disagreements, counted, request.tested_risk))
        passed = Passed("simultaneous", p, level, best.upper_bound)
        certificate = issue(prepared, request, best.thresholds, passed)
        # the bound holds for every node at once, so it may be read off
        margin = shift_between(best.upper_bound, request.target_risk)
        certificate = with_margin(certificate, max(margin, request.max_shift), is_joint=True)
    else:
        certificate = abstaining(prepared, request)
    return with_tests(certificate, len(bounds), bounds=bounds)


def _average(prepared: Prepared, request: Request) -> Certificate:
    threshold = average_threshold(prepared.sample, prepared.pool, request.tested_risk)
    if threshold is None:
        certificate = abstaining(prepared, request)
    else:
        shared = np.full(prepared.sample.n_judges, threshold)
        certificate = issue(prepared, request, shared, Passed("average", 1.0, 0.0, 1.0))
    return with_tests(certificate, 1)


def _published(prepared: Prepared, request: Request) -> Certificate:
    thresholds = published_thresholds(
        prepared.sample, request.tested_risk, request.failure_probability
    )
    return issue(prepared, request, thresholds, None)


_BY_COUNTS: Mapping[str, Callable[[Prepared, Request], Certificate]] = {
    "stagewise": _stagewise,
    "simultaneous": _simultaneous,
    "average": _average,
    "published_code": _published,
}
