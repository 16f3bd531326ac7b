"""What is counted of the two responses of each pair; their texts are read and let go again."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from sqlalchemy.ext.asyncio import AsyncSession

from app.datasets import service as datasets
from app.reports.panel import Texts
from calibration.arrays import FloatArray

_WORD = re.compile(r"\w+")
_MARK = re.compile(r"^#{1,6} |^[ \t]*(?:[-*+•]|\d{1,3}[.)]) +\S|\*\*[^*\n]+\*\*|^```", re.MULTILINE)


async def texts_of(session: AsyncSession, seqs: Sequence[int]) -> Texts:
    """Return the counts of these pairs, in their order.

    Args:
        session: A transaction.
        seqs: The `pair_seq` of each pair.
    """
    row = {seq: number for number, seq in enumerate(seqs)}
    counts = np.full((len(seqs), 4), np.nan)
    async for some in datasets.responses(session, seqs):
        measured = await asyncio.to_thread(_measure_all, some)
        counts[[row[seq] for seq in some]] = measured
    return Texts(*counts.T)


def _measure_all(some: Mapping[int, tuple[str, str]]) -> FloatArray:
    return np.array([measure(*pair) for pair in some.values()]).reshape(-1, 4)


def measure(response_a: str, response_b: str) -> tuple[float, float, float, float]:
    """Return the difference of lengths and of marks, the ratio of lengths, the overlap.

    The overlap is the F1 of the two bags of words, 2 |a and b| / (|a| + |b|): ROUGE-1 (Lin 2004).
    Two empty responses are alike: both ratios are 1.
    """
    lengths = len(response_a), len(response_b)
    marks = [len(_MARK.findall(text)) for text in (response_a, response_b)]
    bags = [Counter(_WORD.findall(text.lower())) for text in (response_a, response_b)]
    words = sum(bag.total() for bag in bags)
    common = (bags[0] & bags[1]).total()
    return (
        float(lengths[0] - lengths[1]),
        float(marks[0] - marks[1]),
        min(lengths) / max(lengths) if max(lengths) else 1.0,
        2 * common / words if words else 1.0,
    )
