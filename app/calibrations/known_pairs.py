"""Which pairs a certificate knows: its promise is for others."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncSession

from app.calibrations import queries
from app.models import Dataset
from judges.base import Judge


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
    async def of(
        cls,
        session: AsyncSession,
        certificate_seq: int,
        dataset: Dataset,
        judges: Iterable[Judge] = (),
    ) -> KnownPairs:
        """Return what a certificate knows of a dataset, and what these judges of it know."""
        rows = await queries.certified_on(session, certificate_seq)
        return cls(
            seqs=frozenset(row.seq for row in rows),
            groups=frozenset(row.group for row in rows if row.dataset_seq == dataset.seq),
            prompts=prompts_of(judges)
            | frozenset(row.prompt_hash for row in rows if row.prompt_hash is not None),
        )

    def holds(self, key: Known) -> bool:
        """Whether the certificate knows a pair of the dataset."""
        return key.seq in self.seqs or key.group in self.groups or key.prompt_hash in self.prompts


async def known_among(
    session: AsyncSession, certificate_seq: int, judges: Iterable[Judge], prompts: Collection[str]
) -> frozenset[str]:
    """Return which of these prompt hashes a certificate or its judges know, in any dataset."""
    certified = await queries.certified_prompts(session, certificate_seq, prompts)
    return certified | prompts_of(judges).intersection(prompts)


def prompts_of(judges: Iterable[Judge]) -> frozenset[str]:
    """Return the hashes of the prompts that judges were trained on, or show as examples."""
    known = [judge.spec.training_prompts | judge.spec.example_prompts for judge in judges]
    return frozenset().union(*known)
