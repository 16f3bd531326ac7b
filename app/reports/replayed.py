"""The verdicts of a certificate on stored scores, with the scores that they come from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy.ext.asyncio import AsyncSession

from app.datasets.service import PairKey
from app.judgments.authority import Authority, authority_of
from app.judgments.replay import Replay, replay_table
from app.models import Certificate, Dataset
from app.scoring import ScoreTable, load_table
from judges.base import Judge
from judges.registry import Registry

Rows = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True, eq=False)
class Replayed:
    """A certificate's verdicts on n pairs; `table` holds the scores of its judges."""

    certificate: Certificate
    judges: tuple[Judge, ...]
    table: ScoreTable
    verdicts: Replay


async def replay_certificate(
    session: AsyncSession,
    registry: Registry,
    calibration: str,
    dataset: Dataset,
    keys: Sequence[PairKey],
) -> Replayed:
    """Return the verdicts that a certificate gives on these pairs; asks no judge.

    With slices every pair is held against the thresholds of its own slice.

    Raises:
        NotFound: no certificate has this id.
        Conflict: the certificate is unfinished, revoked, or made with other judges.
    """
    authority = await authority_of(session, registry, calibration, ())
    assert authority.certificate is not None
    judges = tuple(tier.judge for tier in authority.tiers)
    table = await load_table(session, dataset, keys, judges)
    verdicts = _verdicts(authority, keys, table)
    return Replayed(authority.certificate, judges, table, verdicts)


def rows_of(table: ScoreTable, rows: npt.ArrayLike) -> ScoreTable:
    """Return the scores of some pairs (a mask or an index array)."""
    taken = np.asarray(rows)
    arrays = {f.name: getattr(table, f.name) for f in fields(table) if f.name != "judges"}
    return replace(table, **{name: array[taken] for name, array in arrays.items()})


def judges_of(table: ScoreTable, columns: Sequence[int]) -> ScoreTable:
    """Return the scores of some judges."""
    taken = list(columns)
    arrays = {f.name: getattr(table, f.name) for f in fields(table) if f.name != "judges"}
    names = tuple(table.judges[column] for column in taken)
    return replace(table, judges=names, **{name: array[:, taken] for name, array in arrays.items()})


def _verdicts(authority: Authority, keys: Sequence[PairKey], table: ScoreTable) -> Replay:
    """Replay the pairs of one slice at a time: those with the same thresholds."""
    slices: defaultdict[tuple[float, ...], list[int]] = defaultdict(list)
    for row, key in enumerate(keys):
        slices[tuple(t.threshold for t in authority.tiers_for(key.metadata))].append(row)
    if not slices:
        slices[tuple(t.threshold for t in authority.tiers)] = []
    parts = []
    for thresholds, members in slices.items():
        rows = np.array(members, dtype=np.intp)
        limits = np.array(thresholds)
        parts.append((rows, replay_table(rows_of(table, rows), limits, authority.ties)))
    return _in_order(parts)


def _in_order(parts: Sequence[tuple[Rows, Replay]]) -> Replay:
    order = np.argsort(np.concatenate([rows for rows, _ in parts]), kind="stable")
    joined: dict[str, Any] = {
        f.name: np.concatenate([getattr(part, f.name) for _, part in parts])[order]
        for f in fields(Replay)
        if f.name != "judges"
    }
    return replace(parts[0][1], **joined)
