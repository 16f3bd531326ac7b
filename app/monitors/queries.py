"""Every SQL statement about monitors, audits and deliveries, and about drawing for shadows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Row, case, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.lists import Paging, fetch_page
from app.core.models import (
    Audit,
    CalibrationRow,
    CertificatePair,
    Dataset,
    Delivery,
    Monitor,
    PairRow,
    Queue,
    QueueItem,
    QueueVote,
    Shadow,
    ShadowVerdict,
    Verdict,
)
from app.core.names import is_name

_CHUNK: Final = 500
WATCHING: Final = ("watching", "alarm")


async def page(session: AsyncSession, paging: Paging) -> Sequence[Monitor]:
    """Return one monitor more than the page holds."""
    return await fetch_page(session, select(Monitor), Monitor, paging)


async def watching(session: AsyncSession, certificate_seq: int) -> Sequence[Monitor]:
    """Return the monitors of a certificate that have not ended."""
    query = select(Monitor).where(
        Monitor.certificate_seq == certificate_seq, Monitor.status.in_(WATCHING)
    )
    return (await session.scalars(query.order_by(Monitor.seq))).all()


async def all_open(session: AsyncSession) -> Sequence[Monitor]:
    """Return every monitor that has not ended."""
    query = select(Monitor).where(Monitor.status.in_(WATCHING)).order_by(Monitor.seq)
    return (await session.scalars(query)).all()


async def of_queue(session: AsyncSession, queue: str) -> Sequence[str]:
    """Return the ids of the monitors whose audits are in a queue, by its id or name."""
    if not is_name(queue):
        return ()
    query = select(Monitor.id).join(Queue, Queue.seq == Monitor.queue_seq)
    return (await session.scalars(query.where(or_(Queue.id == queue, Queue.name == queue)))).all()


async def parts(session: AsyncSession, monitor: Monitor) -> tuple[CalibrationRow, Queue]:
    """Return the certificate and the queue of a monitor."""
    query = (
        select(CalibrationRow, Queue)
        .join(Monitor, Monitor.certificate_seq == CalibrationRow.seq)
        .join(Queue, Queue.seq == Monitor.queue_seq)
        .where(Monitor.seq == monitor.seq)
    )
    certificate, queue = (await session.execute(query)).one()
    return certificate, queue


async def lock(session: AsyncSession, monitor_seq: int) -> Monitor | None:
    """Return a monitor as it is stored, and keep others from changing it."""
    query = select(Monitor).where(Monitor.seq == monitor_seq).with_for_update(key_share=True)
    return await session.scalar(query.execution_options(populate_existing=True))


async def change(session: AsyncSession, monitor: Monitor, **values: Any) -> None:
    """Change columns of a monitor."""
    await session.execute(update(Monitor).where(Monitor.seq == monitor.seq).values(**values))


async def suspend(session: AsyncSession, certificate_seq: int, why: str) -> None:
    """Suspend a certificate's promise for all verdicts to come."""
    query = update(CalibrationRow).where(CalibrationRow.seq == certificate_seq)
    await session.execute(query.values(suspended_because=why))


async def revoke(session: AsyncSession, certificate_seq: int, moment: datetime, why: str) -> None:
    """Revoke a certificate, unless it is; what suspends it says why."""
    query = update(CalibrationRow).where(
        CalibrationRow.seq == certificate_seq, CalibrationRow.revoked_at.is_(None)
    )
    await session.execute(query.values(revoked_at=moment, suspended_because=why))


async def metadata_of(
    session: AsyncSession, certificate: CalibrationRow
) -> Sequence[Mapping[str, Any]]:
    """Return the metadata of the pairs that a certificate was made from."""
    query = (
        select(PairRow.details)
        .join(CertificatePair, CertificatePair.pair_seq == PairRow.seq)
        .where(CertificatePair.certificate_seq == certificate.seq)
    )
    return (await session.scalars(query)).all()


