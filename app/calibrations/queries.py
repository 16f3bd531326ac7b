"""Every SQL statement about certificates."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, Select, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.core import models
from app.core.lists import Paging, fetch_page
from app.core.models import (
    OVERALL,
    CalibrationRow,
    CertificateEvidence,
    CertificatePair,
    Label,
    PairRow,
)

UNFINISHED = ("pending", "running")
_CHUNK = 5_000
_MOST_IDS = 1_000
_MOST_LIKE_IT = 5


async def page(session: AsyncSession, paging: Paging) -> Sequence[CalibrationRow]:
    """Return one certificate more than the page holds."""
    return await fetch_page(session, select(CalibrationRow), CalibrationRow, paging)


async def newest_ids(session: AsyncSession) -> Sequence[str]:
    """Return the ids of the certificates that were made last."""
    query = select(CalibrationRow.id).order_by(CalibrationRow.seq.desc()).limit(_MOST_IDS)
    return (await session.scalars(query)).all()


async def successors(session: AsyncSession, ids: Sequence[str]) -> dict[str, str]:
    """Return, by the id of a certificate, that of the first certified one that supersedes it."""
    found: dict[str, str] = {}
    for start in range(0, len(ids), _CHUNK):
        query = (
            select(CalibrationRow.supersedes, CalibrationRow.id)
            .where(
                CalibrationRow.supersedes.in_(ids[start : start + _CHUNK]),
                CalibrationRow.status == "certified",
            )
            .order_by(CalibrationRow.seq)
        )
        for predecessor, successor in await session.execute(query):
            found.setdefault(str(predecessor), successor)
    return found


async def in_force_on_same_labels(
    session: AsyncSession, certificate: CalibrationRow, moment: datetime
) -> Sequence[CalibrationRow]:
    """Return other certificates of the same labels and judges that promise something, newest first."""
    if certificate.label_set_hash is None:
        return []
    query = (
        select(CalibrationRow)
        .where(
            CalibrationRow.label_set_hash == certificate.label_set_hash,
            CalibrationRow.dataset_seq == certificate.dataset_seq,
            CalibrationRow.id != certificate.id,
            CalibrationRow.status == "certified",
            CalibrationRow.revoked_at.is_(None),
            CalibrationRow.suspended_because.is_(None),
            or_(CalibrationRow.expires_at.is_(None), CalibrationRow.expires_at > moment),
        )
        .order_by(CalibrationRow.seq.desc())
        .limit(_MOST_LIKE_IT)
    )
    found = (await session.scalars(query)).all()
    judges = certificate.body.get("fingerprints")
    return [
        one
        for one in found
        # a mean over a pool promises nothing of other pairs
        if one.body.get("fingerprints") == judges and one.body.get("method") != "average"
    ]


async def unfinished(session: AsyncSession) -> Sequence[CalibrationRow]:
    """Return the calibrations that are not finished."""
    query = (
        select(CalibrationRow)
        .where(CalibrationRow.status.in_(UNFINISHED))
        .order_by(CalibrationRow.seq)
    )
    return (await session.scalars(query)).all()


async def change_attempts(session: AsyncSession, certificate: CalibrationRow, by: int) -> int:
    """Count an attempt at a calibration, or take one back; return how many there are."""
    changed = await session.execute(
        update(CalibrationRow)
        .where(CalibrationRow.seq == certificate.seq)
        .values(attempts=CalibrationRow.attempts + by)
        .returning(CalibrationRow.attempts)
    )
    return int(changed.scalar_one_or_none() or 0)


async def set_status(session: AsyncSession, certificate: CalibrationRow, **values: Any) -> None:
    """Change a certificate's columns."""
    await session.execute(
        update(CalibrationRow).where(CalibrationRow.seq == certificate.seq).values(**values)
    )


async def take(session: AsyncSession, certificate: CalibrationRow, **values: Any) -> bool:
    """Mark an unfinished calibration as running; return False if another process finished it.

    Until the end of the transaction no other process can finish it.
    """
    taken = await session.execute(
        update(CalibrationRow)
        .where(CalibrationRow.seq == certificate.seq, CalibrationRow.status.in_(UNFINISHED))
        .values(status="running", **values)
        .returning(CalibrationRow.seq)
    )
    return taken.first() is not None


