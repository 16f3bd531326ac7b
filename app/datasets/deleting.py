"""Deletes a dataset with the certificates and batches that depend on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import ColumnElement, delete, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.errors import Conflict
from app.core.models import Batch, CalibrationRow, Dataset
from app.core.names import shown
from app.datasets import service as datasets


async def open_batches(session: AsyncSession, dataset_seq: int) -> list[str]:
    """Return the ids of the batches that still run on a dataset or under its certificates."""
    query = select(Batch.id).where(_batches_of(dataset_seq), Batch.completed_at.is_(None))
    return list(await session.scalars(query.order_by(Batch.seq)))


async def certificates_of(session: AsyncSession, dataset_seq: int) -> list[str]:
    """Return the ids of the certificates that rest on a dataset, unfinished ones included."""
    query = select(CalibrationRow.id).where(
        CalibrationRow.dataset_seq == dataset_seq, CalibrationRow.status != "failed"
    )
    return list(await session.scalars(query.order_by(CalibrationRow.seq)))


async def delete_rows(session: AsyncSession, dataset_seq: int) -> None:
    """Delete a dataset with everything that depends on it.

    Its batches come first, in the order in which workers lock what they need.
    """
    query = select(Batch.seq).where(_batches_of(dataset_seq)).order_by(Batch.seq).with_for_update()
    await session.execute(query)
    await session.execute(delete(Dataset).where(Dataset.seq == dataset_seq))


def _batches_of(dataset_seq: int) -> ColumnElement[bool]:
    own = select(CalibrationRow.seq).where(CalibrationRow.dataset_seq == dataset_seq)
    return or_(Batch.dataset_seq == dataset_seq, Batch.certificate_seq.in_(own))


_MOST_NAMED: Final = 5


async def delete_dataset(session: AsyncSession, dataset: Dataset, *, force: bool = False) -> None:
    """Delete a dataset with everything that depends on it.

    Raises:
        Conflict: a batch still runs on it, or certificates rest on it and `force` is not set; the
            message names them.
    """
    await datasets.lock(session, [dataset])
    batches = await open_batches(session, dataset.seq)
    if batches:
        raise Conflict(
            f"{shown(dataset.name)} is in use by {_some(batches)}: wait until that ends, or cancel it",
            extra={"batches": batches},
        )
    certificates = [] if force else await certificates_of(session, dataset.seq)
    if certificates:
        raise Conflict(
            f"{_some(certificates)} rest on the labels of {shown(dataset.name)} and would be deleted "
            "with it, and so would all verdicts given under them; to delete them all add force=true "
            "(--force)",
            extra={"calibrations": certificates},
        )
    await delete_rows(session, dataset.seq)


def _some(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - _MOST_NAMED} more" if len(ids) > _MOST_NAMED else ""
    return ", ".join(ids[:_MOST_NAMED]) + more
