"""Fixed-sequence testing with fallback; best node of several paths.

Each hypothesis of a sequence may have a weight of the total level. It is tested at its own weight
plus, where the one before it was rejected, the level that one was tested at. Under any dependence
the probability of a false rejection is at most the total: a true hypothesis that is not rejected
stops the flow, so the levels met by true hypotheses before the first false rejection add up to at
most the sum of the weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from calibration.arrays import BoolArray, FloatArray
from calibration.cascade import CascadeCost, cascade_cost, decide
from calibration.certify.certificate import RiskBound, TestedPath
from calibration.certify.evidence import PathTest
from calibration.certify.paths import Path, PortfolioMethod, answered_loss, paths_of
from calibration.certify.prepare import Prepared, Request
from calibration.sample import Sample

# Nodes are tested in chunks that double, so that a walk costs what it covers.
_FIRST_CHUNK = 256


@dataclass(frozen=True, slots=True)
class Walk:
    """Where a walk along a path got to.

    Attributes:
        last: Index of the last rejected hypothesis; -1 where none was.
        level: Level it was tested at; 0 where none was rejected.
        tested: Number of hypotheses tested.
    """

    last: int
    level: float
    tested: int


def walk_path(entry_levels: FloatArray, rejects: Callable[[slice, float], BoolArray]) -> Walk:
    """Walk a path by the fallback procedure.

    Args:
        entry_levels: Level that belongs to each hypothesis itself, in the order of testing.
        rejects: Which hypotheses of a slice are rejected at a level; must be monotone in the level.
    """
    entries = [*np.flatnonzero(entry_levels > 0).tolist(), entry_levels.size]
    walk = Walk(-1, 0.0, 0)
    carried = 0.0
    for start, stop in pairwise(entries):
        level = float(entry_levels[start]) + carried
        passed = _first_failure(start, stop, level, rejects)
        tested = walk.tested + min(passed + 1, stop) - start
        reached = passed > start
        walk = Walk(passed - 1 if reached else walk.last, level if reached else walk.level, tested)
        carried = level if passed == stop else 0.0
    return walk


def _first_failure(
    start: int, stop: int, level: float, rejects: Callable[[slice, float], BoolArray]
) -> int:
    chunk = _FIRST_CHUNK
    while start < stop:
        end = min(start + chunk, stop)
        failed = np.flatnonzero(~rejects(slice(start, end), level))
        if failed.size:
            return start + int(failed[0])
        start, chunk = end, 2 * chunk
    return stop


_SAME_COVERAGE = 0.01


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Thresholds that passed, on which pairs, and how clearly."""

    thresholds: FloatArray
    tested: Sample
    path: str
    p_value: float
    level: float
    risk_upper_bound: float


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What a procedure found, and everything that it tested.

    Attributes:
        found: The thresholds to deploy; None where nothing passed.
        nodes_tested: Number of threshold vectors tested.
        paths: The paths among them.
        bounds: Bounds on single vectors, all holding together.
    """

    found: Found | None
    nodes_tested: int
    paths: tuple[TestedPath, ...] = ()
    bounds: tuple[RiskBound, ...] = ()


def walk_paths(
    prepared: Prepared, request: Request, method: PortfolioMethod, rng: np.random.Generator
) -> Outcome:
    """Walk every path; of the last nodes certified choose the best covered, then the cheapest."""
    found: list[Found] = []
    tested: list[TestedPath] = []
    paths = paths_of(
        method,
        prepared.sample,
        prepared.pool,
        test=(request.target_risk, request.failure_probability),
        costs=request.costs,
        is_coarse=prepared.evidence.is_coarse,
        rng=rng,
    )
    for path in paths:
        level = path.share * request.failure_probability
        test = prepared.evidence.along(path, level)
        walk = walk_path(level * path.entry_weights, test.rejects)
        passed = _passed(prepared.sample, path, test, walk)
        tested.append(_tested(path, walk, passed))
        if passed is not None:
            found.append(passed)
    nodes_tested = sum(path.tested for path in tested)
    return Outcome(_best(found, prepared.sample, request), nodes_tested, tuple(tested))


def cost_of(sample: Sample, thresholds: FloatArray, request: Request) -> CascadeCost:
    """What these thresholds cost on the pairs of a sample.

    A tier of pooled evidence is free, but it is heard only after every judge was asked.
    """
    answered_by = decide(sample.confidence, thresholds)
    if not request.has_pooled_tier:
        return cascade_cost(answered_by, thresholds, request.costs, sample.weight)
    is_heard = np.isfinite(thresholds[-1])
    asked = np.where(is_heard & ~np.isfinite(thresholds), 1.0, thresholds)
    cost = cascade_cost(answered_by, asked, request.costs, sample.weight)
    dearest = float(request.costs[-2])
    return replace(cost, relative=cost.per_pair / dearest if dearest > 0 else None)


def _passed(sample: Sample, path: Path, test: PathTest, walk: Walk) -> Found | None:
    if walk.last < 0:
        return None
    return Found(
        path.vector(walk.last),
        sample.rows(path.rows),
        path.name,
        test.p_value(walk.last),
        walk.level,
        test.risk_upper_bound(walk.last, walk.level),
    )


def _tested(path: Path, walk: Walk, passed: Found | None) -> TestedPath:
    nodes = len(path.thresholds)
    if passed is None:
        return TestedPath(path.name, path.share, nodes, walk.tested, None, 0, 0.0, 1.0, 0.0)
    is_answered, loss = answered_loss(passed.tested, passed.thresholds)
    return TestedPath(
        path.name,
        path.share,
        nodes,
        walk.tested,
        passed.thresholds,
        int(is_answered.sum()),
        float(loss.sum()),
        passed.p_value,
        walk.level,
    )


def _best(found: list[Found], sample: Sample, request: Request) -> Found | None:
    if not found:
        return None
    spent = [cost_of(sample, one.thresholds, request) for one in found]
    coverage = [float(cost.composition.sum()) for cost in spent]
    near = [i for i in range(len(found)) if coverage[i] >= max(coverage) - _SAME_COVERAGE]
    return found[min(near, key=lambda i: (spent[i].per_pair, -coverage[i]))]