async def add_pairs(session: AsyncSession, certificate_seq: int, pairs: Sequence[int]) -> None:
    """Store the pairs whose labels a certificate was made from."""
    for start in range(0, len(pairs), _CHUNK):
        rows = [
            {"certificate_seq": certificate_seq, "pair_seq": pair}
            for pair in pairs[start : start + _CHUNK]
        ]
        await session.execute(insert(CertificatePair), rows)


async def labels_ever(session: AsyncSession, dataset_seq: int) -> Sequence[Row[Any]]:
    """Return all overall labels of a dataset in the order they came, replaced ones, too."""
    query = _overall_labels(Label.created_at).where(PairRow.dataset_seq == dataset_seq)
    return list(await session.execute(query))


async def labels_of_corrected(session: AsyncSession, dataset_seq: int) -> Sequence[Row[Any]]:
    """Return all overall labels on pairs of which one was replaced, in the order they came."""
    of_dataset = PairRow.dataset_seq == dataset_seq
    corrected = (
        select(Label.pair_seq)
        .join(PairRow, PairRow.seq == Label.pair_seq)
        .where(of_dataset, Label.criterion == OVERALL, Label.replaced_at.is_not(None))
    )
    query = _overall_labels(Label.replaced_at).where(of_dataset, Label.pair_seq.in_(corrected))
    return list(await session.execute(query))


def _overall_labels(*more: Any) -> Select[Any]:
    columns = (Label.pair_seq, Label.annotator, Label.label, Label.details, Label.criterion)
    joined = select(*columns, *more).join(PairRow, PairRow.seq == Label.pair_seq)
    return joined.where(Label.criterion == OVERALL).order_by(Label.seq)


async def adjudicated(session: AsyncSession, dataset_seq: int) -> dict[str, int]:
    """Return, by queue that asks one person more where votes differ, its votes a pair before that."""
    query = select(models.Queue.id, models.Queue.votes_per_pair, models.Queue.options)
    rows = await session.execute(query.where(models.Queue.dataset_seq == dataset_seq))
    return {name: votes for name, votes, options in rows if options.get("adjudicate")}


async def queue_ids(
    session: AsyncSession, dataset_seq: int, names: Sequence[str]
) -> dict[str, str]:
    """Return the ids of queues of a dataset by what they were called by: a name or an id."""
    query = select(models.Queue.id, models.Queue.name).where(
        models.Queue.dataset_seq == dataset_seq,
        or_(models.Queue.id.in_(names), models.Queue.name.in_(names)),
    )
    found: dict[str, str] = {}
    for queue_id, name in await session.execute(query):
        found |= {one: queue_id for one in (queue_id, name) if one in names}
    return found


async def drawing_queues(session: AsyncSession, dataset_seq: int) -> list[str]:
    """Return the ids of the queues of a dataset whose pairs were drawn uniformly from all."""
    query = select(models.Queue.id, models.Queue.options).where(
        models.Queue.dataset_seq == dataset_seq, models.Queue.purpose == "calibration"
    )
    rows = await session.execute(query.order_by(models.Queue.seq))
    return [name for name, options in rows if not options.get("of_named_pairs")]


async def queues_of_named_pairs(session: AsyncSession, dataset_seq: int) -> set[str]:
    """Return the ids of the queues of a dataset that drew among pairs that somebody named."""
    query = select(models.Queue.id, models.Queue.options).where(
        models.Queue.dataset_seq == dataset_seq
    )
    rows = await session.execute(query)
    return {name for name, options in rows if options.get("of_named_pairs")}


async def queues_in_given_order(session: AsyncSession, dataset_seq: int) -> dict[str, str]:
    """Return the names of the queues of a dataset whose order was not drawn, by id.

    Queues that were made before this was stored followed the dataset's order.
    """
    query = select(models.Queue.id, models.Queue.name, models.Queue.options).where(
        models.Queue.dataset_seq == dataset_seq, models.Queue.purpose == "asked"
    )
    rows = await session.execute(query)
    return {queue: name for queue, name, options in rows if options.get("keeps_order", True)}


