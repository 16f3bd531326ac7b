"""Recomputes verdicts from stored scores and a certificate; calls no judge."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.models import CalibrationRow, Dataset
from app.datasets.records import PairKey
from app.judgments.authority import of_certificate
from app.judgments.promise import AnswerCounts, suspended_because
from app.scores.table import ScoreTable, load_table
from calibration.arrays import BoolArray, FloatArray, IntArray
from calibration.cascade import decide
from calibration.certify import Rule, asked_by
from calibration.labels import MISSING, A
from calibration.preference import Preference, TieRule, preference
from calibration.stack import stacked_preference, weighted_preference
from judges.base import Judge
from judges.cascade import Cascade
from judges.registry import Registry

Rows = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Replay:
    """The cascade's answers to n pairs.

    `answered_by` (n,) is the index of the judge that answered, -1 where the cascade abstained;
    `label` (n,) is its label's code, `MISSING` where it abstained; `p_a`, `p_tie` and
    `confidence` (n,) are those of the tier that answered, NaN elsewhere; `is_missing` (n,) marks pairs that
    no verdict can be given for yet, since a judge that must be asked has no stored score;
    `is_asked` (n, k) says which judges each pair needs;
    `cost_usd` (n,) is what the judges asked cost, NaN where a price is unknown.
    """

    judges: tuple[str, ...]
    answered_by: npt.NDArray[np.intp]
    label: IntArray
    p_a: FloatArray
    p_tie: FloatArray
    confidence: FloatArray
    is_missing: BoolArray
    is_asked: BoolArray
    cost_usd: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Replayed:
    """A certificate's verdicts on n pairs; `table` holds the scores of its judges."""

    certificate: CalibrationRow
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

    With slices, the thresholds of its own slice are in force for each pair.
    """
    authority = await of_certificate(session, registry, calibration)
    assert authority.certificate is not None
    judges = tuple(tier.judge for tier in authority.tiers)
    table = await load_table(session, dataset, keys, judges)
    verdicts = replay_by(authority.cascade_for, keys, table, authority.ties)
    return Replayed(authority.certificate, judges, table, verdicts)


def suspension_of(replayed: Replayed) -> str | None:
    """Return why the promise does not hold for these verdicts; None if it holds.

    Judges must fail, and answer in each manner, as often as in calibration. A score that is not
    stored counts as a missing verdict, not as a failure of the judge.
    """
    calibrated = replayed.certificate.body.get("calibration", {}).get("failures", {})
    seen = AnswerCounts.of([])
    is_seen = replayed.verdicts.is_asked & replayed.table.is_known
    for column, judge in enumerate(replayed.verdicts.judges):
        rows = is_seen[:, column]
        has_failed = rows & replayed.table.has_failed[:, column]
        manners = Counter(replayed.table.manner[rows & ~has_failed, column].tolist())
        seen.add(judge, int(rows.sum()), int(has_failed.sum()), manners)
    return suspended_because(calibrated, seen) if calibrated else None


def replay_by(
    cascade_for: Callable[[Mapping[str, Any]], Cascade],
    keys: Sequence[PairKey],
    table: ScoreTable,
    ties: TieRule,
) -> Replay:
    """Replay pairs by the cascade of each, those with the same cascade at a time.

    Args:
        cascade_for: Returns the cascade of a pair by its metadata.
        keys: The pairs.
        table: Their scores, a column for each judge of the cascades.
        ties: The rule for ties of judges.
    """
    slices: defaultdict[Cascade, list[int]] = defaultdict(list)
    for row, key in enumerate(keys):
        slices[cascade_for(key.metadata)].append(row)
    if not slices:
        slices[cascade_for({})] = []
    parts = []
    for cascade, members in slices.items():
        rows = np.array(members, dtype=np.intp)
        parts.append((rows, replay_table(table.rows(rows), cascade, ties)))
    return _in_order(parts)


def _in_order(parts: Sequence[tuple[Rows, Replay]]) -> Replay:
    order = np.argsort(np.concatenate([rows for rows, _ in parts]), kind="stable")
    joined: dict[str, Any] = {
        f.name: np.concatenate([getattr(part, f.name) for _, part in parts])[order]
        for f in fields(Replay)
        if f.name != "judges"
    }
    return replace(parts[0][1], **joined)


def replay_table(table: ScoreTable, cascade: Cascade, ties: TieRule) -> Replay:
    """Return the verdicts that a cascade gives on a table of scores."""
    thresholds = np.array([tier.threshold for tier in cascade.tiers])
    said = _said(table, cascade, ties)
    answered_by = decide(said.confidence, thresholds)
    rows, judge = np.arange(len(answered_by)), np.maximum(answered_by, 0)
    is_answered = answered_by >= 0
    is_asked = asked_by(answered_by, Rule(cascade.columns, thresholds))
    label, confidence = said.label[rows, judge], said.confidence[rows, judge]
    p_a, p_tie = table.p_a[rows, judge], np.nan_to_num(table.p_tie[rows, judge])
    if cascade.columns != "raw":
        # what all judges say together has no tie
        p_a, p_tie = np.where(label == A, confidence, 1.0 - confidence), np.zeros(len(rows))
    return Replay(
        judges=table.judges,
        answered_by=answered_by,
        label=np.where(is_answered, label, MISSING),
        p_a=np.where(is_answered, p_a, np.nan),
        p_tie=np.where(is_answered, p_tie, np.nan),
        confidence=np.where(is_answered, confidence, np.nan),
        is_missing=np.any(is_asked & ~table.is_known, axis=1),
        is_asked=is_asked,
        cost_usd=np.where(is_asked, table.cost_usd, 0.0).sum(axis=1),
    )


def _said(table: ScoreTable, cascade: Cascade, ties: TieRule) -> Preference:
    """Return what each tier says, shape (n, k)."""
    if cascade.columns == "raw":
        return preference(table.p_a, table.p_tie, ties=ties)
    if cascade.columns == "stacked":
        return stacked_preference(table.p_a, table.p_tie)
    assert cascade.weights is not None
    last = weighted_preference(table.p_a, np.array(cascade.weights), table.p_tie)
    # only the last tier may answer; what the others say is not read
    return Preference(
        *(np.repeat(getattr(last, f.name), len(cascade.tiers), axis=1) for f in fields(last))
    )
