"""Every SQL statement about what hangs on a dataset and goes with it."""

from __future__ import annotations

from sqlalchemy import ColumnElement, delete, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.models import Batch, Certificate, Dataset


async def open_batches(session: AsyncSession, dataset_seq: int) -> list[str]:
    """Return the ids of the batches that still run on a dataset or under its certificates."""
    query = select(Batch.id).where(_batches_of(dataset_seq), Batch.completed_at.is_(None))
    return list(await session.scalars(query.order_by(Batch.seq)))


async def certificates_of(session: AsyncSession, dataset_seq: int) -> list[str]:
    """Return the ids of the certificates that rest on a dataset, those in the making included."""
    query = select(Certificate.id).where(
        Certificate.dataset_seq == dataset_seq, Certificate.status != "failed"
    )
    return list(await session.scalars(query.order_by(Certificate.seq)))


async def delete_rows(session: AsyncSession, dataset_seq: int) -> None:
    """Delete a dataset with all that hangs on it.

    Its batches come first, in the order in which workers lock what they need.
    """
    query = select(Batch.seq).where(_batches_of(dataset_seq)).order_by(Batch.seq).with_for_update()
    await session.execute(query)
    await session.execute(delete(Dataset).where(Dataset.seq == dataset_seq))


def _batches_of(dataset_seq: int) -> ColumnElement[bool]:
    own = select(Certificate.seq).where(Certificate.dataset_seq == dataset_seq)
    return or_(Batch.dataset_seq == dataset_seq, Batch.certificate_seq.in_(own))