async def labelled_since(session: AsyncSession, queues: Collection[str]) -> set[int]:
    """Return the pairs of a dataset whose first label came after the first of these queues was made."""
    made = select(models.Queue.dataset_seq, func.min(models.Queue.created_at).label("at")).where(
        models.Queue.id.in_(queues)
    )
    first = made.group_by(models.Queue.dataset_seq).subquery()
    query = (
        select(Label.pair_seq)
        .join(PairRow, PairRow.seq == Label.pair_seq)
        .join(first, first.c.dataset_seq == PairRow.dataset_seq)
        .where(Label.criterion == OVERALL)
        .group_by(Label.pair_seq, first.c.at)
        .having(func.min(Label.created_at) > first.c.at)
    )
    return set(await session.scalars(query))


async def waiting_for_votes(session: AsyncSession, dataset_seq: int) -> dict[int, str]:
    """Return the pairs that have votes of a queue and wait for more of them, with the queue's name."""
    query = (
        select(models.QueueItem.pair_seq, models.Queue.name, models.Queue.options)
        .join(models.Queue, models.Queue.seq == models.QueueItem.queue_seq)
        .where(
            models.Queue.dataset_seq == dataset_seq,
            models.Queue.purpose.in_(("calibration", "ranking", "asked")),
            models.QueueItem.is_open,
            models.QueueItem.votes > 0,
        )
    )
    rows = await session.execute(query)
    return {
        pair: name for pair, name, options in rows if options.get("criterion", OVERALL) == OVERALL
    }


async def certified_on(
    session: AsyncSession, certificate_seq: int
) -> Sequence[Row[int, int, str, str | None]]:
    """Return the pairs that a certificate was made from: seq, dataset, group, prompt hash."""
    query = (
        select(PairRow.seq, PairRow.dataset_seq, PairRow.group, PairRow.prompt_hash)
        .join(CertificatePair, CertificatePair.pair_seq == PairRow.seq)
        .where(CertificatePair.certificate_seq == certificate_seq)
    )
    return (await session.execute(query)).all()


async def pairs_relabelled(session: AsyncSession, certificate: CalibrationRow) -> int:
    """Count the pairs of a certificate whose labels changed since it was asked for.

    A label was given to them, or one that they had was replaced.
    """
    moment = certificate.created_at
    query = (
        select(func.count(Label.pair_seq.distinct()))
        .join(CertificatePair, CertificatePair.pair_seq == Label.pair_seq)
        .where(
            CertificatePair.certificate_seq == certificate.seq,
            Label.criterion == OVERALL,
            or_(Label.created_at > moment, Label.replaced_at > moment),
        )
    )
    return (await session.scalars(query)).one()


async def certified_prompts(
    session: AsyncSession, certificate_seq: int, prompts: Collection[str]
) -> frozenset[str]:
    """Return which of these prompt hashes are those of pairs that a certificate was made from."""
    query = (
        select(PairRow.prompt_hash)
        .join(CertificatePair, CertificatePair.pair_seq == PairRow.seq)
        .where(
            CertificatePair.certificate_seq == certificate_seq,
            PairRow.prompt_hash.in_(list(prompts)),
        )
    )
    found = await session.scalars(query.distinct())
    return frozenset(one for one in found if one is not None)


async def add_evidence(
    session: AsyncSession, certificate_seq: int, evidence: Any, label_uses: Any
) -> None:
    """Store what a certificate was made from, and which tests were made of its labels."""
    await session.execute(
        insert(CertificateEvidence).values(
            certificate_seq=certificate_seq, evidence=evidence, label_uses=label_uses
        )
    )


async def evidence_of(session: AsyncSession, certificate_seq: int) -> CertificateEvidence | None:
    """Return what a certificate was made from; None where that was not kept."""
    return await session.get(CertificateEvidence, certificate_seq)
