"""Scores of many pairs by many judges: what is stored, and arrays of it.

A live judge's score is found by content and fingerprint; a symmetric judge's also by the mirrored
content. A recorded judge (or a jury of them) answers from the scores that came with the pair.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from glob import escape
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from app import metrics
from app.datasets import service as datasets
from app.datasets.service import PairKey
from app.models import Dataset
from app.models import Score as ScoreRow
from app.scores import score_from_row, score_values
from judges.base import Judge, JudgeSpec
from judges.types import FailureKind, Pair, Score

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
_CHUNK = 500
_ROWS = 20_000


def is_recorded(spec: JudgeSpec) -> bool:
    """Whether a judge answers from the scores that came with a pair."""
    return spec.kind in ("recorded", "jury")


@dataclass(frozen=True, slots=True)
class ScoreKey:
    """Under which key a judge's score of a pair is stored, and whether mirrored."""

    content_hash: str
    is_mirrored: bool


def score_key(spec: JudgeSpec, content_hash: str, swapped_hash: str) -> ScoreKey:
    """Return the key of a pair for a judge; one key serves both orders if it is symmetric."""
    if spec.is_symmetric and swapped_hash < content_hash:
        return ScoreKey(swapped_hash, is_mirrored=True)
    return ScoreKey(content_hash, is_mirrored=False)


def pair_key(spec: JudgeSpec, pair: Pair) -> ScoreKey:
    """Return the key of a pair whose texts are at hand."""
    return score_key(spec, pair.content_hash, pair.swapped().content_hash)


async def stored_scores(
    session: AsyncSession, fingerprint: str, content_hashes: Sequence[str]
) -> dict[str, Score]:
    """Return the successful live scores of one judge, by the content hash they are stored under.

    Failures are not returned: a judge that failed may be asked again.
    """
    found: dict[str, Score] = {}
    for start in range(0, len(content_hashes), _CHUNK):
        query = select(ScoreRow).where(
            ScoreRow.fingerprint == fingerprint,
            ScoreRow.content_hash.in_(content_hashes[start : start + _CHUNK]),
            ScoreRow.failure.is_(None),
        )
        for row in await session.scalars(query):
            found[row.content_hash] = score_from_row(row)
    return found


async def store_scores(
    session: AsyncSession, scores: Sequence[tuple[ScoreKey, Score]], moment: datetime
) -> None:
    """Store fresh scores; a success replaces an earlier failure, nothing replaces a success."""
    rows = {}
    for key, score in scores:
        _count(score)
        kept = score.mirrored() if key.is_mirrored else score
        rows[key.content_hash, kept.fingerprint] = {
            **score_values(kept),
            "content_hash": key.content_hash,
            "created_at": moment,
        }
    if not rows:
        return
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    insert = dialect.insert(ScoreRow)
    columns = [c.name for c in ScoreRow.__table__.columns if not c.primary_key]
    statement = insert.on_conflict_do_update(
        index_elements=["content_hash", "fingerprint"],
        set_={name: insert.excluded[name] for name in columns},
        where=ScoreRow.failure.is_not(None),
    )
    # always in one order: two transactions that store the same scores must not wait for each other
    await session.execute(statement, [rows[key] for key in sorted(rows)])


def _count(score: Score) -> None:
    outcome = score.failure.kind.value if score.failure else "ok"
    metrics.scores_total.labels(judge=score.judge, outcome=outcome).inc()
    usage = score.usage
    for kind, tokens in (
        ("prompt", usage.prompt),
        ("cached", usage.cached),
        ("completion", usage.completion),
    ):
        if tokens:
            metrics.tokens_total.labels(judge=score.judge, kind=kind).inc(tokens)
    if score.cost_usd:
        metrics.cost_usd_total.labels(judge=score.judge).inc(score.cost_usd)


@dataclass(frozen=True, slots=True)
class ScoreTable:
    """Scores of n pairs by k judges as arrays of shape (n, k).

    `p_a` and `p_tie` are NaN where there is no number; `is_known` says that the judge was asked or
    recorded, so `is_known & isnan(p_a)` is a failure. `shown_first` and `shown_second` are the
    mean preference for a by the place it was shown in, NaN where an order is missing. `cost_usd`
    is NaN where unknown. `manner` says how the answer came about, see `judges.types.Score`.
    """

    judges: tuple[str, ...]
    p_a: FloatArray
    p_tie: FloatArray
    is_known: BoolArray
    manner: npt.NDArray[np.object_]
    shown_first: FloatArray
    shown_second: FloatArray
    cost_usd: FloatArray

    def rows(self, index: npt.ArrayLike) -> ScoreTable:
        """Return the scores of some pairs, by a mask or an array of indices."""
        return self._taken(self.judges, np.asarray(index))

    def columns(self, index: Sequence[int]) -> ScoreTable:
        """Return the scores of some judges."""
        taken = list(index)
        return self._taken(tuple(self.judges[column] for column in taken), np.s_[:, taken])

    def _taken(self, judges: tuple[str, ...], index: Any) -> ScoreTable:
        arrays = {f.name: getattr(self, f.name)[index] for f in fields(self) if f.name != "judges"}
        return ScoreTable(judges=judges, **arrays)

    @property
    def has_failed(self) -> BoolArray:
        """Where a judge was asked and gave no number, shape (n, k)."""
        return self.is_known & np.isnan(self.p_a)


