"""Cuts a batch into the shards that workers lease."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from app.datasets.service import PairKey


def shards_of(batch_seq: int, chosen: Sequence[PairKey], size: int) -> list[dict[str, Any]]:
    """Cut positions into ranges that hold `size` of the chosen pairs each."""
    firsts = [key.position for key in chosen[::size]]
    lasts = [*firsts[1:], chosen[-1].position + 1]
    return [
        {
            "batch_seq": batch_seq, "number": number, "first": first, "last": last,
            "state": "todo", "worker": None, "leased_until": None, "attempts": 0, "error": None,
            "counts": {"pairs": len(chosen[number * size : (number + 1) * size])},
        }
        for number, (first, last) in enumerate(zip(firsts, lasts, strict=True))
    ]  # fmt: skip