async def known_units(session: AsyncSession, monitor: Monitor, units: Sequence[str]) -> set[str]:
    """Return which of these units have an audit already."""
    found: set[str] = set()
    for start in range(0, len(units), _CHUNK):
        query = select(Audit.unit).where(
            Audit.monitor_seq == monitor.seq, Audit.unit.in_(units[start : start + _CHUNK])
        )
        found |= set(await session.scalars(query))
    return found


async def live_verdicts(
    session: AsyncSession, certificate_seq: int, hashes: Sequence[str]
) -> dict[tuple[str, str], int]:
    """Return the newest verdict of each content and id that is of no batch."""
    query = (
        select(Verdict.content_hash, Verdict.pair_id, func.max(Verdict.seq))
        .where(
            Verdict.certificate_seq == certificate_seq,
            Verdict.batch_seq.is_(None),
            Verdict.content_hash.in_(hashes),
        )
        .group_by(Verdict.content_hash, Verdict.pair_id)
    )
    return {(row[0], row[1]): int(row[2]) for row in await session.execute(query)}


async def batch_verdicts(
    session: AsyncSession, batch_seq: int, positions: Sequence[int]
) -> dict[int, int]:
    """Return the verdicts at these positions of a batch."""
    found: dict[int, int] = {}
    for start in range(0, len(positions), _CHUNK):
        query = select(Verdict.position, Verdict.seq).where(
            Verdict.batch_seq == batch_seq,
            Verdict.position.in_(positions[start : start + _CHUNK]),
        )
        found |= {row[0]: row[1] for row in await session.execute(query) if row[0] is not None}
    return found


async def add_audits(session: AsyncSession, rows: Sequence[Mapping[str, Any]]) -> None:
    """Store audits, of which there is one at least."""
    await session.execute(insert(Audit), list(rows))


async def answered(
    session: AsyncSession, monitor: Monitor
) -> Sequence[Row[int, str, str, str | None, str | None, int]]:
    """Return the audits whose votes are all there and not observed yet, in the order of drawing."""
    query = (
        select(
            Audit.seq, Audit.item, Audit.status, Audit.said, Audit.slice, QueueItem.seq.label("of")
        )
        .join(QueueItem, QueueItem.id == Audit.item)
        .where(
            Audit.monitor_seq == monitor.seq,
            Audit.is_observed.is_(False),
            QueueItem.is_open.is_(False),
        )
        .order_by(Audit.seq)
    )
    return (await session.execute(query)).all()


async def numbers_of(
    session: AsyncSession, monitor: Monitor, audits: Sequence[int]
) -> dict[int, tuple[int, int]]:
    """Return for audits of accepted verdicts their number in the order of drawing, from 1 on.

    The first counts all of the monitor, the second those of the same slice.
    """
    numbered = (
        select(
            Audit.seq,
            func.row_number().over(order_by=Audit.seq).label("number"),
            func.row_number().over(partition_by=Audit.slice, order_by=Audit.seq).label("of_slice"),
        )
        .where(Audit.monitor_seq == monitor.seq, Audit.status == "accepted")
        .subquery()
    )
    found: dict[int, tuple[int, int]] = {}
    for start in range(0, len(audits), _CHUNK):
        query = select(numbered).where(numbered.c.seq.in_(audits[start : start + _CHUNK]))
        found |= {row[0]: (row[1], row[2]) for row in await session.execute(query)}
    return found


async def votes_on(
    session: AsyncSession, item_seqs: Sequence[int]
) -> dict[int, list[tuple[str, str]]]:
    """Return what was said of items, with the response that stood left."""
    found: dict[int, list[tuple[str, str]]] = {}
    for start in range(0, len(item_seqs), _CHUNK):
        query = select(QueueVote.item_seq, QueueVote.said, QueueVote.left_is).where(
            QueueVote.item_seq.in_(item_seqs[start : start + _CHUNK]), QueueVote.state == "answered"
        )
        for item, said, left_is in await session.execute(query):
            found.setdefault(item, []).append((said or "", left_is))
    return found


