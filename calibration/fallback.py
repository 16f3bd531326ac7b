"""Testing hypotheses in a fixed order while unused level flows on (Wiens 2003).

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

import numpy as np

from calibration.arrays import BoolArray, FloatArray

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
