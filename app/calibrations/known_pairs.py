"""Which pairs a certificate knows: its promise is for others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncSession

from app.calibrations import queries
from app.models import Dataset


class Known(Protocol):
    """What of a pair is looked at."""

    @property
    def seq(self) -> int: ...  # noqa: D102
    @property
    def group(self) -> str: ...  # noqa: D102
    @property
    def prompt_hash(self) -> str | None: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class KnownPairs:
    """The pairs that a certificate was made from, and all others of their groups and prompts."""

    seqs: frozenset[int]
    groups: frozenset[str]
    prompts: frozenset[str]

    @classmethod
    async def of(cls, session: AsyncSession, certificate_seq: int, dataset: Dataset) -> KnownPairs:
        """Return what a certificate knows of a dataset."""
        rows = await queries.certified_on(session, certificate_seq)
        return cls(
            seqs=frozenset(row.seq for row in rows),
            groups=frozenset(row.group for row in rows if row.dataset_seq == dataset.seq),
            prompts=frozenset(row.prompt_hash for row in rows if row.prompt_hash is not None),
        )

    def holds(self, key: Known) -> bool:
        """Whether the certificate knows a pair of the dataset."""
        return key.seq in self.seqs or key.group in self.groups or key.prompt_hash in self.prompts
