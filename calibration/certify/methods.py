"""Judge by judge: the procedure of Jung, Brahman and Choi (2025), made valid, and their code's rule.

`stagewise_thresholds` certifies every judge on what the judges before it left, at an equal part of
the failure probability. A later judge's pairs were chosen by an earlier walk over the same labels,
so three things are done: pairs that a walk passed are answered and gone; the pair a walk stopped at
stays, but counts as an error; and since a walk that fails at once leaves its pairs to later judges
unsettled, stage i splits its level over the 2^(i-1) ways in which earlier judges may be in or out.
`published_thresholds` is the rule of the authors' released code, which controls nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from calibration.arrays import BoolArray, FloatArray
from calibration.binomial import p_value, upper_bound
from calibration.confidence import rounded
from calibration.label_counts import accepted_labels_needed
from calibration.sample import Sample

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
    """Thresholds by the rule of the released code of Jung, Brahman and Choi (2025); no valid test.

    Every judge is tested at the full failure probability on the pairs that others left, over 5,000
    grid points that at least 30 pairs reach; the walk looks one step of another width ahead; when
    nothing passes it keeps the highest grid point, and with too few pairs the previous threshold.
    Pairs on which some judge failed are dropped.
    """
    kept = np.flatnonzero((sample.confidence > -np.inf).all(axis=1))
    confidence, loss = sample.confidence[kept], sample.loss[kept]
    remains = np.ones(len(kept), dtype=np.bool_)
    # With too few pairs for even the first judge the released code fails; here nobody answers.
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
    nobody = _Stage(np.inf, np.inf, 0.0, 0.0, 0)
    remains = left.fresh | left.border
    scores = sample.confidence[remains, judge]
    loss = np.where(left.border, 1.0, sample.loss[:, judge])[remains]
    start = _stage_start(pool[left.pool, judge], int(left.fresh.sum()), target_risk, level)
    if start is None:
        return nobody
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
    """Threshold at which the pool foresees enough answered pairs to survive one error."""
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
