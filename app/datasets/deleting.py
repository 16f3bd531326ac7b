"""Deleting a dataset: not under open work, and what is certified on it only on demand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy.ext.asyncio import AsyncSession

from app.datasets import dependents
from app.datasets import service as datasets
from app.errors import Conflict
from app.identifiers import shown
from app.models import Dataset

_MOST_NAMED: Final = 5


async def delete_dataset(session: AsyncSession, dataset: Dataset, *, force: bool = False) -> None:
    """Delete a dataset with all that hangs on it.

    Raises:
        Conflict: a batch still runs on it, or certificates rest on it and `force` is not set; the
            message names them.
    """
    await datasets.lock(session, [dataset])
    batches = await dependents.open_batches(session, dataset.seq)
    if batches:
        raise Conflict(
            f"{shown(dataset.name)} is at work in {_some(batches)}: wait for its end, or cancel it",
            extra={"batches": batches},
        )
    certificates = [] if force else await dependents.certificates_of(session, dataset.seq)
    if certificates:
        raise Conflict(
            f"{shown(dataset.name)} carries {_some(certificates)}: what is certified on its labels "
            "goes with it, and every verdict given under that; to delete it all, say force=true",
            extra={"calibrations": certificates},
        )
    await dependents.delete_rows(session, dataset.seq)


def _some(ids: Sequence[str]) -> str:
    more = f" and {len(ids) - _MOST_NAMED} more" if len(ids) > _MOST_NAMED else ""
    return ", ".join(ids[:_MOST_NAMED]) + more
