"""Features of other traffic, for promises about it, known without labels.

Frequencies are compared by what judges say, by the lengths of the responses, and by the metadata
fields that the request names. None of these is a label; traffic and labelled pairs must have them all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy.ext.asyncio import AsyncSession

from app.calibrations.inputs import Prepared
from app.calibrations.schemas import CalibrationIn
from app.core.errors import Unprocessable
from app.core.models import Dataset
from app.core.runtime import Runtime
from app.datasets import service as datasets
from app.datasets.records import PairKey
from app.datasets.slices import slice_of
from app.datasets.splits import group_number
from app.scores.store import is_recorded
from app.scores.table import ScoreTable, fetch_missing, load_table
from calibration.arrays import FloatArray
from calibration.preference import sides

# more pairs than the first number make no ratio more precise; fewer than the second give none
_AT_MOST, _AT_LEAST = 5_000, 30
_MOST_VALUES = 20


@dataclass(frozen=True, slots=True, eq=False)
class Traffic:
    """What a weighted certification reads beside the labelled pairs.

    Attributes:
        p_a: Shape (m, k), what the judges say of the traffic; None where the ratio is known.
        traffic_features: Shape (m, f).
        features: Shape (n, f), the same of the labelled pairs.
        density_ratio: Shape (n,), a known ratio.
    """

    p_a: FloatArray | None = None
    traffic_features: FloatArray | None = None
    features: FloatArray | None = None
    density_ratio: FloatArray | None = None


async def traffic_of(
    running: Runtime, request: CalibrationIn, prepared: Prepared, keys: Sequence[PairKey]
) -> Traffic | None:
    """Return what a request for other traffic needs; None where it is on the labelled pairs' own.

    Args:
        running: The process.
        request: What is to be certified.
        prepared: Its labelled pairs and judges.
        keys: The labelled pairs that count, in the order of the evidence.

    Raises:
        Unprocessable: there is no traffic, it has too few scores, or a field is missing on some pair.
    """
    if request.method != "weighted":
        return None
    if request.traffic is None:
        return Traffic(density_ratio=_known_ratio(keys))
    async with running.db.read() as session:
        dataset = await datasets.find_dataset(session, request.traffic)
        pairs = [key for key in await datasets.pair_keys(session, dataset) if key.content_hash]
    pairs.sort(key=lambda key: group_number(0, f"{key.group}\n{key.id}"))
    ready, table = await _scored(running, prepared, dataset, pairs[:_AT_MOST])
    async with running.db.read() as session:
        theirs = await _lengths(session, dataset, ready)
        ours = await _lengths(session, prepared.dataset, keys)
    for field in request.traffic_features or ():
        columns = _field(field, keys, ready)
        ours, theirs = np.hstack([ours, columns[0]]), np.hstack([theirs, columns[1]])
    return Traffic(sides(table.p_a, table.p_tie)[0], theirs, ours)


def _known_ratio(keys: Sequence[PairKey]) -> FloatArray:
    given = [key.metadata.get("density_ratio") for key in keys]
    if any(isinstance(r, bool) or not isinstance(r, int | float) or r < 0 for r in given):
        raise Unprocessable.field(
            ["traffic"],
            "method weighted needs the traffic's dataset here, or metadata.density_ratio on every "
            "labelled pair: how many times as frequent it is in the traffic",
        )
    return np.array(given, dtype=np.float64)


async def _scored(
    running: Runtime, prepared: Prepared, dataset: Dataset, pairs: Sequence[PairKey]
) -> tuple[list[PairKey], ScoreTable]:
    """Return the pairs that every judge has answered or failed on, and their scores.

    Only judges that answer at once and cost nothing are asked.
    """
    local = [j for j in prepared.judges if j.spec.is_local and not is_recorded(j.spec)]
    others = [judge for judge in prepared.judges if judge not in local]
    async with running.db.read() as session:
        known = await load_table(session, dataset, pairs, others)
    ready = [key for key, row in zip(pairs, known.is_known, strict=True) if row.all()]
    if len(ready) < _AT_LEAST:
        raise Unprocessable.field(
            ["traffic"],
            f"{len(ready)} of the {len(pairs)} pairs looked at have stored scores of every judge, and "
            f"{_AT_LEAST} are needed: let each judge answer them first",
        )
    for judge in local:
        await fetch_missing(running, judge, dataset, ready)
    async with running.db.read() as session:
        return ready, await load_table(session, dataset, ready, prepared.judges)


async def _lengths(session: AsyncSession, dataset: Dataset, keys: Sequence[PairKey]) -> FloatArray:
    """Return the logarithm of the characters of both responses, and how far the two differ, (n, 2)."""
    row_of = {key.seq: row for row, key in enumerate(keys)}
    found = np.zeros((len(keys), 2))
    async for seq, responses in datasets.response_sides(session, dataset):
        row = row_of.get(seq)
        if row is not None:
            first, second = (np.log1p(sum(map(len, turns))) for turns in responses)
            found[row] = np.logaddexp(first, second), abs(first - second)
    return found


def _field(
    field: str, keys: Sequence[PairKey], traffic: Sequence[PairKey]
) -> tuple[FloatArray, FloatArray]:
    """Return a metadata field of both sets: numbers as they are, values as columns of 0 and 1."""
    values = [slice_of(key.metadata, field) for key in (*keys, *traffic)]
    missing = sum(not value for value in values)
    if missing:
        raise Unprocessable.field(
            ["traffic_features"],
            f"{field} is missing on {missing} of the labelled pairs and those of the traffic",
        )
    columns = _numbers(values)
    if columns is None:
        names = sorted(set(values))
        if len(names) > _MOST_VALUES:
            raise Unprocessable.field(
                ["traffic_features"],
                f"{field} has {len(names)} values: numbers, or at most {_MOST_VALUES} values, "
                "can be compared",
            )
        columns = np.array([[value == name for name in names[1:]] for value in values], float)
    return columns[: len(keys)], columns[len(keys) :]


def _numbers(values: Sequence[str]) -> FloatArray | None:
    try:
        numbers = np.array([[float(value)] for value in values])
    except ValueError:
        return None
    return numbers if np.isfinite(numbers).all() else None
