"""The inputs that a report rests on with their hash, and features of texts."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from importlib.metadata import version
from typing import Any, Final

import numpy as np
from sqlalchemy.ext.asyncio import AsyncSession

from app.datasets import service as datasets
from app.reports.correlations import weights_of
from app.reports.gathering import Gathered
from app.reports.panel import Texts
from app.reports.schemas import AgreementIn
from calibration.arrays import FloatArray

PACKAGE: Final = "tribunal-judge"
# counts up when a figure gets another definition: stored reports keep theirs
REVISION: Final = 2


@dataclass(frozen=True, slots=True)
class Inputs:
    """The inputs that a report names, and the hash of them and of the scores."""

    rests_on: dict[str, Any]
    hash: str

    @classmethod
    def of(cls, gathered: Gathered, request: AgreementIn) -> Inputs:
        """Describe what was gathered."""
        rests_on = _rests_on(gathered, request)
        digest = _hash(rests_on, gathered)
        return cls({**rests_on, "inputs_hash": digest}, digest)


def _rests_on(gathered: Gathered, request: AgreementIn) -> dict[str, Any]:
    return {
        "dataset_id": gathered.dataset.id,
        "dataset_content_hash": gathered.dataset.content_hash,
        "label_set_hash": gathered.label_set_hash,
        "calibration": gathered.calibration,
        "fingerprints": gathered.fingerprints,
        "judges": list(gathered.panel.judged.names),
        "own": sorted(set(request.own)),
        "part": request.part,
        "group_by": request.group_by,
        "include": sorted(set(request.include)),
        **({"criteria": weights_of(request.criterion)} if request.criterion else {}),
        "epsilon": request.epsilon,
        "seed": request.seed,
        "confidence_level": request.confidence_level,
        "version": version(PACKAGE),
        "revision": REVISION,
    }


def _hash(rests_on: dict[str, Any], gathered: Gathered) -> str:
    """Hash inputs and scores, of which more may be stored than last time."""
    digest = hashlib.sha256(json.dumps(rests_on, sort_keys=True).encode("ascii"))
    for part in (gathered.panel.judged, gathered.panel.cascade):
        if part is None:
            continue
        for column in fields(part):
            if column.name != "names":
                digest.update(np.ascontiguousarray(getattr(part, column.name)).tobytes())
    for array in gathered.panel.rated.arrays if gathered.panel.rated else ():
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


_WORD = re.compile(r"\w+")
_MARK = re.compile(r"^#{1,6} |^[ \t]*(?:[-*+•]|\d{1,3}[.)]) +\S|\*\*[^*\n]+\*\*|^```", re.MULTILINE)


async def texts_of(session: AsyncSession, seqs: Sequence[int]) -> Texts:
    """Return the counts of these pairs, in their order.

    Args:
        session: A transaction.
        seqs: The `pair_seq` of each pair.
    """
    row = {seq: number for number, seq in enumerate(seqs)}
    counts = np.full((len(seqs), 5), np.nan)
    async for some in datasets.responses(session, seqs):
        measured = await asyncio.to_thread(_measure_all, some)
        counts[[row[seq] for seq in some]] = measured
    longer, marked, ratio, overlap, is_same = counts.T
    return Texts(longer, marked, ratio, overlap, is_same == 1)


def _measure_all(some: Mapping[int, tuple[str, str]]) -> FloatArray:
    return np.array([measure(*pair) for pair in some.values()]).reshape(-1, 5)


def measure(response_a: str, response_b: str) -> tuple[float, float, float, float, bool]:
    """Return the differences of lengths and marks, the ratio of lengths, the overlap, and sameness.

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
        response_a == response_b,
    )
