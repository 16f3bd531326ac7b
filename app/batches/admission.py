"""The order in which the pairs of a batch with a budget are admitted: random, by a seed.

Which pairs are judged when money runs out must depend on nothing but chance: the verdicts are then
a random sample of those that all pairs would get, and the certificate's promise holds for them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from calibration.arrays import IntArray

_ROUNDS = 6


def positions_admitted(seed: int, n: int, first: int, last: int) -> IntArray:
    """Return the positions that are admitted at places `[first, last)`.

    Over all places this is a permutation of 0 .. n-1. It is computed place by place, so that no
    machine need hold all of it: a Feistel network on the next power of four, walked until a number
    falls below n (Black, Rogaway 2002, "Ciphers with arbitrary finite domains").

    Args:
        seed: Fixes the permutation.
        n: Number of positions.
        first: First place.
        last: One behind the last place, at most n.
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