async def canaries_due(session: AsyncSession, moment: datetime) -> Sequence[Monitor]:
    """Return the monitors whose judges are to be asked about a canary now."""
    query = select(Monitor).where(Monitor.canary_at <= moment, Monitor.status != "ended")
    return (await session.scalars(query.order_by(Monitor.canary_at).limit(100))).all()


async def canaries_waiting(session: AsyncSession, moment: datetime) -> Sequence[Monitor]:
    """Return the monitors that ask canaries, and none now."""
    query = select(Monitor).where(Monitor.canary_at > moment, Monitor.status != "ended")
    return (await session.scalars(query.limit(100))).all()


async def take_canary(session: AsyncSession, monitor: Monitor, until: datetime) -> bool:
    """Keep the canaries of a monitor from other processes; False: another has them."""
    query = (
        update(Monitor)
        .where(Monitor.seq == monitor.seq, Monitor.canary_at == monitor.canary_at)
        .values(canary_at=until)
        .returning(Monitor.seq)
    )
    return (await session.execute(query)).first() is not None


async def verdicts_since(session: AsyncSession, certificate_seq: int, after: int, most: int) -> int:
    """Count the verdicts that a certificate gave after one of them, up to a number."""
    some = (
        select(Verdict.seq)
        .where(Verdict.certificate_seq == certificate_seq, Verdict.seq > after)
        .limit(most)
        .subquery()
    )
    return int(await session.scalar(select(func.count()).select_from(some)) or 0)


async def last_verdict(session: AsyncSession, certificate_seq: int) -> int:
    """Return the number of the last verdict that a certificate gave, 0 if it gave none."""
    query = select(func.max(Verdict.seq)).where(Verdict.certificate_seq == certificate_seq)
    return int(await session.scalar(query) or 0)


async def pairs_of(session: AsyncSession, certificate_seq: int) -> Sequence[int]:
    """Return the pairs with texts that a certificate was made from."""
    query = (
        select(PairRow.seq)
        .join(CertificatePair, CertificatePair.pair_seq == PairRow.seq)
        .where(CertificatePair.certificate_seq == certificate_seq, PairRow.content.is_not(None))
        .order_by(PairRow.seq)
    )
    return (await session.scalars(query)).all()


async def dataset_of(session: AsyncSession, certificate: CalibrationRow) -> Dataset:
    """Return the dataset that a certificate was made from."""
    return await session.get_one(Dataset, certificate.dataset_seq)


async def said_in_audits(
    session: AsyncSession, verdicts: Sequence[int]
) -> Sequence[Row[int, float, str, str]]:
    """Return verdict, probability and every answer, with what stood left, of audits of verdicts."""
    rows: list[Row[int, float, str, str]] = []
    for start in range(0, len(verdicts), _CHUNK):
        query = (
            select(Audit.verdict_seq, Audit.probability, QueueVote.said, QueueVote.left_is)
            .join(QueueItem, QueueItem.id == Audit.item)
            .join(QueueVote, QueueVote.item_seq == QueueItem.seq)
            .where(
                Audit.verdict_seq.in_(verdicts[start : start + _CHUNK]),
                Audit.is_observed,
                QueueVote.state == "answered",
            )
            .order_by(QueueVote.seq)
        )
        rows += (await session.execute(query)).all()  # type: ignore[arg-type]
    return rows


async def observe(session: AsyncSession, losses: Mapping[int, float | None]) -> None:
    """Store the losses of audits."""
    for audit, loss in losses.items():
        query = update(Audit).where(Audit.seq == audit)
        await session.execute(query.values(is_observed=True, loss=loss))


