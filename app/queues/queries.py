"""Every SQL statement about label queues."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, NamedTuple, cast

from sqlalchemy import (
    ColumnElement,
    Row,
    Select,
    Table,
    and_,
    case,
    exists,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession

from app.bodies.queues import Purpose
from app.core.bulk import insert_rows
from app.core.lists import Paging, by_public_id, fetch_page, length_of
from app.core.models import (
    Audit,
    CalibrationRow,
    CertificatePair,
    Dataset,
    Label,
    PairRow,
    Queue,
    QueueItem,
    QueueVote,
    Verdict,
)
from app.core.names import is_name

IN_CHUNK: Final = 500
_MOST_NAMES: Final = 1_000
_MOST_COUNTED: Final = 1_000
# in which order a claim that names no queue is served
SERVED: Final[tuple[Purpose, ...]] = ("audit", "calibration", "ranking", "finish", "asked")
_ITEMS: Final = cast(Table, QueueItem.__table__)


class Claimed(NamedTuple):
    """An item with what one person does with it; the last fields are None without a claim."""

    item_seq: int
    item: str
    pair_seq: int
    dataset_seq: int
    probability: float | None
    votes: int
    wanted: int
    vote_seq: int | None
    left_is: str | None
    state: str | None
    said: str | None
    details: dict[str, Any] | None
    claimed_at: datetime | None
    lease_until: datetime | None


async def queue_by_ref(session: AsyncSession, ref: str) -> Queue | None:
    """Return the queue of this id, else of this name."""
    found = await by_public_id(session, Queue, ref)
    if found is None and is_name(ref):
        found = await session.scalar(select(Queue).where(Queue.name == ref))
    return found


async def newest_names(session: AsyncSession) -> Sequence[str]:
    """Return the names of the queues that were made last."""
    query = select(Queue.name).order_by(Queue.seq.desc()).limit(_MOST_NAMES)
    return (await session.scalars(query)).all()


async def page(session: AsyncSession, paging: Paging) -> Sequence[Queue]:
    """Return one queue more than the page holds."""
    return await fetch_page(session, select(Queue), Queue, paging)


async def in_order_of_serving(session: AsyncSession) -> Sequence[Queue]:
    """Return the queues that have something to label, those that matter most first."""
    place = case({purpose: at for at, purpose in enumerate(SERVED)}, value=Queue.purpose)
    is_open = exists().where(QueueItem.queue_seq == Queue.seq, QueueItem.is_open)
    return (await session.scalars(select(Queue).where(is_open).order_by(place, Queue.seq))).all()


async def lock(session: AsyncSession, queues: Collection[Queue]) -> None:
    """Serialise the transactions that hand out or take the pairs of these queues."""
    query = select(Queue.seq).where(Queue.seq.in_([one.seq for one in queues]))
    await session.execute(query.order_by(Queue.seq).with_for_update(key_share=True))


async def add_items(session: AsyncSession, rows: Sequence[Mapping[str, Any]]) -> None:
    """Store items, by column names."""
    await insert_rows(session, _ITEMS, rows)


async def last_position(session: AsyncSession, queue: Queue) -> int:
    """Return the largest position in a queue, -1 where it is empty."""
    query = select(func.max(QueueItem.position)).where(QueueItem.queue_seq == queue.seq)
    found = await session.scalar(query)
    return -1 if found is None else int(found)


_CLAIM_COLUMNS: Final = (
    QueueItem.seq, QueueItem.id, QueueItem.pair_seq, PairRow.dataset_seq, QueueItem.probability,
    QueueItem.votes, QueueItem.wanted, QueueVote.seq, QueueVote.left_is, QueueVote.state,
    QueueVote.said, QueueVote.details, QueueVote.claimed_at, QueueVote.lease_until,
)  # fmt: skip


def _with_vote_of(annotator: str) -> Select[*tuple[Any, ...]]:
    own = and_(QueueVote.item_seq == QueueItem.seq, QueueVote.annotator == annotator)
    query: Select[*tuple[Any, ...]] = select(*_CLAIM_COLUMNS)
    return query.join(PairRow, PairRow.seq == QueueItem.pair_seq).outerjoin(QueueVote, own)


async def own_claims(
    session: AsyncSession, queue: Queue, annotator: str, moment: datetime, limit: int
) -> list[Claimed]:
    """Return what a person has claimed and not answered, in the order of serving."""
    query = _with_vote_of(annotator).where(
        QueueItem.queue_seq == queue.seq,
        QueueItem.is_open,
        QueueVote.state == "claimed",
        QueueVote.lease_until > moment,
    )
    rows = await session.execute(query.order_by(QueueItem.position).limit(limit))
    return [Claimed(*row) for row in rows]


_WAS_SKIPPED: Final = QueueVote.state == "skipped"


def _grantable(
    queues: Collection[Queue], annotator: str, moment: datetime
) -> Select[*tuple[Any, ...]]:
    """Return the query of the open items of queues for which others leave room for one more vote."""
    other = QueueVote.__table__.alias("others")
    held = (
        select(func.count())
        .select_from(other)
        .where(
            other.c.item_seq == QueueItem.seq,
            other.c.state == "claimed",
            other.c.lease_until > moment,
            other.c.annotator != annotator,
        )
        .scalar_subquery()
    )
    return _with_vote_of(annotator).where(
        QueueItem.queue_seq.in_([one.seq for one in queues]),
        QueueItem.is_open,
        QueueItem.votes + held < QueueItem.wanted,
    )


def _is_new(moment: datetime) -> ColumnElement[bool]:
    """Return whether a person neither holds an item nor has said anything of it."""
    return or_(
        QueueVote.seq.is_(None), and_(QueueVote.state == "claimed", QueueVote.lease_until <= moment)
    )


async def free_items(
    session: AsyncSession, queue: Queue, annotator: str, moment: datetime, limit: int
) -> list[Claimed]:
    """Return items that a person may be given now, in the order of serving."""
    query = _grantable([queue], annotator, moment).where(_is_new(moment))
    rows = await session.execute(query.order_by(QueueItem.position).limit(limit))
    return [Claimed(*row) for row in rows]


async def skipped_items(
    session: AsyncSession, queue: Queue, annotator: str, moment: datetime, limit: int
) -> list[Claimed]:
    """Return items that a person skipped and may be given again, in the order of serving."""
    query = _grantable([queue], annotator, moment).where(_WAS_SKIPPED)
    rows = await session.execute(query.order_by(QueueItem.position).limit(limit))
    return [Claimed(*row) for row in rows]


async def count_free(
    session: AsyncSession, queues: Collection[Queue], annotator: str, moment: datetime
) -> int:
    """Count the items of queues that a person may be given now, up to a thousand."""
    query = _grantable(queues, annotator, moment).where(_is_new(moment))
    return await _count_some(session, query)


async def count_skipped(
    session: AsyncSession, queues: Collection[Queue], annotator: str, moment: datetime
) -> int:
    """Count the items of queues that a person skipped and may be given again, up to a thousand."""
    query = _grantable(queues, annotator, moment).where(_WAS_SKIPPED)
    return await _count_some(session, query)


async def count_open(session: AsyncSession, queues: Collection[Queue]) -> int:
    """Count the items of queues that lack votes, up to a thousand."""
    numbers = [one.seq for one in queues]
    query = select(QueueItem.seq).where(QueueItem.queue_seq.in_(numbers), QueueItem.is_open)
    return await _count_some(session, query)


async def _count_some(session: AsyncSession, query: Select[*tuple[Any, ...]]) -> int:
    some = query.with_only_columns(QueueItem.seq, maintain_column_froms=True)
    limited = some.limit(_MOST_COUNTED).subquery()
    return int(await session.scalar(select(func.count()).select_from(limited)) or 0)


async def count_answered(session: AsyncSession, queues: Collection[Queue], annotator: str) -> int:
    """Count the items of queues that a person has answered."""
    query = (
        select(func.count())
        .select_from(QueueVote)
        .join(QueueItem, QueueItem.seq == QueueVote.item_seq)
        .where(
            QueueItem.queue_seq.in_([one.seq for one in queues]),
            QueueVote.annotator == annotator,
            QueueVote.state.in_(("answered", "spare")),
        )
    )
    return int(await session.scalar(query) or 0)


async def answered_datasets(session: AsyncSession, queue: Queue, annotator: str) -> set[int]:
    """Return the datasets, by number, on which a person's answers in a queue stand as labels.

    Only the first answer is looked at: a queue is of one dataset, but for one that audits several.
    Where it misses one, labels are counted again, which is slow and right.
    """
    query = (
        select(PairRow.dataset_seq)
        .select_from(QueueItem)
        .join(QueueVote, QueueVote.item_seq == QueueItem.seq)
        .join(PairRow, PairRow.seq == QueueItem.pair_seq)
        .where(
            QueueItem.queue_seq == queue.seq,
            QueueVote.annotator == annotator,
            QueueVote.state == "answered",
        )
        .limit(1)
    )
    return set(await session.scalars(query))


async def last_answered(
    session: AsyncSession, queue: Queue, annotator: str, limit: int
) -> list[Claimed]:
    """Return what a person answered last in a queue, newest first."""
    query = _with_vote_of(annotator).where(
        QueueItem.queue_seq == queue.seq, QueueVote.state == "answered"
    )
    rows = await session.execute(query.order_by(QueueVote.answered_at.desc()).limit(limit))
    return [Claimed(*row) for row in rows]


async def audited(session: AsyncSession, queue: Queue, items: Sequence[Claimed]) -> dict[str, str]:
    """Return what the verdict prefers that each of these items audits, by item; others are left out.

    It is the verdict that a monitor drew, else the last accepted one on the pair under the
    certificate of the queue.
    """
    names = [one.item for one in items]
    query = select(Audit.item, Audit.said).where(Audit.item.in_(names), Audit.status == "accepted")
    found = {item: said for item, said in await session.execute(query) if said is not None}
    certificate = queue.options.get("calibration")
    rest = {one.pair_seq: one.item for one in items if one.item not in found}
    if certificate is None or not rest:
        return found
    verdicts = (
        select(Verdict.pair_seq, Verdict.body)
        .join(CalibrationRow, CalibrationRow.seq == Verdict.certificate_seq)
        .where(
            CalibrationRow.id == certificate,
            Verdict.pair_seq.in_(list(rest)),
            Verdict.status == "accepted",
        )
        .order_by(Verdict.seq)
    )
    for pair_seq, body in await session.execute(verdicts):
        found[rest[pair_seq]] = body["label"]
    return found


async def add_vote(session: AsyncSession, **values: Any) -> None:
    """Store what a person does with an item."""
    await session.execute(insert(QueueVote).values(**values))


async def set_vote(session: AsyncSession, vote_seq: int, **values: Any) -> None:
    """Change what a person does with an item."""
    await session.execute(update(QueueVote).where(QueueVote.seq == vote_seq).values(**values))


async def set_item(session: AsyncSession, item_seq: int, **values: Any) -> None:
    """Change an item."""
    await session.execute(update(QueueItem).where(QueueItem.seq == item_seq).values(**values))


async def items_of(
    session: AsyncSession, queue: Queue, ids: Sequence[str], annotator: str
) -> dict[str, Claimed]:
    """Return items of a queue by id, with what a person does with them."""
    found: dict[str, Claimed] = {}
    known = sorted({one for one in ids if is_name(one)})
    for start in range(0, len(known), IN_CHUNK):
        query = _with_vote_of(annotator).where(
            QueueItem.queue_seq == queue.seq, QueueItem.id.in_(known[start : start + IN_CHUNK])
        )
        found |= {row[1]: Claimed(*row) for row in await session.execute(query)}
    return found


async def answers_on(session: AsyncSession, item_seq: int) -> Sequence[Row[str, str, str | None]]:
    """Return who said what of an item, with what stood on the left."""
    query = select(QueueVote.annotator, QueueVote.left_is, QueueVote.said).where(
        QueueVote.item_seq == item_seq, QueueVote.state == "answered"
    )
    return (await session.execute(query)).all()


def _place(moment: datetime) -> ColumnElement[str]:
    """Return where an item stands: done, claimed, skipped or waiting."""

    def has(state: str, *further: ColumnElement[bool]) -> ColumnElement[bool]:
        return exists().where(
            QueueVote.item_seq == QueueItem.seq, QueueVote.state == state, *further
        )

    return case(
        (~QueueItem.is_open, "done"),
        (has("claimed", QueueVote.lease_until > moment), "claimed"),
        (has("skipped"), "skipped"),
        else_="waiting",
    ).label("place")


async def counts(
    session: AsyncSession, queues: Collection[Queue], moment: datetime
) -> dict[int, dict[str, int]]:
    """Count the pairs of queues, by number: done, claimed, skipped, waiting, and all.

    Beside them stands how many people are `labelling`: pages claim pairs ahead, so claims say little.
    """
    numbers = [one.seq for one in queues]
    inner = select(QueueItem.queue_seq, _place(moment)).where(QueueItem.queue_seq.in_(numbers))
    each = inner.subquery()
    query = select(each.c.queue_seq, each.c.place, func.count()).group_by(
        each.c.queue_seq, each.c.place
    )
    empty = dict.fromkeys(("waiting", "claimed", "done", "skipped", "pairs", "labelling"), 0)
    found = {number: dict(empty) for number in numbers}
    for number, place, count in await session.execute(query):
        found[number][place] = count
        found[number]["pairs"] += count
    for number, people in await session.execute(_labelling(numbers, moment)):
        found[number]["labelling"] = people
    return found


def _labelling(numbers: Sequence[int], moment: datetime) -> Select[int, int]:
    """Return the query of how many people hold pairs of each of these queues."""
    return (
        select(QueueItem.queue_seq, func.count(QueueVote.annotator.distinct()))
        .join(QueueVote, QueueVote.item_seq == QueueItem.seq)
        .where(
            QueueItem.queue_seq.in_(numbers),
            QueueItem.is_open,
            QueueVote.state == "claimed",
            QueueVote.lease_until > moment,
        )
        .group_by(QueueItem.queue_seq)
    )


async def count_waiting(session: AsyncSession, moment: datetime, purpose: str | None = None) -> int:
    """Count the waiting pairs of all queues, or of those with a purpose."""
    open_items = select(_place(moment)).where(QueueItem.is_open)
    if purpose is not None:
        wanted = select(Queue.seq).where(Queue.purpose == purpose)
        open_items = open_items.where(QueueItem.queue_seq.in_(wanted))
    inner = open_items.subquery()
    query = select(func.count()).where(inner.c.place == "waiting")
    return int(await session.scalar(query) or 0)


async def items_in_order(session: AsyncSession, queue: Queue) -> Sequence[Row[int, str, int, int]]:
    """Return the open items of a queue with their pair and its dataset, in the order of serving."""
    query = (
        select(QueueItem.seq, QueueItem.id, QueueItem.pair_seq, PairRow.dataset_seq)
        .join(PairRow, PairRow.seq == QueueItem.pair_seq)
        .where(QueueItem.queue_seq == queue.seq, QueueItem.is_open)
        .order_by(QueueItem.position)
    )
    return (await session.execute(query)).all()


async def datasets_by_seq(session: AsyncSession, seqs: Collection[int]) -> dict[int, Dataset]:
    """Return datasets by number."""
    found = await session.scalars(select(Dataset).where(Dataset.seq.in_(list(seqs))))
    return {one.seq: one for one in found}


async def labels_of(
    session: AsyncSession, pair_seq: int, annotator: str, criterion: str
) -> Sequence[Label]:
    """Return every label of a person on a pair, replaced ones included, in the order they came."""
    query = select(Label).where(
        Label.pair_seq == pair_seq, Label.annotator == annotator, Label.criterion == criterion
    )
    return (await session.scalars(query.order_by(Label.seq))).all()


async def newest_label_of(
    session: AsyncSession, pair_seq: int, annotator: str, criterion: str
) -> Label | None:
    """Return the last label of a person on a pair; there may be thousands before it."""
    query = select(Label).where(
        Label.pair_seq == pair_seq, Label.annotator == annotator, Label.criterion == criterion
    )
    return await session.scalar(query.order_by(Label.seq.desc()).limit(1))


async def text_lengths(session: AsyncSession, pair_seqs: Collection[int]) -> dict[int, int]:
    """Return how long the texts of some pairs are, in characters as they are stored."""
    query = select(PairRow.seq, length_of(PairRow.content)).where(PairRow.seq.in_(pair_seqs))
    return {seq: length or 0 for seq, length in await session.execute(query)}


async def stands(session: AsyncSession, label: Label) -> bool:
    """Return whether a replaced label was not taken back: its queue, if any, still has the answer."""
    if "queue" not in label.details:
        return True
    query = (
        select(QueueVote.seq)
        .join(QueueItem, QueueItem.seq == QueueVote.item_seq)
        .join(Queue, Queue.seq == QueueItem.queue_seq)
        .where(
            QueueItem.pair_seq == label.pair_seq,
            Queue.id == label.details["queue"],
            QueueVote.annotator == label.annotator,
            QueueVote.state == "answered",
        )
    )
    return await session.scalar(query.limit(1)) is not None


async def labelled_pairs(session: AsyncSession, dataset_seq: int, criterion: str) -> set[int]:
    """Return the pairs of a dataset that have a label."""
    query = (
        select(Label.pair_seq)
        .distinct()
        .join(PairRow, PairRow.seq == Label.pair_seq)
        .where(
            PairRow.dataset_seq == dataset_seq,
            Label.criterion == criterion,
            Label.replaced_at.is_(None),
        )
    )
    return set(await session.scalars(query))


async def certified_pairs(session: AsyncSession, dataset_seq: int) -> set[int]:
    """Return the pairs of a dataset whose labels a certificate rests on that was not revoked."""
    query = (
        select(CertificatePair.pair_seq)
        .distinct()
        .join(CalibrationRow, CalibrationRow.seq == CertificatePair.certificate_seq)
        .join(PairRow, PairRow.seq == CertificatePair.pair_seq)
        .where(
            PairRow.dataset_seq == dataset_seq,
            CalibrationRow.status == "certified",
            CalibrationRow.revoked_at.is_(None),
        )
    )
    return set(await session.scalars(query))


async def last_verdicts(
    session: AsyncSession, dataset_seq: int, certificate_seq: int
) -> dict[int, str]:
    """Return the status of the last verdict on each pair under a certificate."""
    query = (
        select(Verdict.pair_seq, Verdict.status)
        .where(Verdict.dataset_seq == dataset_seq, Verdict.certificate_seq == certificate_seq)
        .order_by(Verdict.seq)
    )
    return {pair: status for pair, status in await session.execute(query) if pair is not None}
