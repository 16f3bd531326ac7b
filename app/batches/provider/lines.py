"""Rows of questions that wait for a provider's batch; their shards wait with them.

A shard whose judges may ask later is judged in rounds. In each round, pairs whose answers have come
get their verdicts, and new questions go to the shard's desk. After the last pair one transaction
stores the questions and puts the shard off. The shard is free again when answers have come.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from types import SimpleNamespace
from typing import Any, Final, cast

from sqlalchemy import ColumnElement, Table, delete, exists, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from app.batches.totals import shard_counts
from app.core.bulk import insert_rows
from app.core.db import to_json
from app.core.models import Batch, ProviderLine, Shard
from app.datasets.score_columns import score_from_row, score_values
from app.judgments.authority import Authority
from app.scores.store import Kept
from judges.openai.judge import OpenAIJudge
from judges.openai.later import Found, Question
from judges.types import Score

LINES: Final = cast(Table, ProviderLine.__table__)
#: States of a line to which the provider adds nothing more.
RESOLVED: Final = ("answered", "left_out", "lost")
LOST: Final = (
    "it is not known what became of this question at the provider; it is not sent again, as it may"
    " have been paid for"
)


class ShardDesk:
    """The desk of one shard: its questions with their answers, and the new ones.

    Args:
        found: By the key of the question, in the latest round.
        lines_seen: How many lines are resolved.
    """

    def __init__(self, found: Mapping[str, Found], lines_seen: int) -> None:
        self._found = dict(found)
        # with the body as text, which takes less memory than its parts
        self._new: list[tuple[Question, str]] = []
        self.lines_seen = lines_seen

    @classmethod
    async def open(
        cls, session: AsyncSession, shard: Shard, authority: Authority
    ) -> ShardDesk | None:
        """Return the desk of a shard, None where no judge asks later and no question waits."""
        asks_later = any(
            isinstance(tier.judge, OpenAIJudge) and tier.judge.provider_batches is not None
            for tier in authority.tiers
            if tier.is_asked
        )
        if not asks_later and not await _has_lines(session, shard):
            return None
        query = (
            select(
                LINES.c.question,
                LINES.c.round,
                LINES.c.state,
                LINES.c.flags,
                LINES.c.status,
                LINES.c.answer,
            )
            .where(LINES.c.batch_seq == shard.batch_seq, LINES.c.shard == shard.number)
            .order_by(LINES.c.round)
        )
        found: dict[str, Found] = {}
        seen = 0
        for row in await session.execute(query):
            is_resolved = row.state in RESOLVED
            seen += is_resolved
            found[row.question] = Found(
                state=row.state if is_resolved else "waiting",
                round=row.round,
                flags=tuple(row.flags),
                status=row.status or 0,
                content=row.answer,
                detail=LOST if row.state == "lost" else "",
            )
        return cls(found, seen)

    def find(self, key: str) -> Found | None:
        """Return the state of a question in its latest round, None if it is new."""
        return self._found.get(key)

    def leave(self, question: Question) -> None:
        """Take a question, to be stored with the others."""
        self._found[question.key] = Found("waiting", question.round, question.flags)
        self._new.append((replace(question, body={}), to_json(question.body)))

    async def store(self, session: AsyncSession, shard: Shard, moment: datetime) -> None:
        """Store the new questions, in the transaction that puts the shard off."""
        rows = [_row(shard, question, body, moment) for question, body in self._new]
        await insert_rows(session, LINES, rows)


def _row(shard: Shard, question: Question, body: str, moment: datetime) -> dict[str, Any]:
    return {
        "batch_seq": shard.batch_seq,
        "shard": shard.number,
        "question": question.key,
        "round": question.round,
        "judge": question.judge,
        "file_seq": None,
        "state": "queued",
        "body": body,
        "bytes": len(body),
        "flags": list(question.flags),
        "status": None,
        "answer": None,
        "created_at": moment,
    }


async def _has_lines(session: AsyncSession, shard: Shard) -> bool:
    query = select(LINES.c.question).where(
        LINES.c.batch_seq == shard.batch_seq, LINES.c.shard == shard.number
    )
    return (await session.execute(query.limit(1))).first() is not None


async def forget(session: AsyncSession, shard: Shard) -> None:
    """Delete the lines of a complete shard; its scores hold their answers."""
    await session.execute(
        delete(LINES).where(LINES.c.batch_seq == shard.batch_seq, LINES.c.shard == shard.number)
    )


async def forget_unanswered(session: AsyncSession, batch_seq: int) -> None:
    """Delete the unanswered lines of a batch that is retried: it asks those questions again."""
    await session.execute(
        delete(LINES).where(
            LINES.c.batch_seq == batch_seq,
            LINES.c.state.in_(("left_out", "lost"))
            | ((LINES.c.state == "answered") & (LINES.c.status != 200)),
        )
    )


async def read_again(session: AsyncSession, shard: Shard) -> dict[str, Any]:
    """Return the counts of answers that were of no use, and that a retry would find and read again."""
    query = select(LINES.c.judge).where(
        LINES.c.batch_seq == shard.batch_seq,
        LINES.c.shard == shard.number,
        LINES.c.state == "answered",
        LINES.c.status == 200,
    )
    judges = set(await session.scalars(query.distinct())) if shard.kept else set()
    failed = [kept.score for kept in kept_scores(shard).values()]
    return shard_counts((), [(one.judge, one.cost_usd) for one in failed if one.judge in judges])


def kept_rows(failed: Iterable[tuple[str, Score]]) -> list[dict[str, Any]]:
    """Return failures of judges, by the pair's id, as a shard keeps them."""
    return [{"pair": pair, **score_values(score)} for pair, score in failed]


