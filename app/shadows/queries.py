"""Every SQL statement about shadow judges, but for those by which their pairs are drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, exists, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.lists import Paging, fetch_page
from app.core.models import CalibrationRow, Shadow, ShadowVerdict

_CHUNK: Final = 500


async def page(session: AsyncSession, paging: Paging) -> Sequence[Shadow]:
    """Return one shadow more than the page holds."""
    return await fetch_page(session, select(Shadow), Shadow, paging)


async def certificate_of(session: AsyncSession, shadow: Shadow) -> CalibrationRow:
    """Return the certificate whose traffic is drawn from."""
    return await session.get_one(CalibrationRow, shadow.certificate_seq)


async def certificate_by_id(session: AsyncSession, certificate_id: str) -> CalibrationRow:
    """Return a certificate that is known to exist."""
    query = select(CalibrationRow).where(CalibrationRow.id == certificate_id)
    return (await session.scalars(query)).one()


def _waits(moment: datetime) -> ColumnElement[bool]:
    is_free = or_(ShadowVerdict.leased_until.is_(None), ShadowVerdict.leased_until <= moment)
    return and_(ShadowVerdict.content.is_not(None), is_free)


async def with_waiting_pairs(session: AsyncSession, moment: datetime) -> Sequence[Shadow]:
    """Return the shadows with pairs that nobody asks their candidates about now."""
    waits = exists().where(ShadowVerdict.shadow_seq == Shadow.seq, _waits(moment))
    query = select(Shadow).where(Shadow.status == "watching", waits)
    return (await session.scalars(query.order_by(Shadow.seq))).all()


async def waiting(
    session: AsyncSession, shadow: Shadow, moment: datetime, limit: int
) -> Sequence[ShadowVerdict]:
    """Return pairs of a shadow that nobody asks its candidate about now; none once it has ended."""
    query = (
        select(ShadowVerdict)
        .join(Shadow, Shadow.seq == ShadowVerdict.shadow_seq)
        .where(ShadowVerdict.shadow_seq == shadow.seq, _waits(moment), Shadow.status == "watching")
        .order_by(ShadowVerdict.seq)
        .limit(limit)
    )
    return (await session.scalars(query)).all()


async def take(
    session: AsyncSession, seqs: Sequence[int], moment: datetime, until: datetime
) -> set[int]:
    """Keep pairs from other processes for a while; return those that are ours."""
    query = (
        update(ShadowVerdict)
        .where(ShadowVerdict.seq.in_(seqs), _waits(moment))
        .values(leased_until=until)
        .returning(ShadowVerdict.seq)
    )
    return set(await session.scalars(query))


async def judged(session: AsyncSession, seq: int, said: Mapping[str, Any]) -> None:
    """Store what a candidate says of a pair, and forget its texts."""
    query = update(ShadowVerdict).where(ShadowVerdict.seq == seq)
    await session.execute(query.values(said=dict(said), content=None, leased_until=None))


async def spend(session: AsyncSession, shadow: Shadow, usd: float) -> float:
    """Count what a candidate has cost; return how much that is by now."""
    query = (
        update(Shadow)
        .where(Shadow.seq == shadow.seq)
        .values(spent_usd=Shadow.spent_usd + usd)
        .returning(Shadow.spent_usd)
    )
    return float((await session.execute(query)).scalar_one())


async def end(session: AsyncSession, shadow: Shadow, **values: Any) -> None:
    """Stop a shadow; the texts of pairs that wait are forgotten."""
    await session.execute(
        update(Shadow).where(Shadow.seq == shadow.seq, Shadow.status == "watching").values(**values)
    )
    await session.execute(
        update(ShadowVerdict).where(ShadowVerdict.shadow_seq == shadow.seq).values(content=None)
    )


async def counts(session: AsyncSession, shadow: Shadow) -> tuple[int, int]:
    """Return how many pairs were drawn, and how many wait."""
    query = select(func.count(), func.count(ShadowVerdict.content)).where(
        ShadowVerdict.shadow_seq == shadow.seq
    )
    drawn, left = (await session.execute(query)).one()
    return int(drawn), int(left)


async def verdicts_of(session: AsyncSession, shadow: Shadow) -> Sequence[ShadowVerdict]:
    """Return the pairs that a candidate has judged, in the order they were drawn."""
    query = select(ShadowVerdict).where(
        ShadowVerdict.shadow_seq == shadow.seq, ShadowVerdict.said.is_not(None)
    )
    return (await session.scalars(query.order_by(ShadowVerdict.seq))).all()
