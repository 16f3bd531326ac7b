"""Every SQL statement about reports."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

from sqlalchemy import Row, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from app.models import Batch, Report, Verdict
from app.pagination import fetch_page

UNFINISHED = ("pending", "running")
_CHUNK = 1_000


async def by_inputs(session: AsyncSession, inputs_hash: str) -> Report | None:
    """Return the report that was made from these inputs."""
    return await session.scalar(select(Report).where(Report.inputs_hash == inputs_hash))


async def page(session: AsyncSession, limit: int, after: str | None) -> Sequence[Report]:
    """Return one report more than the page holds."""
    return await fetch_page(session, select(Report), Report, limit, after)


async def completed(session: AsyncSession, dataset_seq: int) -> AsyncIterator[Report]:
    """Yield the completed reports on a dataset in order of creation, one in memory at a time."""
    query = (
        select(Report.seq)
        .where(Report.dataset_seq == dataset_seq, Report.status == "completed")
        .order_by(Report.seq)
    )
    for seq in (await session.scalars(query)).all():
        report = await session.get(Report, seq)
        if report is not None:
            yield report
            session.expunge(report)


async def batch_of(session: AsyncSession, batch_seq: int) -> Batch | None:
    """Return a batch."""
    return await session.get(Batch, batch_seq)


async def verdicts(session: AsyncSession, batch_seq: int) -> AsyncIterator[Sequence[Row[Any]]]:
    """Yield a batch's verdicts in the order of the dataset, some at a time."""
    last = -1
    while True:
        query = (
            select(Verdict.pair_seq, Verdict.position, Verdict.status, Verdict.body)
            .where(Verdict.batch_seq == batch_seq, Verdict.position > last)
            .order_by(Verdict.position)
            .limit(_CHUNK)
        )
        rows = (await session.execute(query)).all()
        if rows:
            yield rows
        if len(rows) < _CHUNK:
            return
        last = rows[-1].position or 0


async def unfinished(session: AsyncSession) -> Sequence[Report]:
    """Return the reports that a stop interrupted."""
    query = (
        select(Report)
        .where(Report.status.in_(UNFINISHED), Report.kind == "agreement")
        .order_by(Report.seq)
    )
    return (await session.scalars(query)).all()


async def add(session: AsyncSession, values: dict[str, Any]) -> bool:
    """Store a report; False where another one of the same inputs is stored."""
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    statement = (
        dialect.insert(Report)
        .values(values)
        .on_conflict_do_nothing(index_elements=["inputs_hash"])
        .returning(Report.seq)
    )
    return (await session.execute(statement)).first() is not None


async def retry(session: AsyncSession, inputs_hash: str) -> bool:
    """Make a report that failed pending again; False where none failed."""
    statement = (
        update(Report)
        .where(Report.inputs_hash == inputs_hash, Report.status == "failed")
        .values(status="pending", error=None)
        .returning(Report.seq)
    )
    return (await session.execute(statement)).first() is not None


async def complete(
    session: AsyncSession, report: Report, inputs_hash: str, body: dict[str, Any]
) -> None:
    """Store what a report says.

    Labels or scores may have changed since it was asked for. Where a report of these very inputs
    is stored already, this one says the same under a hash of its own.
    """
    other = await by_inputs(session, inputs_hash)
    if other is not None and other.seq != report.seq:
        inputs_hash = hashlib.sha256(report.id.encode("ascii")).hexdigest()
    await session.execute(
        update(Report)
        .where(Report.seq == report.seq, Report.status.in_(UNFINISHED))
        .values(status="completed", inputs_hash=inputs_hash, body=body)
    )


async def fail(session: AsyncSession, report: Report, why: str) -> None:
    """Store why a report could not be made."""
    await session.execute(
        update(Report)
        .where(Report.seq == report.seq, Report.status.in_(UNFINISHED))
        .values(status="failed", error=why)
    )
