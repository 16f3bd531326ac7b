"""Fixed-sequence testing with fallback, along several paths, of which the best node is deployed.

Each hypothesis of a sequence may have a weight of the total level. It is tested at its own weight
plus, where the one before it was rejected, the level that one was tested at. Under any dependence
the probability of a false rejection is at most the total: a true hypothesis that is not rejected
stops the flow, so the levels met by true hypotheses before the first false rejection add up to at
most the sum of the weights.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple, cast

import numpy as np

from calibration.arrays import BoolArray, FloatArray
from calibration.certify.certificate import Certificate, TestedPath
from calibration.certify.evidence import PathTest
from calibration.certify.issuing import (
    Passed,
    abstaining,
    best_covered,
    issue,
    tested_path,
    with_assumption,
    with_margin,
    with_tests,
)
from calibration.certify.panel import Assumption, needs_no_assumption
from calibration.certify.paths import Path, PortfolioMethod, paths_of
from calibration.certify.prepare import (
    Prepared,
    Request,
    evidence_against,
    risk_before_shift,
    shift_between,
)

# Nodes are tested in chunks that double, so that a walk costs what it covers.
_FIRST_CHUNK = 256


@dataclass(frozen=True, slots=True)
class Walk:
    """The outcome of a walk along a path.

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


def certified_by_walking(
    prepared: Prepared, request: Request, rng: np.random.Generator
) -> Certificate:
    """Walk every path; of the last nodes that pass deploy the best covered, then the cheapest."""
    certified: list[tuple[Certificate, Node]] = []
    tested: list[TestedPath] = []
    paths = paths_of(
        cast(PortfolioMethod, request.method),
        prepared.sample,
        prepared.pool,
        test=(request.tested_risk, request.failure_probability),
        costs=request.costs,
        layout=request.layout,
        is_coarse=prepared.evidence.is_coarse,
        margins=prepared.margins,
        scope=request.scope,
        rng=rng,
    )
    for path in paths:
        level = path.share * request.failure_probability
        test = prepared.evidence.along(path, level)
        walk = walk_path(level * path.entry_weights, test.rejects)
        if walk.last < 0:
            tested.append(tested_path(path, walk.tested, None))
            continue
        p_value, bound = test.strength(walk.last, walk.level)
        passed = Passed(path.name, p_value, walk.level, bound)
        rows = prepared.sample.rows(path.rows)
        found = issue(prepared, request, path.vector(walk.last), passed, rows)
        # no pair of a data set is given a wrong verdict where none is given one: that is no result
        if request.scope == "answered" or found.answered:
            certified.append((found, Node(path, walk.last, test, walk.level)))
        tested.append(tested_path(path, walk.tested, found))
    if certified:
        chosen = best_covered([one for one, _ in certified], prepared.sample, request)
        best, node = certified[chosen]
        margin = shift_margin(prepared, request, node)
        best = with_margin(best, margin.shift, is_joint=margin.is_joint)
        best = with_assumption(best, _assumption(request, node))
    else:
        best = abstaining(prepared, request)
    return with_tests(best, sum(path.tested for path in tested), tuple(tested))


def _assumption(request: Request, node: Node) -> Assumption:
    """Return what a promise about a panel rests on."""
    third = None if request.panel is None or request.is_common else request.panel.third
    level = node.path.share * request.failure_probability
    if third is None or not needs_no_assumption(
        third, node.path, node.place, request.tested_risk, level
    ):
        return "assumed"
    return "tested"


class Node(NamedTuple):
    """One threshold vector of a path, its test and the level at which it passed."""

    path: Path
    place: int
    test: PathTest
    level: float


class Margin(NamedTuple):
    """A shift that a promise survives; joint: the certificate and this margin hold together."""

    shift: float
    is_joint: bool


# declared beforehand; each is tested at an equal part of the failure probability
_SHIFTS = (1.05, 1.1, 1.2, 1.35, 1.6, 2.0, 3.0)


def shift_margin(prepared: Prepared, request: Request, node: Node) -> Margin:
    """Return up to which change of the traffic the promise of a node was shown to survive.

    The node was chosen with the labels, so a bound for one fixed node would be too small. Where the
    walk came to the end of its path, the end was fixed beforehand, and the level goes on to smaller
    and smaller risks there: no part of it is spent. The end is a range of thresholds, because the
    last break point is not fixed; the largest bound over the range holds for all of it.

    Elsewhere each of a few declared shifts G has a walk of its own that refutes the risk which grows
    to the target under G, on the same path, at an equal part of the failure probability. Where such
    a walk passes the node, the risk is smaller; with probability 1 - failure_probability no walk is
    wrong.
    """
    end = node.path.end if node.place == len(node.path.thresholds) - 1 else None
    if end is not None:
        bound = node.test.largest_risk(slice(end, node.place + 1), node.level)
        return Margin(max(shift_between(bound, request.target_risk), request.max_shift), True)
    return Margin(_margin_by_walks(prepared, request, node), False)


def _margin_by_walks(prepared: Prepared, request: Request, node: Node) -> float:
    margin = request.max_shift
    for shift in _SHIFTS:
        if shift <= request.max_shift:
            continue
        level = node.path.share * request.failure_probability / len(_SHIFTS)
        evidence = evidence_against(
            prepared, request, risk_before_shift(request.target_risk, shift)
        )
        test = evidence.along(node.path, level)
        if not passes(level * node.path.entry_weights, test.rejects, node.place):
            break
        margin = shift
    return margin


def passes(
    entry_levels: FloatArray, rejects: Callable[[slice, float], BoolArray], node: int
) -> bool:
    """Return whether a walk that starts at some entry rejects every hypothesis up to this one."""
    return any(
        _first_failure(start, node + 1, float(entry_levels[start]), rejects) > node
        for start in np.flatnonzero(entry_levels[: node + 1] > 0).tolist()
    )
