"""What is counted of every model: comparisons, wins, ties, and the groups that they came from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from calibration.arrays import BoolArray, IntArray
from calibration.comparisons import Comparisons

# A table of all groups and models is quicker than sorting, as long as it fits in memory.
_TABLE_CELLS = 100_000_000


@dataclass(frozen=True, slots=True, eq=False)
class Records:
    """Counts by model, each of shape (models,).

    Attributes:
        n: Number of comparisons of the model.
        wins: How many it won; a share above one half is a win.
        ties: How many were tied.
    """

    n: IntArray
    wins: IntArray
    ties: IntArray


@dataclass(frozen=True, slots=True, eq=False)
class Support:
    """What stands behind the values of the models.

    Attributes:
        groups: Number of groups that the model has a comparison of weight in, shape (models,).
        is_unanimous: Whether the model got the same share in all of them: resamples of such groups
            say nothing about how else it might have fared. Shape (models,).
        confidence_level: Coverage of what is concluded from them.
    """

    groups: IntArray
    is_unanimous: BoolArray
    confidence_level: float


def with_baseline(comparisons: Comparisons, baseline: str | None) -> BoolArray:
    """Which comparisons count, shape (n,): those with the baseline, or all without one."""
    if baseline is None:
        return np.ones(len(comparisons), dtype=np.bool_)
    number = comparisons.models.index(baseline)
    return np.asarray((comparisons.left == number) | (comparisons.right == number))


def count_records(comparisons: Comparisons) -> Records:
    """Count comparisons, wins and ties of every model; weights do not matter."""
    n_models = len(comparisons.models)

    def count(left: BoolArray | slice, right: BoolArray | slice) -> IntArray:
        of_left = np.bincount(comparisons.left[left], minlength=n_models)
        return np.asarray(of_left + np.bincount(comparisons.right[right], minlength=n_models))

    return Records(
        n=count(slice(None), slice(None)),
        wins=count(comparisons.score > 0.5, comparisons.score < 0.5),
        ties=count(comparisons.is_tie, comparisons.is_tie),
    )


def count_groups(comparisons: Comparisons, group: IntArray, n_groups: int) -> IntArray:
    """Number of groups in which each model has a comparison of weight, shape (models,)."""
    n_models, kept = len(comparisons.models), comparisons.weight > 0
    if not kept.all():
        comparisons, group = comparisons.take(kept), group[kept]
    cells = np.concatenate(
        [group * n_models + comparisons.left, group * n_models + comparisons.right]
    )
    if n_groups * n_models > _TABLE_CELLS:
        return np.bincount(np.unique(cells) % n_models, minlength=n_models)
    seen = np.zeros(n_groups * n_models, dtype=np.bool_)
    seen[cells] = True
    return np.asarray(seen.reshape(n_groups, n_models).sum(axis=0))
