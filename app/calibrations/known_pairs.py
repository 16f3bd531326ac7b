"""Which pairs a certificate knows: its promise is for others."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.ext.asyncio import AsyncSession

from app.calibrations import queries
from app.datasets.service import PairKey
from app.models import Dataset


async def known_pairs(
    session: AsyncSession, certificate_seq: int, dataset: Dataset, keys: Sequence[PairKey]
) -> list[bool]:
    """Mark the pairs that a certificate was made from, and all others of their groups and prompts.

    Args:
        session: A transaction.
        certificate_seq: Which certificate.
        dataset: Whose pairs `keys` are.
        keys: The pairs asked about.
    """
    rows = await queries.certified_on(session, certificate_seq)
    seqs = {row.seq for row in rows}
    groups = {row.group for row in rows if row.dataset_seq == dataset.seq}
    prompts = {row.prompt_hash for row in rows} - {None}
    return [key.seq in seqs or key.group in groups or key.prompt_hash in prompts for key in keys]
