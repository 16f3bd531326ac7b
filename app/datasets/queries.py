"""Every SQL statement about datasets, their pairs and the scores that came with them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, cast

from sqlalchemy import (
    BigInteger,
    Float,
    Row,
    Select,
    String,
    Table,
    Text,
    column,
    distinct,
    func,
    or_,
    select,
    table,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession

from app.copying import insert_many
from app.models import Dataset, Label, PairRow, RecordedScore

# both drivers take at most some 30,000 parameters in a statement; short lists also plan better
IN_CHUNK = 500

# rows go in and out without becoming objects, and JSON that is text already stays text
_PAIRS = table(
    "pairs",
    column("dataset_seq", BigInteger),
    column("position", BigInteger),
    *(
        column(name, String)
        for name in (
            "id", "content_hash", "swapped_hash", "prompt_hash", "group_key", "model_a", "model_b"
        )
    ),
    column("content", Text),
    column("metadata", Text),
)  # fmt: skip
_RECORDED_TEXTS = table(
    "recorded_scores",
    column("pair_seq", BigInteger),
    *(column(name, String) for name in ("judge", "fingerprint", "failure")),
    *(column(name, Text) for name in ("annotators", "flags", "usage", "failure_detail")),
    *(column(name, Float) for name in ("p_a", "p_tie", "outside_mass", "cost_usd", "seconds")),
)
_RECORDED = cast(Table, RecordedScore.__table__)
_KEY_COLUMNS = (
    PairRow.seq,
    PairRow.position,
    PairRow.id,
    PairRow.group,
    PairRow.prompt_hash,
    PairRow.content_hash,
    PairRow.swapped_hash,
    PairRow.model_a,
    PairRow.model_b,
    PairRow.details,
)


async def dataset_by_ref(session: AsyncSession, ref: str) -> Dataset | None:
    """Return the dataset of this id, else of this name."""
    found = (
        await session.scalars(select(Dataset).where(or_(Dataset.id == ref, Dataset.name == ref)))
    ).all()
    return next((row for row in found if row.id == ref), found[0] if found else None)


async def dataset_by_name(session: AsyncSession, name: str) -> Dataset | None:
    """Return the dataset of this name."""
    return await session.scalar(select(Dataset).where(Dataset.name == name))


async def lock(session: AsyncSession, dataset_seqs: Iterable[int]) -> None:
    """Let the transactions that change these datasets' labels follow one another.

    Always in one order, so that two of them cannot wait for each other.
    """
    query = (
        select(Dataset.seq)
        .where(Dataset.seq.in_(list(dataset_seqs)))
        .order_by(Dataset.seq)
        .with_for_update(key_share=True)
    )
    await session.execute(query)


def all_datasets() -> Select[Any]:
    """Return the query of all datasets."""
    return select(Dataset)


async def key_rows(session: AsyncSession, dataset_seq: int) -> Sequence[Row[Any]]:
    """Return every pair of a dataset by position, without its texts."""
    query = (
        select(*_KEY_COLUMNS).where(PairRow.dataset_seq == dataset_seq).order_by(PairRow.position)
    )
    return (await session.execute(query)).all()


async def pair_rows(
    session: AsyncSession,
    dataset_seq: int,
    *,
    seqs: Sequence[int] | None,
    positions: tuple[int, int] | None,
) -> list[Row[Any]]:
    """Return pairs with their texts by position: these seqs, or these positions, or all."""
    query = (
        select(*_KEY_COLUMNS, PairRow.content)
        .where(PairRow.dataset_seq == dataset_seq)
        .order_by(PairRow.position)
    )
    if positions is not None:
        query = query.where(PairRow.position >= positions[0], PairRow.position < positions[1])
    if seqs is None:
        return list((await session.execute(query)).all())
    rows = [
        row
        for start in range(0, len(seqs), IN_CHUNK)
        for row in await session.execute(
            query.where(PairRow.seq.in_(seqs[start : start + IN_CHUNK]))
        )
    ]
    return sorted(rows, key=lambda row: row.position)


async def page_rows(
    session: AsyncSession, dataset_seq: int, first: int, count: int
) -> list[Row[Any]]:
    """Return up to `count` pairs with their texts from position `first` on."""
    query = (
        select(*_KEY_COLUMNS, PairRow.content)
        .where(PairRow.dataset_seq == dataset_seq, PairRow.position >= first)
        .order_by(PairRow.position)
        .limit(count)
    )
    return list((await session.execute(query)).all())


async def position_of(session: AsyncSession, dataset_seq: int, pair_id: str) -> int | None:
    """Return the position of the pair of this id."""
    query = select(PairRow.position).where(
        PairRow.dataset_seq == dataset_seq, PairRow.id == pair_id
    )
    return await session.scalar(query)


async def seqs_by_id(session: AsyncSession, dataset_seq: int, ids: Sequence[str]) -> dict[str, int]:
    """Return the seq of each of these pair ids that the dataset has."""
    found: dict[str, int] = {}
    for start in range(0, len(ids), IN_CHUNK):
        query = select(PairRow.id, PairRow.seq).where(
            PairRow.dataset_seq == dataset_seq, PairRow.id.in_(ids[start : start + IN_CHUNK])
        )
        found.update({row.id: row.seq for row in await session.execute(query)})
    return found


async def seqs_by_position(
    session: AsyncSession, dataset_seq: int, first: int, last: int
) -> dict[int, int]:
    """Return the seq of every pair at positions `[first, last)`."""
    query = select(PairRow.position, PairRow.seq).where(
        PairRow.dataset_seq == dataset_seq,
        PairRow.position >= first,
        PairRow.position < last,
    )
    return {row.position: row.seq for row in await session.execute(query)}


async def vote_rows(
    session: AsyncSession, dataset_seq: int, criterion: str | None
) -> Sequence[Row[Any]]:
    """Return the current labels of a dataset in the order they came."""
    query = (
        select(Label.pair_seq, Label.annotator, Label.label, Label.criterion, Label.details)
        .join(PairRow, PairRow.seq == Label.pair_seq)
        .where(PairRow.dataset_seq == dataset_seq, Label.replaced_at.is_(None))
        .order_by(Label.seq)
    )
    if criterion is not None:
        query = query.where(Label.criterion == criterion)
    return (await session.execute(query)).all()


async def original_vote_rows(session: AsyncSession, dataset: Dataset) -> Sequence[Row[Any]]:
    """Return the labels that came with the import, in the order they came."""
    query = (
        select(Label.pair_seq, Label.annotator, Label.label, Label.criterion, Label.details)
        .join(PairRow, PairRow.seq == Label.pair_seq)
        .where(
            PairRow.dataset_seq == dataset.seq,
            Label.criterion == "overall",
            Label.created_at <= dataset.created_at,
        )
        .order_by(Label.seq)
    )
    return (await session.execute(query)).all()


async def votes_on(session: AsyncSession, seqs: Sequence[int]) -> list[Row[Any]]:
    """Return the current labels on these pairs in the order they came."""
    rows: list[Row[Any]] = []
    for start in range(0, len(seqs), IN_CHUNK):
        query = (
            select(Label.pair_seq, Label.annotator, Label.label, Label.criterion, Label.details)
            .where(Label.pair_seq.in_(seqs[start : start + IN_CHUNK]), Label.replaced_at.is_(None))
            .order_by(Label.seq)
        )
        rows += (await session.execute(query)).all()
    return rows


def _recorded() -> Select[Any]:
    return select(_RECORDED)


async def recorded_by(
    session: AsyncSession, dataset_seq: int, judges: Sequence[str]
) -> AsyncIterator[Row[Any]]:
    """Yield the recorded scores of these judges on the pairs of a dataset."""
    for start in range(0, len(judges), IN_CHUNK):
        query = (
            _recorded()
            .join(PairRow, PairRow.seq == RecordedScore.pair_seq)
            .where(
                PairRow.dataset_seq == dataset_seq,
                RecordedScore.judge.in_(judges[start : start + IN_CHUNK]),
            )
        )
        for row in await session.execute(query):
            yield row


async def recorded_on(session: AsyncSession, seqs: Sequence[int]) -> AsyncIterator[Row[Any]]:
    """Yield the recorded scores of these pairs."""
    for start in range(0, len(seqs), IN_CHUNK):
        query = _recorded().where(RecordedScore.pair_seq.in_(seqs[start : start + IN_CHUNK]))
        for row in await session.execute(query):
            yield row


async def insert_pairs(session: AsyncSession, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert pairs, by column names, with JSON as text."""
    await insert_many(session, _PAIRS, rows)


async def insert_recorded(session: AsyncSession, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert scores that came with pairs, by column names, with JSON as text."""
    await insert_many(session, _RECORDED_TEXTS, rows)


async def set_groups(session: AsyncSession, dataset_seq: int) -> None:
    """Count a dataset's distinct groups."""
    groups = (
        select(func.count(distinct(PairRow.group)))
        .where(PairRow.dataset_seq == dataset_seq)
        .scalar_subquery()
    )
    await session.execute(update(Dataset).where(Dataset.seq == dataset_seq).values(groups=groups))


async def refresh_label_counts(session: AsyncSession, dataset_seq: int) -> None:
    """Count a dataset's current labels and their annotators again."""
    query = (
        select(func.count(), func.count(distinct(Label.annotator)))
        .select_from(Label)
        .join(PairRow, PairRow.seq == Label.pair_seq)
        .where(PairRow.dataset_seq == dataset_seq, Label.replaced_at.is_(None))
    )
    labels, annotators = (await session.execute(query)).one()
    await session.execute(
        update(Dataset)
        .where(Dataset.seq == dataset_seq)
        .values(labels=labels, annotators=annotators)
    )
