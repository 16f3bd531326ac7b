"""Every SQL statement about what people and judges said of pairs."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any, cast

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Float,
    Row,
    Select,
    String,
    Table,
    Text,
    and_,
    column,
    distinct,
    func,
    or_,
    select,
    table,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.bulk import insert_rows
from app.core.models import Dataset, Label, PairRow, RecordedScore
from app.datasets.pair_queries import IN_CHUNK, streamed

_RECORDED_TEXTS = table(
    "recorded_scores",
    column("pair_seq", BigInteger),
    *(column(name, String) for name in ("judge", "fingerprint", "failure")),
    *(column(name, Text) for name in ("annotators", "flags", "usage", "failure_detail")),
    *(column(name, Float) for name in ("p_a", "p_tie", "outside_mass", "cost_usd", "seconds")),
    *(column(name, Float) for name in ("rating_a", "rating_b")),
)
_RECORDED = cast(Table, RecordedScore.__table__)
_VOTE_COLUMNS = (Label.pair_seq, Label.annotator, Label.label, Label.criterion, Label.details)


async def vote_rows(
    session: AsyncSession, dataset_seq: int, criterion: str | None, as_of: datetime | None = None
) -> AsyncIterator[Row[Any]]:
    """Yield the labels of a dataset that are current, or were, in the order they came."""
    is_current: ColumnElement[bool] = Label.replaced_at.is_(None)
    if as_of is not None:
        is_current = and_(Label.created_at <= as_of, or_(is_current, Label.replaced_at > as_of))
    query = _votes_of(dataset_seq).where(is_current)
    if criterion is not None:
        query = query.where(Label.criterion == criterion)
    async for row in streamed(session, query):
        yield row


def _votes_of(dataset_seq: int) -> Select[Any]:
    of_dataset = PairRow.dataset_seq == dataset_seq
    joined = select(*_VOTE_COLUMNS).join(PairRow, PairRow.seq == Label.pair_seq)
    return joined.where(of_dataset).order_by(Label.seq)


async def original_vote_rows(session: AsyncSession, dataset: Dataset) -> list[Row[Any]]:
    """Return the labels that came with the import, in the order they came."""
    at_import = Label.created_at <= dataset.created_at
    query = _votes_of(dataset.seq).where(Label.criterion == "overall", at_import)
    return list(await session.execute(query))


async def votes_on(session: AsyncSession, seqs: Sequence[int]) -> list[Row[Any]]:
    """Return the current labels on these pairs in the order they came."""
    rows: list[Row[Any]] = []
    for start in range(0, len(seqs), IN_CHUNK):
        query = (
            select(*_VOTE_COLUMNS)
            .where(Label.pair_seq.in_(seqs[start : start + IN_CHUNK]), Label.replaced_at.is_(None))
            .order_by(Label.seq)
        )
        rows += (await session.execute(query)).all()
    return rows


async def history_of(session: AsyncSession, pair_seq: int, most: int) -> Sequence[Label]:
    """Return the labels of a pair, replaced ones too, the newest first."""
    query = select(Label).where(Label.pair_seq == pair_seq).order_by(Label.seq.desc()).limit(most)
    return (await session.scalars(query)).all()


async def recorded_by(
    session: AsyncSession, dataset_seq: int, judges: Sequence[str], span: tuple[int, int] | None
) -> AsyncIterator[Row[Any]]:
    """Yield the recorded scores of these judges on a dataset's pairs, from one seq to another."""
    of_dataset = PairRow.dataset_seq == dataset_seq
    for start in range(0, len(judges), IN_CHUNK):
        query = (
            select(_RECORDED)
            .join(PairRow, PairRow.seq == RecordedScore.pair_seq)
            .where(of_dataset, RecordedScore.judge.in_(judges[start : start + IN_CHUNK]))
        )
        if span is not None:
            query = query.where(RecordedScore.pair_seq.between(*span))
        async for row in streamed(session, query):
            yield row


async def recorded_on(
    session: AsyncSession, seqs: Sequence[int], judges: Sequence[str] | None = None
) -> AsyncIterator[Row[Any]]:
    """Yield the recorded scores of these pairs, by these judges or by all."""
    chunks = (
        [None]
        if judges is None
        else [judges[start : start + IN_CHUNK] for start in range(0, len(judges), IN_CHUNK)]
    )
    for start in range(0, len(seqs), IN_CHUNK):
        of_pairs = select(_RECORDED).where(
            RecordedScore.pair_seq.in_(seqs[start : start + IN_CHUNK])
        )
        for some in chunks:
            query = of_pairs if some is None else of_pairs.where(RecordedScore.judge.in_(some))
            for row in await session.execute(query):
                yield row


async def fingerprints_of(session: AsyncSession, dataset_seq: int, judge: str) -> Sequence[str]:
    """Return the distinct fingerprints of a judge's recorded scores that are no failures."""
    query = (
        select(RecordedScore.fingerprint)
        .distinct()
        .join(PairRow, PairRow.seq == RecordedScore.pair_seq)
        .where(PairRow.dataset_seq == dataset_seq)
        .where(RecordedScore.judge == judge, RecordedScore.failure.is_(None))
    )
    return (await session.scalars(query)).all()


async def insert_recorded(session: AsyncSession, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert scores that came with pairs, by column names, with JSON as text."""
    await insert_rows(session, _RECORDED_TEXTS, rows)


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


async def add_to_labels(session: AsyncSession, dataset_seq: int, more: int) -> None:
    """Count further current labels of people who have labels in this dataset already."""
    await session.execute(
        update(Dataset).where(Dataset.seq == dataset_seq).values(labels=Dataset.labels + more)
    )
