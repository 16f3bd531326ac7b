"""Every SQL statement about verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, cast

from sqlalchemy import Table, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.bulk import insert_rows
from app.models import UNFINISHED_BATCH, Batch, Certificate, Verdict

_WINDOW: Final = 200
_VERDICTS: Final = cast(Table, Verdict.__table__)


async def add(session: AsyncSession, rows: Sequence[dict[str, Any]]) -> None:
    """Store verdicts."""
    await insert_rows(session, _VERDICTS, rows)


async def recent_tiers(
    session: AsyncSession, certificate_seq: int
) -> dict[str, list[dict[str, Any]]]:
    """Return the tiers of the last verdicts under a certificate, by content, the newest of each."""
    query = (
        select(Verdict.content_hash, Verdict.body)
        .where(Verdict.certificate_seq == certificate_seq)
        .order_by(Verdict.seq.desc())
        .limit(_WINDOW)
    )
    newest: dict[str, list[dict[str, Any]]] = {}
    for content_hash, body in await session.execute(query):
        newest.setdefault(content_hash, body["tiers"])
    return newest


async def page(
    session: AsyncSession, limit: int, after: int | None, **where: Any
) -> Sequence[Verdict]:
    """Return one verdict more than the page holds, in order of creation."""
    query = select(Verdict).order_by(Verdict.seq).limit(limit + 1)
    for column, value in where.items():
        if value is not None:
            query = query.where(getattr(Verdict, column) == value)
    if after is not None:
        query = query.where(Verdict.seq > after)
    return (await session.scalars(query)).all()


async def without_promise(session: AsyncSession, rows: Sequence[Verdict]) -> dict[int, str]:
    """Return what verdicts promise now whose promise has not come yet, or is gone.

    Keyed by the verdict's number: "suspended" while its batch still runs, because the promise is on
    the whole run; "none" where the certificate was revoked since.
    """
    query = (
        select(Verdict.seq, Certificate.revoked_at)
        .join(Certificate, Certificate.seq == Verdict.certificate_seq)
        .outerjoin(Batch, Batch.seq == Verdict.batch_seq)
        .where(
            Verdict.seq.in_([row.seq for row in rows]),
            Verdict.promise == "certified",
            or_(Certificate.revoked_at.is_not(None), Batch.status.in_(UNFINISHED_BATCH)),
        )
    )
    return {
        seq: "suspended" if revoked_at is None else "none"
        for seq, revoked_at in await session.execute(query)
    }
