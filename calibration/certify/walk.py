"""Testing the nodes of several paths and choosing among those that passed."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from calibration.arrays import FloatArray
from calibration.cascade import CascadeCost, cascade_cost, decide
from calibration.certificate import RiskBound, TestedPath
from calibration.evidence import PathTest
from calibration.fallback import Walk, walk_path
from calibration.paths import Path, answered_loss
from calibration.plan import PortfolioMethod, paths_of
from calibration.preparation import Prepared, Request
from calibration.sample import Sample

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