async def load_table(
    session: AsyncSession, dataset: Dataset, keys: Sequence[PairKey], judges: Sequence[Judge]
) -> ScoreTable:
    """Return what is stored of these judges on these pairs of one dataset; asks nobody.

    Scores become numbers some pairs at a time, so that a million of them fit.
    """
    names = tuple(judge.spec.name for judge in judges)
    parts = []
    for start in range(0, max(len(keys), 1), _ROWS):
        some = keys[start : start + _ROWS]
        recorded = await _recorded(session, dataset, judges, some)
        columns = [
            await _recorded_column(judge, some, recorded)
            if is_recorded(judge.spec)
            else await _live_column(session, judge.spec, some)
            for judge in judges
        ]
        parts.append(_table(names, columns, len(some)))
    return parts[0] if len(parts) == 1 else _joined(parts)


def _joined(parts: Sequence[ScoreTable]) -> ScoreTable:
    arrays: dict[str, Any] = {
        f.name: np.concatenate([getattr(part, f.name) for part in parts])
        for f in fields(ScoreTable)
        if f.name != "judges"
    }
    return ScoreTable(judges=parts[0].judges, **arrays)


async def _recorded(
    session: AsyncSession, dataset: Dataset, judges: Sequence[Judge], keys: Sequence[PairKey]
) -> Mapping[int, Mapping[str, Score]]:
    patterns = [
        pattern
        for judge in judges
        if is_recorded(judge.spec)
        for pattern in judge.spec.scored_by.get("members", [escape(judge.spec.name)])
    ]
    if not patterns or not keys:
        return {}
    seqs = [key.seq for key in keys]
    return await datasets.recorded_scores(session, dataset, patterns, (min(seqs), max(seqs)))


async def _recorded_column(
    judge: Judge, keys: Sequence[PairKey], recorded: Mapping[int, Mapping[str, Score]]
) -> list[Score | None]:
    """Let the judge itself answer, from pairs that carry nothing but their records."""
    return [
        await judge.score(Pair(key.id, (), ("",), ("",), recorded=recorded.get(key.seq, {})))
        for key in keys
    ]


async def _live_column(
    session: AsyncSession, spec: JudgeSpec, keys: Sequence[PairKey]
) -> list[Score | None]:
    wanted = [
        score_key(spec, key.content_hash, key.swapped_hash)
        if key.content_hash and key.swapped_hash
        else None
        for key in keys
    ]
    found = await stored_scores(
        session, spec.fingerprint, list({key.content_hash for key in wanted if key})
    )
    column: list[Score | None] = []
    for key in wanted:
        score = found.get(key.content_hash) if key else None
        column.append(score.mirrored() if score and key and key.is_mirrored else score)
    return column


def _table(
    judges: tuple[str, ...], columns: Sequence[Sequence[Score | None]], n: int
) -> ScoreTable:
    shape = (n, len(judges))
    numbers = {
        name: np.full(shape, np.nan)
        for name in ("p_a", "p_tie", "shown_first", "shown_second", "cost_usd")
    }
    is_known = np.zeros(shape, dtype=bool)
    manner = np.full(shape, "", dtype=object)
    for j, column in enumerate(columns):
        for i, score in enumerate(column):
            if score is None or _is_absent(score):
                continue
            is_known[i, j] = True
            manner[i, j] = score.manner
            for name, value in _numbers(score).items():
                numbers[name][i, j] = np.nan if value is None else value
    return ScoreTable(judges=judges, is_known=is_known, manner=manner, **numbers)


def _is_absent(score: Score) -> bool:
    """A recorded judge without a record was never asked: that is no failure of the judge."""
    return score.failure is not None and score.failure.kind is FailureKind.NOT_RECORDED


def _numbers(score: Score) -> dict[str, float | None]:
    return {
        "p_a": score.p_a,
        "p_tie": score.p_tie,
        "shown_first": _mean([row[0] for row in score.annotators if row]),
        "shown_second": _mean([row[1] for row in score.annotators if len(row) > 1]),
        "cost_usd": score.cost_usd,
    }


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
