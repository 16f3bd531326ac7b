"""Stores the scores that live judges gave, and finds them again; the SQL of scores is here.

The key of a score is its pair's content and its judge's fingerprint. Both orders of a pair have one
key where the judge is symmetric. Recorded judges have no scores here: theirs come with the pair.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from operator import attrgetter
from typing import Any, Final, NamedTuple, cast

from sqlalchemy import Row, Table, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import telemetry
from app.core.bulk import is_one_of, merge_rows
from app.core.db import Database
from app.core.models import Score as ScoreRow
from app.core.runtime import Runtime
from app.datasets.score_columns import score_from_row, score_values
from judges.base import JudgeSpec
from judges.types import Pair, Score, TokenUsage

_CHUNK: Final = 5_000
_FEW: Final = 32
_TOKENS: Final = ("prompt", "cached", "completion")
_SCORES: Final = cast(Table, ScoreRow.__table__)


def replacing_failures(table: Table) -> str:
    """Return the conflict clause by which a row replaces an earlier failure of its key, only that.

    Costs add up: a pair whose first attempt failed has cost both attempts. Those of one shard do not,
    because its batch has counted the failure, or has a note that its cost is unknown.
    """
    of_one_shard = " AND ".join(f"{table.name}.{x} = excluded.{x}" for x in ("batch_seq", "shard"))
    earlier = f"CASE WHEN {of_one_shard} THEN 0 ELSE coalesce({table.name}.cost_usd, 0) END"
    values = ", ".join(
        f"cost_usd = excluded.cost_usd + {earlier}"
        if column.name == "cost_usd"
        else f"{column.name} = excluded.{column.name}"
        for column in table.columns
        if not column.primary_key
    )
    return (
        f"(content_hash, fingerprint) DO UPDATE SET {values} WHERE {table.name}.failure IS NOT NULL"
    )


_ON_CONFLICT: Final = replacing_failures(_SCORES)


def is_recorded(spec: JudgeSpec) -> bool:
    """Return whether a judge answers from the scores that came with a pair."""
    return spec.kind in ("recorded", "jury")


class ScoreKey(NamedTuple):
    """The key of a judge's score of a pair, and whether the score is stored mirrored."""

    content_hash: str
    is_mirrored: bool


def score_key(spec: JudgeSpec, content_hash: str, swapped_hash: str) -> ScoreKey:
    """Return the key of a pair for a judge; one key serves both orders if it is symmetric."""
    if spec.is_symmetric and swapped_hash < content_hash:
        return ScoreKey(swapped_hash, is_mirrored=True)
    return ScoreKey(content_hash, is_mirrored=False)


def pair_key(spec: JudgeSpec, pair: Pair) -> ScoreKey:
    """Return the key of a pair from its texts."""
    return score_key(spec, pair.content_hash, pair.swapped().content_hash)


@dataclass(frozen=True, slots=True)
class Payer:
    """The shard of a batch that a score was obtained for.

    `since` is when the batch was retried: what was obtained before counts with what it cost then.
    """

    batch_seq: int
    shard: int
    since: datetime | None = field(default=None, compare=False)

    def has_counted(self, moment: datetime | None) -> bool:
        """Return whether what was stored at a moment counts already."""
        return self.since is not None and moment is not None and moment < self.since


@dataclass(frozen=True, slots=True)
class StoredScore:
    """A stored score, the shard it was obtained for, if any, and when it was stored."""

    score: Score
    payer: Payer | None
    stored_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """A score of a pair that is not in the database but in a file.

    `is_own`: an earlier attempt at the same work has paid for it. `is_counted`: before that work was
    taken up again, so that its cost counts already.
    """

    score: Score
    is_own: bool
    is_counted: bool = False


# by the pair's id and the judge's fingerprint
KeptScores = Mapping[tuple[str, str], Kept]


