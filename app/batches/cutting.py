"""Cuts a batch into the shards that workers lease, without holding its pairs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from app.batches.admission import positions_admitted
from calibration.arrays import BoolArray


def shards_of(
    batch_seq: int, is_chosen: BoolArray, size: int, seed: int | None
) -> Iterator[dict[str, Any]]:
    """Yield the shards of a batch.

    Args:
        batch_seq: Its number.
        is_chosen: Which positions of the dataset it covers, shape (n,).
        size: Chosen pairs a shard, the last one may have fewer.
        seed: None: shards are ranges of positions that hold `size` chosen pairs each. Else they are
            ranges of places in the order of admission, which mix chosen and other pairs.
    """
    for number, (first, last, pairs) in enumerate(_ranges(is_chosen, size, seed)):
        yield {
            "batch_seq": batch_seq, "number": number, "first": first, "last": last,
            "state": "todo", "worker": None, "leased_until": None, "attempts": 0, "error": None,
            "reserved_usd": 0.0, "counts": {"pairs": pairs},
        }  # fmt: skip


def _ranges(is_chosen: BoolArray, size: int, seed: int | None) -> Iterator[tuple[int, int, int]]:
    n = len(is_chosen)
    if seed is not None:
        share = float(is_chosen.mean())
        step = max(int(size / share), 1)
        for first in range(0, n, step):
            last = min(first + step, n)
            pairs = int(is_chosen[positions_admitted(seed, n, first, last)].sum())
            if pairs:
                yield first, last, pairs
        return
    chosen = np.flatnonzero(is_chosen)
    firsts = [int(position) for position in chosen[::size]]
    lasts = [*firsts[1:], int(chosen[-1]) + 1]
    for number, (first, last) in enumerate(zip(firsts, lasts, strict=True)):
        yield first, last, len(chosen[number * size : (number + 1) * size])
