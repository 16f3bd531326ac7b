"""Every SQL statement about datasets and their pairs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, cast

from sqlalchemy import (
    BigInteger,
    Row,
    Select,
    String,
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

from app.core.bulk import insert_rows, is_one_of
from app.core.lists import Paging, Rows, length_of, rows_within
from app.core.models import Dataset, Label, PairRow, RecordedScore
from app.datasets.records import PairKey

# both drivers take at most some 30,000 parameters in a statement; short lists also plan better
IN_CHUNK = 500
_LEAST = 100  # characters of a vote or a score beside its text, about
SCAN_CHUNK = 10_000
_MOST_NAMES = 1_000
_FEW = 10_000  # so many rows are objects at once, of however many

# rows go in and out without becoming objects, and JSON that is text already stays text
_PAIRS = table(
    "pairs",
    column("seq", BigInteger),
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


_LENGTHS = (length_of(PairRow.content), length_of(PairRow.details))


async def dataset_by_ref(session: AsyncSession, ref: str) -> Dataset | None:
    """Return the dataset of this id, else of this name."""
    found = (
        await session.scalars(select(Dataset).where(or_(Dataset.id == ref, Dataset.name == ref)))
    ).all()
    return next((row for row in found if row.id == ref), found[0] if found else None)


async def datasets_by_refs(session: AsyncSession, refs: Sequence[str]) -> list[Dataset]:
    """Return the datasets that have one of these as id or name."""
    query = select(Dataset).where(
        or_(*(is_one_of(session, cast(Any, one), refs) for one in (Dataset.id, Dataset.name)))
    )
    return list(await session.scalars(query))


async def dataset_by_name(session: AsyncSession, name: str) -> Dataset | None:
    """Return the dataset of this name."""
    return await session.scalar(select(Dataset).where(Dataset.name == name))


async def rows_by_prompt(
    session: AsyncSession, dataset_seq: int, hashes: Sequence[str]
) -> list[Row[Any]]:
    """Return the pairs with texts whose prompt has one of these hashes, in order of position."""
    rows: list[Row[Any]] = []
    for start in range(0, len(hashes), IN_CHUNK):
        query = (
            select(
                PairRow.seq, PairRow.prompt_hash, PairRow.content, PairRow.model_a, PairRow.model_b
            )
            .where(
                PairRow.dataset_seq == dataset_seq,
                PairRow.prompt_hash.in_(hashes[start : start + IN_CHUNK]),
                PairRow.content.is_not(None),
            )
            .order_by(PairRow.position)
        )
        rows += (await session.execute(query)).all()
    return rows


async def lock(session: AsyncSession, dataset_seqs: Iterable[int]) -> None:
    """Serialise the transactions that change these datasets' labels.

    Locks are taken in one order, so that two transactions cannot deadlock.
    """
    query = (
        select(Dataset.seq)
        .where(Dataset.seq.in_(list(dataset_seqs)))
        .order_by(Dataset.seq)
        .with_for_update(key_share=True)
    )
    await session.execute(query)


async def newest_names(session: AsyncSession) -> Sequence[str]:
    """Return the names of the datasets that were imported last."""
    query = select(Dataset.name).order_by(Dataset.seq.desc()).limit(_MOST_NAMES)
    return (await session.scalars(query)).all()


def all_datasets() -> Select[Any]:
    """Return the query of all datasets."""
    return select(Dataset)


async def key_rows(session: AsyncSession, dataset_seq: int) -> AsyncIterator[Row[Any]]:
    """Yield every pair of a dataset by position, without its texts."""
    query = select(*_KEY_COLUMNS).where(PairRow.dataset_seq == dataset_seq)
    async for row in streamed(session, query.order_by(PairRow.position)):
        yield row


async def streamed(session: AsyncSession, query: Select[Any]) -> AsyncIterator[Row[Any]]:
    """Yield the rows of a query, a few thousand of them in memory at a time."""
    result = await session.stream(query, execution_options={"yield_per": _FEW})
    async for rows in result.partitions():
        for row in rows:
            yield row


async def scan(
    session: AsyncSession, dataset_seq: int
) -> AsyncIterator[Row[int, int, str, str | None, str | None]]:
    """Yield every pair of a dataset by position, only what says which pair it is."""
    first = 0
    while True:
        query = (
            select(
                PairRow.seq, PairRow.position, PairRow.group, PairRow.prompt_hash,
                PairRow.content_hash,
            )
            .where(PairRow.dataset_seq == dataset_seq, PairRow.position >= first)
            .order_by(PairRow.position)
            .limit(SCAN_CHUNK)
        )  # fmt: skip
        rows = (await session.execute(query)).all()
        for row in rows:
            yield row
        if len(rows) < SCAN_CHUNK:
            return
        first = rows[-1].position + 1


async def distinct_groups(session: AsyncSession, dataset_seq: int) -> Sequence[str]:
    """Return every group of a dataset once."""
    query = select(PairRow.group).where(PairRow.dataset_seq == dataset_seq).distinct()
    return (await session.scalars(query)).all()


async def pair_rows(
    session: AsyncSession,
    dataset_seq: int,
    *,
    seqs: Sequence[int] | None,
    positions: tuple[int, int] | Sequence[int] | None,
) -> list[Row[Any]]:
    """Return pairs with their texts by position: these seqs, or these positions, or all.

    Two positions as a tuple are a range, a list holds them one by one.
    """
    query = (
        select(*_KEY_COLUMNS, PairRow.content)
        .where(PairRow.dataset_seq == dataset_seq)
        .order_by(PairRow.position)
    )
    if isinstance(positions, tuple):
        query = query.where(PairRow.position >= positions[0], PairRow.position < positions[1])
    elif positions is not None:
        return await _chosen(session, query, PairRow.position, positions)
    if seqs is None:
        return list((await session.execute(query)).all())
    return await _chosen(session, query, PairRow.seq, seqs)


_JUDGED = (
    _PAIRS.c.seq, _PAIRS.c.position, _PAIRS.c.id, _PAIRS.c.group_key, _PAIRS.c.prompt_hash,
    _PAIRS.c.content_hash, _PAIRS.c.swapped_hash, _PAIRS.c.model_a, _PAIRS.c.model_b,
    _PAIRS.c.metadata, _PAIRS.c.content,
)  # fmt: skip


async def judged_rows(
    session: AsyncSession, dataset_seq: int, first: int, last: int
) -> Sequence[Sequence[Any]]:
    """Return the pairs with texts at positions `[first, last)`, JSON as text, as `_JUDGED` says."""
    query = (
        select(*_JUDGED)
        .where(
            _PAIRS.c.dataset_seq == dataset_seq,
            _PAIRS.c.position >= first,
            _PAIRS.c.position < last,
            _PAIRS.c.content.is_not(None),
        )
        .order_by(_PAIRS.c.position)
    )
    return (await session.execute(query)).all()


async def _chosen(
    session: AsyncSession, query: Select[Any], column: Any, values: Sequence[int]
) -> list[Row[Any]]:
    rows = [
        row
        for start in range(0, len(values), IN_CHUNK)
        for row in await session.execute(query.where(column.in_(values[start : start + IN_CHUNK])))
    ]
    return sorted(rows, key=lambda row: row.position)


async def page_rows(
    session: AsyncSession, dataset_seq: int, first: int, count: int
) -> Rows[Row[Any]]:
    """Return up to `count` pairs with their texts from position `first` on, as many as fit."""
    query = (
        select(*_KEY_COLUMNS, PairRow.content)
        .where(PairRow.dataset_seq == dataset_seq, PairRow.position >= first)
        .order_by(PairRow.position)
        .limit(count)
    )
    return await rows_within(session, query, _LENGTHS)


async def asked_rows(
    session: AsyncSession, dataset_seq: int, paging: Paging, after: int | None
) -> Rows[Row[Any]]:
    """Return the pairs of a page with their texts, and one more, behind the position `after`.

    The page ends early where they, with what was said of them, are too long.
    """
    said = [
        select(func.sum(length_of(column) + _LEAST))
        .where(column.class_.pair_seq == PairRow.seq)
        .scalar_subquery()
        for column in (Label.details, RecordedScore.annotators)
    ]
    query = select(*_KEY_COLUMNS, PairRow.content).where(PairRow.dataset_seq == dataset_seq)
    page = paging.of(query, PairRow.position, after)
    return await rows_within(session, page, [*_LENGTHS, *said], paging.most_bytes)


async def position_of(session: AsyncSession, dataset_seq: int, pair_id: str) -> int | None:
    """Return the position of the pair of this id."""
    query = select(PairRow.position).where(
        PairRow.dataset_seq == dataset_seq, PairRow.id == pair_id
    )
    return await session.scalar(query)


async def id_beside(
    session: AsyncSession, dataset_seq: int, position: int, *, behind: bool
) -> str | None:
    """Return the id of the next pair behind, or before, a position."""
    column = PairRow.position
    query = select(PairRow.id).where(PairRow.dataset_seq == dataset_seq)
    if behind:
        query = query.where(column > position).order_by(column)
    else:
        query = query.where(column < position).order_by(column.desc())
    return await session.scalar(query.limit(1))


async def keys_behind(
    session: AsyncSession, dataset_seq: int, position: int, count: int
) -> Sequence[Row[Any]]:
    """Return the next pairs behind a position, without their texts."""
    query = (
        select(*_KEY_COLUMNS)
        .where(PairRow.dataset_seq == dataset_seq, PairRow.position > position)
        .order_by(PairRow.position)
        .limit(count)
    )
    return (await session.execute(query)).all()


async def related_rows(
    session: AsyncSession, dataset_seq: int, key: PairKey, most: int
) -> Sequence[Row[Any]]:
    """Return other pairs without their texts: those of a pair's prompt, then those of its group.

    Each kind has an index of its own, which a query for either would not use.
    """
    rows: list[Row[Any]] = []
    for own, value in ((PairRow.prompt_hash, key.prompt_hash), (PairRow.group, key.group)):
        if value is None or len(rows) == most:
            continue
        query = (
            select(*_KEY_COLUMNS)
            .where(
                PairRow.dataset_seq == dataset_seq,
                own == value,
                PairRow.seq.not_in([key.seq, *(row.seq for row in rows)]),
            )
            .order_by(PairRow.position)
            .limit(most - len(rows))
        )
        rows += (await session.execute(query)).all()
    return rows


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
    inside = (PairRow.position >= first, PairRow.position < last)
    query = select(PairRow.position, PairRow.seq).where(PairRow.dataset_seq == dataset_seq, *inside)
    return {row.position: row.seq for row in await session.execute(query)}


async def contents(session: AsyncSession, seqs: Sequence[int]) -> AsyncIterator[Sequence[Row[Any]]]:
    """Yield the texts of these pairs, some hundred pairs at a time."""
    for start in range(0, len(seqs), IN_CHUNK):
        query = select(PairRow.seq, PairRow.content).where(
            PairRow.seq.in_(seqs[start : start + IN_CHUNK])
        )
        yield (await session.execute(query)).all()


async def insert_pairs(session: AsyncSession, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert pairs, by column names, with JSON as text."""
    await insert_rows(session, _PAIRS, rows)


async def set_pairs(session: AsyncSession, dataset_seq: int) -> None:
    """Count a dataset's pairs."""
    pairs = select(func.count()).where(PairRow.dataset_seq == dataset_seq).scalar_subquery()
    await session.execute(update(Dataset).where(Dataset.seq == dataset_seq).values(pairs=pairs))


async def set_groups(session: AsyncSession, dataset_seq: int) -> None:
    """Count a dataset's distinct groups."""
    groups = (
        select(func.count(distinct(PairRow.group)))
        .where(PairRow.dataset_seq == dataset_seq)
        .scalar_subquery()
    )
    await session.execute(update(Dataset).where(Dataset.seq == dataset_seq).values(groups=groups))
