"""What each shard of a batch covers, and the order in which a budget admits pairs.

The pairs that are judged before money runs out must be drawn at random: their verdicts are then a
random sample of those that all pairs would get, and the certificate's promise holds for them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from calibration.arrays import BoolArray, IntArray

_ROUNDS = 6


def positions_admitted(seed: int, n: int, first: int, last: int) -> IntArray:
    """Return the positions that are admitted at places `[first, last)`.

    Over all places this is a permutation of 0 .. n-1. It is computed place by place, so that it is
    never in memory as a whole: a Feistel network on the next power of four, walked until a number
    falls below n (Black, Rogaway 2002, "Ciphers with arbitrary finite domains").

    Args:
        seed: Fixes the permutation.
        n: Number of positions.
        first: First place.
        last: One after the last place, at most n.
    """
    half = max(((n - 1).bit_length() + 1) // 2, 1)
    keys = np.random.default_rng(seed).integers(0, 2**63, _ROUNDS, dtype=np.uint64)
    found = _feistel(np.arange(first, last, dtype=np.uint64), half, keys)
    while (outside := found >= n).any():
        found[outside] = _feistel(found[outside], half, keys)
    return found.astype(np.int64)


def _feistel(
    numbers: npt.NDArray[np.uint64], half: int, keys: npt.NDArray[np.uint64]
) -> npt.NDArray[np.uint64]:
    mask = np.uint64((1 << half) - 1)
    width = np.uint64(half)
    left, right = numbers >> width, numbers & mask
    for key in keys:
        left, right = right, left ^ (_mixed(right ^ key) & mask)
    return (left << width) | right


def _mixed(numbers: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Scatter 64-bit numbers (the finaliser of SplitMix64: Steele, Lea, Flood 2014)."""
    scattered = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    scattered = (scattered ^ (scattered >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return scattered ^ (scattered >> np.uint64(31))


class Range(NamedTuple):
    """The positions or places `[first, last)` that a shard covers, and their number of pairs."""

    first: int
    last: int
    pairs: int


def new_shard(batch_seq: int, number: int, covered: Range) -> dict[str, Any]:
    """Return the row of a shard that no worker has claimed yet."""
    return {
        "batch_seq": batch_seq, "number": number, "first": covered.first, "last": covered.last,
        "state": "todo", "worker": None, "leased_until": None, "attempts": 0, "error": None,
        "reserved_usd": 0.0, "counts": {"pairs": covered.pairs}, "so_far": None,
    }  # fmt: skip


def ranges_of(is_chosen: BoolArray, size: int, seed: int | None) -> Iterator[Range]:
    """Yield what the shards of a batch over a dataset cover.

    Args:
        is_chosen: The positions of the dataset that the batch covers, shape (n,).
        size: Chosen pairs in a shard; the last one may have fewer.
        seed: None: ranges of positions that hold `size` chosen pairs each. Else ranges of places in
            the order of admission, which mix chosen and other pairs.
    """
    n = len(is_chosen)
    if seed is not None:
        share = float(is_chosen.mean())
        step = max(int(size / share), 1)
        for first in range(0, n, step):
            last = min(first + step, n)
            pairs = int(is_chosen[positions_admitted(seed, n, first, last)].sum())
            if pairs:
                yield Range(first, last, pairs)
        return
    chosen = np.flatnonzero(is_chosen)
    firsts = [int(position) for position in chosen[::size]]
    lasts = [*firsts[1:], int(chosen[-1]) + 1]
    for number, (first, last) in enumerate(zip(firsts, lasts, strict=True)):
        yield Range(first, last, len(chosen[number * size : (number + 1) * size]))
