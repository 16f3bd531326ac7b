"""Every SQL statement about finishes."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, and_, exists, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.lists import Paging, fetch_page
from app.core.models import (
    OVERALL,
    Batch,
    CalibrationRow,
    Dataset,
    Finish,
    Label,
    PairRow,
    Queue,
    QueueItem,
    Verdict,
)
from app.core.names import is_name

WORKING: Final = ("calibrating", "judging")
_CHUNK: Final = 500


async def page(session: AsyncSession, paging: Paging) -> Sequence[Finish]:
    """Return one finish more than the page holds."""
    return await fetch_page(session, select(Finish), Finish, paging)


async def unfinished(session: AsyncSession) -> Sequence[Finish]:
    """Return the finishes that this service may continue, those whose sample is being labelled included."""
    query = select(Finish).where(Finish.status.in_((*WORKING, "sampling")))
    return (await session.scalars(query.order_by(Finish.seq))).all()


async def of_queue(session: AsyncSession, ref: str) -> Sequence[Finish]:
    """Return the finishes whose rows are labelled in a queue, by its id or name."""
    if not is_name(ref):
        return ()
    query = select(Finish).join(Queue, Queue.seq == Finish.queue_seq)
    return (await session.scalars(query.where(or_(Queue.id == ref, Queue.name == ref)))).all()


async def change(session: AsyncSession, finish: Finish, status: str, **values: Any) -> bool:
    """Change the status; return False where another process has changed it first."""
    query = (
        update(Finish)
        .where(Finish.seq == finish.seq, Finish.status == finish.status)
        .values(status=status, **values)
        .returning(Finish.seq)
    )
    return (await session.execute(query)).first() is not None


async def adopt(session: AsyncSession, finish: Finish, column: str, seq: int) -> bool:
    """Store which certificate or batch belongs to a finish; return False where it has one already."""
    query = (
        update(Finish)
        .where(Finish.seq == finish.seq, getattr(Finish, column).is_(None))
        .values({column: seq})
        .returning(Finish.seq)
    )
    return (await session.execute(query)).first() is not None


async def change_queue(
    session: AsyncSession, finish: Finish, queue_seq: int, *, is_done: bool, ended_at: Any
) -> None:
    """Store the queue of the rows that are left; complete the finish where none is."""
    values = {"queue_seq": queue_seq, "ended_at": ended_at}
    if is_done:
        values["status"] = "completed"
    await session.execute(update(Finish).where(Finish.seq == finish.seq).values(values))


async def parts(
    session: AsyncSession, finish: Finish
) -> tuple[Dataset, CalibrationRow | None, Batch | None, Queue | None]:
    """Return the dataset, the certificate, the batch and the queue of a finish."""
    query = (
        select(Dataset, CalibrationRow, Batch, Queue)
        .select_from(Finish)
        .join(Dataset, Dataset.seq == Finish.dataset_seq)
        .outerjoin(CalibrationRow, CalibrationRow.seq == Finish.certificate_seq)
        .outerjoin(Batch, Batch.seq == Finish.batch_seq)
        .outerjoin(Queue, Queue.seq == Finish.queue_seq)
        .where(Finish.seq == finish.seq)
    )
    dataset, certificate, batch, queue = (await session.execute(query)).one()
    return dataset, certificate, batch, queue


async def verdicts_of(session: AsyncSession, batch_seq: int) -> dict[int, tuple[str, bool]]:
    """Return for each pair of a batch its status, and whether some judge failed on it."""
    query = select(Verdict.pair_seq, Verdict.status, Verdict.body).where(
        Verdict.batch_seq == batch_seq, Verdict.pair_seq.is_not(None)
    )
    found: dict[int, tuple[str, bool]] = {}
    async for pair, status, body in await session.stream(query):
        has_failed = any(tier["failure"] is not None for tier in body["tiers"])
        found[pair or 0] = (status, has_failed)
    return found


def _is_labelled() -> ColumnElement[bool]:
    return exists().where(
        Label.pair_seq == PairRow.seq, Label.criterion == OVERALL, Label.replaced_at.is_(None)
    )


def _waits(queue_seq: int | None) -> ColumnElement[bool]:
    return exists().where(
        QueueItem.pair_seq == PairRow.seq, QueueItem.queue_seq == queue_seq, QueueItem.is_open
    )


async def counts(session: AsyncSession, finish: Finish, *, has_queue: bool) -> dict[str, int]:
    """Count the rows by who gives their verdicts.

    A row that waits for people counts as nothing else; one that has labels is theirs.
    """
    waits = _waits(finish.queue_seq if has_queue else None)
    is_answered = exists().where(
        Verdict.batch_seq == finish.batch_seq,
        Verdict.position == PairRow.position,
        Verdict.status == "accepted",
    )
    place = PairRow.dataset_seq == finish.dataset_seq
    query = select(
        func.count().filter(waits),
        func.count().filter(and_(~waits, _is_labelled())),
        func.count().filter(and_(~waits, ~_is_labelled(), is_answered)),
        func.count().filter(and_(~waits, ~_is_labelled(), PairRow.content.is_(None))),
    ).where(place)
    row = (await session.execute(query)).one()
    return dict(zip(("waiting", "labelled", "judged", "unfinishable"), map(int, row), strict=True))


async def rows_page(
    session: AsyncSession, finish: Finish, paging: Paging, after: int | None
) -> Sequence[Row[Any]]:
    """Return the rows of a page and one more, each with the verdict of the batch."""
    own = and_(Verdict.batch_seq == finish.batch_seq, Verdict.position == PairRow.position)
    query = (
        select(
            PairRow.seq, PairRow.id, PairRow.position, PairRow.model_a, PairRow.model_b,
            Verdict.status, Verdict.body,
        )
        .outerjoin(Verdict, own)
        .where(PairRow.dataset_seq == finish.dataset_seq)
    )  # fmt: skip
    return (await session.execute(paging.of(query, PairRow.position, after))).all()


async def waiting_among(session: AsyncSession, queue_seq: int, pairs: Sequence[int]) -> set[int]:
    """Return which of these pairs wait for people."""
    found: set[int] = set()
    for start in range(0, len(pairs), _CHUNK):
        query = select(QueueItem.pair_seq).where(
            QueueItem.queue_seq == queue_seq,
            QueueItem.is_open,
            QueueItem.pair_seq.in_(pairs[start : start + _CHUNK]),
        )
        found |= set(await session.scalars(query))
    return found


async def is_done(session: AsyncSession, queue_seqs: Collection[int]) -> bool:
    """Return whether no pair of these queues waits for people."""
    query = select(QueueItem.seq).where(QueueItem.queue_seq.in_(queue_seqs), QueueItem.is_open)
    return (await session.execute(query.limit(1))).first() is None
