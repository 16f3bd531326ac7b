"""Which pairs a queue holds, in which order they are served, and how probable each was.

For calibration the order is drawn uniformly, so that the pairs labelled at any time are a uniform
sample. A queue for a ranking has strata, the couples of models: those whose ranks the leaderboard
cannot tell apart get most labels. Then some pairs are more probable than others, and each label
carries its probability: certificates weigh by it, or refuse where none was declared. Every pair has
a probability above 0, or the labels would stand for a part of the pairs alone.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, Final

from app.datasets.records import PairKey
from app.datasets.splits import group_number
from calibration.plan import allocate_rank_labels, tied_models

RANKING_LABELS: Final = 200
# of the labels, those that all pairs share in equally where some strata would get none
_FOR_ALL: Final = 0.1
# of a label of which nothing is known yet
_SPREAD: Final = 0.5
Couple = tuple[str, str]


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


@dataclass(frozen=True, slots=True)
class Open:
    """Two models whose order a leaderboard leaves open, and how far their win rates are apart."""

    models: tuple[str, str]
    gap: float


def open_orders(rows: Sequence[Mapping[str, Any]]) -> list[Open]:
    """Return the models of a leaderboard whose ranks overlap.

    Example:
        >>> rows = [
        ...     {"model": name, "rank_low": low, "rank_high": high, "win_rate": {"value": rate}}
        ...     for name, low, high, rate in (("x", 1, 2, 0.6), ("y", 1, 2, 0.5), ("z", 3, 3, 0.2))
        ... ]
        >>> [(one.models, round(one.gap, 3)) for one in open_orders(rows)]
        [(('x', 'y'), 0.1)]
    """
    rates = {row["model"]: (row.get("win_rate") or {}).get("value") or 0.0 for row in rows}
    tied = tied_models(
        list(rates), [row["rank_low"] for row in rows], [row["rank_high"] for row in rows]
    )
    return [Open(two, abs(rates[two[0]] - rates[two[1]])) for two in tied]


def by_stratum(
    keys: Sequence[PairKey], orders: Sequence[Open], seed: int, labels: int | None
) -> list[Drawn]:
    """Return pairs so that the models whose order is open are told apart soonest.

    Each couple of models is a stratum, and gets labels as `allocate_rank_labels` says. Within a
    stratum pairs are drawn uniformly; the strata are mixed, so that any beginning has their shares in
    the mean, also of strata with less than one label.

    Args:
        keys: The pairs.
        orders: What a leaderboard leaves open; empty where none is known, then all strata share in
            proportion to their pairs.
        seed: Draws the pairs.
        labels: Pairs to label, at most 200 if not given.
    """
    strata: defaultdict[Couple, list[PairKey]] = defaultdict(list)
    for key in _shuffled(keys, seed):
        strata[_couple(key)].append(key)
    expected = _expected(strata, orders, min(labels or RANKING_LABELS, len(keys)))
    counts = _whole(expected, group_number(seed, "queue strata"))
    placed = []
    for (couple, members), share, count in zip(strata.items(), expected, counts, strict=True):
        first = group_number(seed, "\n".join(("queue stratum", *couple)))
        probability = share / len(members)
        placed += [
            ((at + first) / count, Drawn(key, probability))
            for at, key in enumerate(members[:count])
        ]
    return [drawn for _, drawn in sorted(placed, key=lambda one: one[0])]


def _expected(
    strata: Mapping[Couple, Sequence[PairKey]], orders: Sequence[Open], wanted: int
) -> list[float]:
    """Return the expected number of labels of each stratum: above 0, at most its pairs."""
    sizes = [len(members) for members in strata.values()]
    alike = [wanted * size / sum(sizes) for size in sizes]
    known = {model for couple in strata for model in couple}
    orders = [one for one in orders if known.issuperset(one.models)]
    if not orders:
        return alike
    shares = allocate_rank_labels(
        wanted,
        list(strata),
        sizes,
        [_SPREAD] * len(strata),
        tied=[one.models for one in orders],
        gaps=[one.gap for one in orders],
    ).tolist()
    if all(shares):
        return [float(share) for share in shares]
    if spare := wanted - sum(shares):
        # the strata that matter have a label on each pair already
        others = sum(size for size, share in zip(sizes, shares, strict=True) if not share)
        return [share or spare * size / others for size, share in zip(sizes, shares, strict=True)]
    mixed = zip(shares, alike, strict=True)
    return [(1 - _FOR_ALL) * share + _FOR_ALL * one for share, one in mixed]


def _whole(expected: Sequence[float], drawn: float) -> list[int]:
    """Round so that each number is right in the mean and their sum is kept (systematic sampling)."""
    ends = [math.floor(round(end, 9) + drawn) for end in accumulate(expected)]
    return [end - start for start, end in pairwise([0, *ends])]


def _couple(key: PairKey) -> Couple:
    one, other = sorted((key.model_a or "", key.model_b or ""))
    return one, other
