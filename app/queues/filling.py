"""Which pairs a queue holds, in which order they are served, and how probable each was.

For calibration the order is drawn uniformly, so that the pairs labelled at any time are a uniform
sample. A queue for a ranking has strata, the couples of models: those whose ranks the leaderboard
cannot tell apart get most labels. Then some pairs are more probable than others, and each label
carries its probability: certificates weigh by it, or refuse where none was declared.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final

import numpy as np

from app.datasets.records import PairKey
from app.datasets.splits import group_number
from calibration.plan import allocate_labels

RANKING_LABELS: Final = 200
_FEWEST: Final = 2
Couple = tuple[str | None, str | None]


@dataclass(frozen=True, slots=True)
class Drawn:
    """A pair to be labelled; `probability` is None where the order itself is uniform."""

    key: PairKey
    probability: float | None = None


def uniformly(keys: Sequence[PairKey], seed: int, labels: int | None) -> list[Drawn]:
    """Return pairs in an order that seed and id decide alone; any beginning is a uniform sample.

    Example:
        >>> uniformly([], seed=0, labels=None)
        []
    """
    return [Drawn(key) for key in _shuffled(keys, seed)[:labels]]


def _shuffled(keys: Sequence[PairKey], seed: int) -> list[PairKey]:
    return sorted(keys, key=lambda key: group_number(seed, f"queue\n{key.id}"))


def by_stratum(
    keys: Sequence[PairKey], contested: Collection[frozenset[str]], seed: int, labels: int | None
) -> list[Drawn]:
    """Return pairs so that the couples of models whose ranks are tied settle soonest.

    Each couple is a stratum. A label in it tells most where its outcome is open and the ranks of
    the two overlap: such couples share the labels in proportion to their pairs, all others get a
    few. Within a stratum pairs are drawn uniformly; the strata are mixed, so that any beginning has
    about the same shares.

    Args:
        keys: The pairs.
        contested: Couples of models whose ranks overlap; empty where no leaderboard is known, then
            all count alike.
        seed: Draws the pairs.
        labels: Pairs to label, at most 200 if not given.
    """
    strata: defaultdict[Couple, list[PairKey]] = defaultdict(list)
    for key in _shuffled(keys, seed):
        strata[_couple(key)].append(key)
    sizes = [len(members) for members in strata.values()]
    deviation = [_deviation(couple, contested) for couple in strata]
    wanted = min(labels or RANKING_LABELS, len(keys))
    floor = _FEWEST if wanted >= sum(min(size, _FEWEST) for size in sizes) else 0
    shares = allocate_labels(wanted, sizes, deviation, fewest=floor) if keys else np.zeros(0, int)
    placed = [
        ((at + 0.5) / share, Drawn(key, share / len(members)))
        for members, share in zip(strata.values(), shares.tolist(), strict=True)
        for at, key in enumerate(members[:share])
    ]
    return [drawn for _, drawn in sorted(placed, key=lambda one: one[0])]


def _couple(key: PairKey) -> Couple:
    one, other = sorted((key.model_a or "", key.model_b or ""))
    return one, other


def _deviation(couple: Couple, contested: Collection[frozenset[str]]) -> float:
    if not contested:
        return 0.5
    return 0.5 if frozenset(filter(None, couple)) in contested else 0.0


def contested_couples(rows: Sequence[Mapping[str, Any]]) -> set[frozenset[str]]:
    """Return the couples of models of a leaderboard whose ranks overlap.

    Example:
        >>> rows = [{"model": name, "rank_low": low, "rank_high": high}
        ...         for name, low, high in (("x", 1, 2), ("y", 1, 2), ("z", 3, 3))]
        >>> sorted(map(sorted, contested_couples(rows)))
        [['x', 'y']]
    """
    return {
        frozenset((one["model"], other["model"]))
        for one, other in combinations(rows, 2)
        if one["rank_low"] <= other["rank_high"] and other["rank_low"] <= one["rank_high"]
    }
