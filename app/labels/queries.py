"""Every SQL statement that reads or writes labels."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Row, String, Text, column, select, table, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.bulk import insert_rows
from app.db import UtcTime
from app.models import Dataset, Label, PairRow

IN_CHUNK = 500
# JSON that is text already stays text
_LABELS = table(
    "labels",
    column("pair_seq", BigInteger),
    *(column(name, String) for name in ("annotator", "label", "criterion")),
    column("details", Text),
    *(column(name, UtcTime) for name in ("created_at", "replaced_at")),
)


async def current_on(session: AsyncSession, pair_seqs: Sequence[int]) -> list[Row[Any]]:
    """Return the current labels on these pairs, in the order they came."""
    rows: list[Row[Any]] = []
    for start in range(0, len(pair_seqs), IN_CHUNK):
        query = (
            select(
                Label.seq,
                Label.pair_seq,
                Label.annotator,
                Label.label,
                Label.criterion,
                Label.details,
            )
            .where(
                Label.pair_seq.in_(pair_seqs[start : start + IN_CHUNK]),
                Label.replaced_at.is_(None),
            )
            .order_by(Label.seq)
        )
        rows += (await session.execute(query)).all()
    return rows


async def insert_label_rows(session: AsyncSession, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert labels."""
    texts = [{**row, "details": json.dumps(row["details"], separators=(",", ":"))} for row in rows]
    await insert_rows(session, _LABELS, texts)


async def mark_replaced(session: AsyncSession, seqs: Sequence[int], moment: datetime) -> None:
    """Move labels into history."""
    for start in range(0, len(seqs), IN_CHUNK):
        await session.execute(
            update(Label)
            .where(Label.seq.in_(seqs[start : start + IN_CHUNK]))
            .values(replaced_at=moment)
            .execution_options(synchronize_session=False)
        )


async def page_rows(
    session: AsyncSession,
    *,
    dataset_seq: int | None,
    after: int,
    count: int,
    with_history: bool,
) -> Sequence[Row[Label, str, str]]:
    """Return labels behind the number `after`, with the ids of their pair and dataset."""
    query = (
        select(Label, PairRow.id.label("pair"), Dataset.id.label("dataset"))
        .join(PairRow, PairRow.seq == Label.pair_seq)
        .join(Dataset, Dataset.seq == PairRow.dataset_seq)
        .where(Label.seq > after)
        .order_by(Label.seq)
        .limit(count)
    )
    if dataset_seq is not None:
        query = query.where(PairRow.dataset_seq == dataset_seq)
    if not with_history:
        query = query.where(Label.replaced_at.is_(None))
    return (await session.execute(query)).all()