def kept_scores(shard: Shard) -> dict[tuple[str, str], Kept]:
    """Return the failures of earlier rounds of a shard, which were paid for."""
    return {
        (row["pair"], row["fingerprint"]): Kept(
            score_from_row(cast(Any, SimpleNamespace(**row))), is_own=True
        )
        for row in shard.kept or ()
    }


async def wake(session: AsyncSession) -> int:
    """Free the shards for which answers have come since they were put off; return how many.

    A shard that waits for no line of its own was short of money that other shards of its batch
    hold. It is woken when no other shard waits for answers or is worked on.
    """
    woken = await session.execute(
        update(Shard)
        .where(_is_to_be_woken())
        .values(is_waiting=False)
        .returning(Shard.number)
        .execution_options(synchronize_session=False)
    )
    return len(woken.all())


async def is_any_to_wake(session: AsyncSession) -> bool:
    """Say whether `wake` would free a shard; writes nothing."""
    query = select(Shard.number).where(_is_to_be_woken())
    return (await session.execute(query.limit(1))).first() is not None


def _is_to_be_woken() -> ColumnElement[bool]:
    own = (LINES.c.batch_seq == Shard.batch_seq) & (LINES.c.shard == Shard.number)
    resolved = select(func.count()).where(own, LINES.c.state.in_(RESOLVED)).scalar_subquery()
    is_open = LINES.c.state.not_in(RESOLVED)
    other = aliased(Shard)
    is_quiet = ~exists().where(
        other.batch_seq == Shard.batch_seq, other.state == "todo", other.is_waiting.is_(False)
    ) & ~exists().where(LINES.c.batch_seq == Shard.batch_seq, is_open)
    has_news = resolved > func.coalesce(Shard.lines_seen, 0)
    return (
        (Shard.state == "todo")
        & Shard.is_waiting.is_(True)
        & (has_news | (~exists().where(own, is_open) & is_quiet))
    )


async def ripe(session: AsyncSession, long_ago: datetime, most: int) -> Sequence[tuple[int, str]]:
    """Return the batches and judges whose queued questions are to be sent now.

    They are ripe if no shard of the batch is free or worked on, if they fill a file, or if the oldest
    was asked `long_ago`.
    """
    query = (
        select(LINES.c.batch_seq, LINES.c.judge, func.count(), func.min(LINES.c.created_at))
        .join(Batch, Batch.seq == LINES.c.batch_seq)
        .where(LINES.c.state == "queued", Batch.status == "in_progress")
        .group_by(LINES.c.batch_seq, LINES.c.judge)
    )
    queued = (await session.execute(query)).all()
    busy = set(
        await session.scalars(
            select(Shard.batch_seq)
            .where(Shard.state == "todo", Shard.is_waiting.is_(False))
            .where(Shard.batch_seq.in_({row[0] for row in queued}))
            .distinct()
        )
    )
    return [
        (batch_seq, judge)
        for batch_seq, judge, count, oldest in queued
        if batch_seq not in busy or count >= most or oldest <= long_ago
    ]