async def stored_scores(
    session: AsyncSession,
    fingerprint: str,
    content_hashes: Sequence[str],
    *,
    with_failures: bool = False,
) -> dict[str, StoredScore]:
    """Return the live scores of one judge, by the content hash they are stored under.

    Failures are left out by default: a judge that failed may be asked again.
    """
    found: dict[str, StoredScore] = {}
    for start in range(0, len(content_hashes), _CHUNK):
        query = select(_SCORES).where(
            _SCORES.c.fingerprint == fingerprint,
            is_one_of(session, _SCORES.c.content_hash, content_hashes[start : start + _CHUNK]),
        )
        if not with_failures:
            query = query.where(_SCORES.c.failure.is_(None))
        for row in await session.execute(query):
            found[row.content_hash] = _stored(row)
    return found


class Answered(NamedTuple):
    """What earlier answers of a judge took; `is_same`: under the prompt and settings of today."""

    usages: Sequence[TokenUsage]
    is_same: bool


async def answered_by(session: AsyncSession, spec: JudgeSpec, most: int) -> Answered:
    """Return what stored scores of a judge took, on any pairs; of its other settings at last."""
    found: list[TokenUsage] = []
    for is_same in (True, False):
        own = _SCORES.c.fingerprint == spec.fingerprint if is_same else _SCORES.c.judge == spec.name
        query = select(_SCORES.c.usage).where(own, _SCORES.c.failure.is_(None)).limit(most)
        usages = [TokenUsage(**usage) for usage in (await session.scalars(query)).all()]
        found = [usage for usage in usages if usage.calls and usage.completion]
        if found:
            return Answered(found, is_same)
    return Answered(found, is_same=False)


async def scores_at_hand(
    running: Runtime, fingerprint: str, content_hashes: Collection[str]
) -> dict[str, StoredScore]:
    """Return what `stored_scores` does; look-ups of few pairs are coalesced into one query."""
    look = partial(_look, running.db, fingerprint)
    if len(content_hashes) > _FEW:
        return (await look([content_hashes]))[0]
    return await running.coalescer.call(("scores", fingerprint), content_hashes, look)


async def _look(
    db: Database, fingerprint: str, wanted: Sequence[Collection[str]]
) -> list[dict[str, StoredScore]]:
    async with db.read() as session:
        found = await stored_scores(session, fingerprint, list({h for one in wanted for h in one}))
    return [{one: found[one] for one in hashes if one in found} for hashes in wanted]


def _stored(row: Row[Any]) -> StoredScore:
    payer = None if row.batch_seq is None else Payer(row.batch_seq, row.shard)
    return StoredScore(score_from_row(row), payer, row.created_at)


async def store_scores(
    session: AsyncSession,
    scores: Sequence[tuple[ScoreKey, Score]],
    moment: datetime,
    payer: Payer | None = None,
) -> None:
    """Store fresh scores; a success replaces an earlier failure, nothing replaces a success.

    Args:
        session: The caller's transaction.
        scores: With their keys; of two with the same key the later counts.
        moment: When they were obtained.
        payer: The shard they were obtained for; a later attempt at that shard counts them as its own.
    """
    rows = {}
    batch_seq, shard = (payer.batch_seq, payer.shard) if payer else (None, None)
    for key, score in scores:
        rows[key.content_hash, score.fingerprint] = {
            "content_hash": key.content_hash,
            **score_values(score, is_mirrored=key.is_mirrored),
            "batch_seq": batch_seq,
            "shard": shard,
            "created_at": moment,
        }
    # in a fixed order, so that two transactions with the same scores cannot deadlock
    await merge_rows(session, _SCORES, [rows[key] for key in sorted(rows)], _ON_CONFLICT)
    _count([score for _, score in scores])


def _count(scores: Sequence[Score]) -> None:
    by_judge: defaultdict[str, list[Score]] = defaultdict(list)
    for score in scores:
        by_judge[score.judge].append(score)
    for judge, some in by_judge.items():
        outcomes = Counter([one.failure.kind.value if one.failure else "ok" for one in some])
        for outcome, count in outcomes.items():
            telemetry.scores_total.labels(judge=judge, outcome=outcome).inc(count)
        for kind in _TOKENS:
            if tokens := sum(map(attrgetter(f"usage.{kind}"), some)):
                telemetry.tokens_total.labels(judge=judge, kind=kind).inc(tokens)
        if usd := sum([one.cost_usd or 0.0 for one in some]):
            telemetry.cost_usd_total.labels(judge=judge).inc(usd)
