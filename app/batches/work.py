"""What a worker needs to judge a shard: the batch, the thresholds in force, and the pairs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from sqlalchemy.ext.asyncio import AsyncSession

from app.batches import queries
from app.batches.admission import positions_admitted
from app.batches.parquet.files import TABLES
from app.batches.schemas import BatchIn
from app.batches.stored import FORM
from app.batches.totals import ALSO_RUNNING, CALIBRATION_PAIRS
from app.calibrations.service import KnownPairs
from app.core.errors import Conflict
from app.core.models import Batch, Dataset, Shard
from app.datasets import service as datasets
from app.datasets.records import PairKey
from app.datasets.splits import Membership
from app.judgments.authority import Authority, resolve_for, without_promise
from app.scores import judges as cascades
from app.scores.store import is_recorded
from judges.registry import Registry
from judges.types import Pair

# what is stored with a request beside its own fields
FINGERPRINTS: Final = "fingerprints"
THRESHOLDS: Final = "thresholds"
_NO_FIELDS: Final = (
    "threshold", CALIBRATION_PAIRS, ALSO_RUNNING, FORM, TABLES, FINGERPRINTS, THRESHOLDS,
)  # fmt: skip


class Item(NamedTuple):
    """A pair of a shard; a certificate that knows it promises nothing about it."""

    key: PairKey
    pair: Pair
    is_known: bool


@dataclass(frozen=True, slots=True)
class Work:
    """Everything that a worker needs to judge a shard of a batch."""

    batch: Batch
    dataset: Dataset
    authority: Authority
    member: Membership | None
    known: KnownPairs | None

    def holds(self, key: PairKey) -> bool:
        """Say whether the batch covers this pair."""
        return self.member is None or self.member.holds(key.group)

    def is_known(self, key: PairKey) -> bool:
        """Say whether the certificate knows this pair, so that it promises nothing about it."""
        return self.known is not None and self.known.holds(key)

    async def items(self, session: AsyncSession, shard: Shard) -> list[Item]:
        """Return the pairs of a shard in the order of admission."""
        positions = self.positions(shard)
        has_records = any(is_recorded(tier.judge.spec) for tier in self.authority.tiers)
        stored = await datasets.read_pairs(
            session, self.dataset, positions=positions, with_recorded=has_records
        )
        held = [Item(key, pair, self.is_known(key)) for key, pair in stored if self.holds(key)]
        if isinstance(positions, tuple):
            return held
        place = {position: number for number, position in enumerate(positions)}
        return sorted(held, key=lambda item: place[item.key.position])

    def positions(self, shard: Shard) -> tuple[int, int] | Sequence[int]:
        """Return the positions of a shard's pairs: a range, or all of them in the order of admission."""
        return positions_of(self.batch, self.dataset, shard)


def positions_of(batch: Batch, dataset: Dataset, shard: Shard) -> tuple[int, int] | Sequence[int]:
    """Return the positions that a shard covers: a range, or all in the order of admission."""
    if batch.seed is None:
        return (shard.first, shard.last)
    admitted = positions_admitted(batch.seed, dataset.pairs, shard.first, shard.last)
    return [int(position) for position in admitted]


async def work_of(session: AsyncSession, registry: Registry, batch_seq: int) -> Work:
    """Return what a worker needs for a shard of this batch.

    Raises:
        Conflict: the certificate does not apply any more, or a judge has changed.
    """
    batch = await queries.by_seq(session, batch_seq)
    dataset = await session.get_one(Dataset, batch.dataset_seq)
    authority = await _authority_again(session, registry, dataset, batch)
    known = await _known(session, batch, dataset, authority)
    return Work(batch, dataset, authority, membership_of(batch), known)


async def _known(
    session: AsyncSession, batch: Batch, dataset: Dataset, authority: Authority
) -> KnownPairs | None:
    """Return what the certificate knows, None if it knows no pair of the batch."""
    counted = batch.request.get(CALIBRATION_PAIRS)
    if authority.certificate is None or counted == 0:
        return None
    judges = [tier.judge for tier in authority.tiers]
    return await KnownPairs.of(session, authority.certificate.seq, dataset, judges)


def membership_of(batch: Batch) -> Membership | None:
    """Return which groups a batch covers, None for all."""
    part = batch.request["part"]
    if part is None:
        return None
    return Membership(part["seed"], part["side"], batch.request["threshold"])


async def _authority_again(
    session: AsyncSession, registry: Registry, dataset: Dataset, batch: Batch
) -> Authority:
    """Return the authority that a batch was made with."""
    request = BatchIn.model_validate(
        {k: v for k, v in batch.request.items() if k not in _NO_FIELDS}
    )
    if request.calibration is not None or FINGERPRINTS not in batch.request:
        return await resolve_for(session, registry, request, dataset)
    fingerprints = batch.request[FINGERPRINTS]
    if changed := cascades.changed_fingerprints(registry, fingerprints):
        said = cascades.changes_in_words(changed)
        raise Conflict(f"{said} since the batch was made: make a new one")
    judges = cascades.judges_of_certificate(registry, fingerprints)
    return without_promise(judges, batch.request[THRESHOLDS])


def settled(
    request: BatchIn,
    authority: Authority,
    member: Membership | None,
    calibration_pairs: int | None,
) -> dict[str, Any]:
    """Return a request as it is stored: with everything that is fixed while the batch runs."""
    return {
        **request.model_dump(mode="json", exclude={"budget_usd", "budget", "seed"}),
        "threshold": member.threshold if member else None,
        CALIBRATION_PAIRS: calibration_pairs,
        FINGERPRINTS: {t.judge.spec.name: t.judge.spec.fingerprint for t in authority.tiers},
        THRESHOLDS: [tier.threshold for tier in authority.tiers],
    }