async def counts(session: AsyncSession, monitor: Monitor) -> dict[str, dict[str, float]]:
    """Count the audits of a monitor by the status of their verdicts."""
    query = (
        select(
            Audit.status,
            func.count(),
            func.sum(case((Audit.is_observed, 1), else_=0)),
            func.coalesce(func.sum(Audit.loss), 0.0),
            func.count(Audit.loss),
        )
        .where(Audit.monitor_seq == monitor.seq)
        .group_by(Audit.status)
    )
    return {
        row[0]: {"drawn": row[1], "answered": row[2], "lost": row[3], "counted": row[4]}
        for row in await session.execute(query)
    }


async def audits_page(
    session: AsyncSession, monitor: Monitor, paging: Paging, after: int | None
) -> Sequence[Audit]:
    """Return one audit more than the page holds."""
    query = select(Audit).where(Audit.monitor_seq == monitor.seq)
    return (await session.scalars(paging.of(query, Audit.seq, after))).all()


async def places_of_answered(
    session: AsyncSession, audits: Sequence[int]
) -> dict[int, tuple[str, str]]:
    """Return where the pairs of answered audits lie: the name of a dataset, and the id there.

    That is where the verdict's pair lies, and for posted pairs where people were shown it.
    """
    query = (
        select(Audit.seq, Dataset.name, PairRow.id)
        .join(Verdict, Verdict.seq == Audit.verdict_seq)
        .outerjoin(QueueItem, QueueItem.id == Audit.item)
        .join(PairRow, PairRow.seq == func.coalesce(Verdict.pair_seq, QueueItem.pair_seq))
        .join(Dataset, Dataset.seq == PairRow.dataset_seq)
        .where(Audit.seq.in_(audits), Audit.is_observed)
    )
    return {seq: (name, pair) for seq, name, pair in await session.execute(query)}


async def items_of_judgments(
    session: AsyncSession, monitor: Monitor, verdicts: Sequence[int]
) -> dict[int, str]:
    """Return the item of each of these verdicts that was drawn."""
    found: dict[int, str] = {}
    for start in range(0, len(verdicts), _CHUNK):
        query = select(Audit.verdict_seq, Audit.item).where(
            Audit.monitor_seq == monitor.seq,
            Audit.verdict_seq.in_(verdicts[start : start + _CHUNK]),
        )
        found |= {row[0]: row[1] for row in await session.execute(query)}
    return found


async def add_delivery(session: AsyncSession, **values: Any) -> None:
    """Store a message to be sent."""
    await session.execute(insert(Delivery).values(**values))


async def due(session: AsyncSession, moment: datetime) -> Sequence[Row[Delivery, Monitor]]:
    """Return the messages that are to be sent now, with their monitors."""
    query = (
        select(Delivery, Monitor)
        .join(Monitor, Monitor.seq == Delivery.monitor_seq)
        .where(Delivery.next_at <= moment)
        .order_by(Delivery.seq)
        .limit(100)
    )
    return (await session.execute(query)).all()


async def take_delivery(session: AsyncSession, one: Delivery, until: datetime) -> bool:
    """Keep a message from other processes for a while; False: another has it."""
    query = (
        update(Delivery)
        .where(Delivery.seq == one.seq, Delivery.next_at == one.next_at)
        .values(next_at=until, attempts=Delivery.attempts + 1)
        .returning(Delivery.seq)
    )
    return (await session.execute(query)).first() is not None


async def set_delivery(session: AsyncSession, one: Delivery, **values: Any) -> None:
    """Change a message."""
    await session.execute(update(Delivery).where(Delivery.seq == one.seq).values(**values))


async def shadows_of(session: AsyncSession, certificate_seq: int) -> Sequence[Shadow]:
    """Return the shadows that draw from a certificate's traffic."""
    query = select(Shadow).where(
        Shadow.certificate_seq == certificate_seq, Shadow.status == "watching"
    )
    return (await session.scalars(query.order_by(Shadow.seq))).all()


async def add_shadow_verdicts(session: AsyncSession, rows: Sequence[Mapping[str, Any]]) -> None:
    """Store pairs that wait for a candidate, of which there is one at least."""
    await session.execute(insert(ShadowVerdict), list(rows))
