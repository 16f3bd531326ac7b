"""Batches: cut into shards, judged by workers, finished by whoever finishes the last shard."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from app import cascades, metrics
from app.batches import queries
from app.batches.cutting import shards_of
from app.batches.schemas import BatchIn
from app.batches.totals import cost_of, request_counts
from app.calibrations.known_pairs import known_pairs
from app.datasets import service as datasets
from app.datasets.service import PairKey
from app.errors import Conflict, NotFound, Unprocessable
from app.judgments.authority import Authority, authority_of
from app.judgments.promise import Attendance, suspended_because
from app.judgments.service import promise_of
from app.lookup import by_public_id
from app.models import Batch, Certificate, Dataset, Shard, new_id
from app.parts import Membership, membership
from app.runtime import Runtime
from judges.registry import Registry

_LIFETIME = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Work:
    """What a worker needs to judge a shard of a batch."""

    batch: Batch
    dataset: Dataset
    authority: Authority
    member: Membership | None

    def holds(self, key: PairKey) -> bool:
        """Whether the batch covers this pair."""
        return self.member is None or self.member.holds(key.group)


# what a stored request has besides the fields of the request
_NO_FIELDS = ("threshold", "calibration_pairs")


async def create(running: Runtime, request: BatchIn) -> dict[str, Any]:
    """Store a batch and its shards; workers take them from there.

    Raises:
        NotFound: no such dataset or certificate.
        Conflict: the certificate does not apply.
        Unprocessable: there is nothing to judge, or a judge is unknown.
    """
    async with running.db.read() as session:
        dataset = await datasets.find_dataset(session, request.dataset)
        authority = await _authority(session, running.registry, dataset, request)
        keys = await datasets.pair_keys(session, dataset)
    member = membership(request.part, {key.group for key in keys}) if request.part else None
    chosen = [
        key
        for key in keys
        if key.content_hash is not None and (member is None or member.holds(key.group))
    ]
    if not chosen:
        raise Unprocessable.field(["dataset"], "it has no pairs with texts to judge in this part")
    known = 0
    if authority.certificate is not None:
        async with running.db.read() as session:
            seq = authority.certificate.seq
            known = sum(await known_pairs(session, seq, dataset, chosen))
    moment = running.now()
    batch = Batch(
        id=new_id("batch"),
        status="in_progress",
        dataset_seq=dataset.seq,
        certificate_seq=authority.certificate.seq if authority.certificate else None,
        request=_request(request, member, known),
        total=len(chosen),
        promise=promise_of(authority, None),
        suspended_because=None,
        error=None,
        created_at=moment,
        in_progress_at=moment,
        completed_at=None,
        cancelled_at=None,
        expires_at=moment + _LIFETIME,
    )
    async with running.db.write() as session:
        await datasets.lock(session, [dataset])
        session.add(batch)
        await session.flush()
        await queries.add_shards(session, shards_of(batch.seq, chosen, running.settings.shard_size))
    running.wake_workers.set()
    return await find(running, batch.id)


def _request(request: BatchIn, member: Membership | None, known: int) -> dict[str, Any]:
    body = request.model_dump(mode="json", exclude={"budget_usd"})
    body["threshold"] = member.threshold if member else None
    body["calibration_pairs"] = known
    return body


async def work_of(session: AsyncSession, registry: Registry, batch_seq: int) -> Work:
    """Return what a worker needs for a shard of this batch."""
    batch = await queries.by_seq(session, batch_seq)
    dataset = await session.get_one(Dataset, batch.dataset_seq)
    request = BatchIn.model_validate(
        {k: v for k, v in batch.request.items() if k not in _NO_FIELDS}
    )
    authority = await _authority(session, registry, dataset, request)
    member = None
    if request.part is not None:
        member = Membership(request.part.seed, request.part.side, batch.request["threshold"])
    return Work(batch, dataset, authority, member)


async def _authority(
    session: AsyncSession, registry: Registry, dataset: Dataset, request: BatchIn
) -> Authority:
    if request.calibration is not None:
        return await authority_of(session, registry, request.calibration, [])
    cascade = request.cascade or "default"
    given = cascade if isinstance(cascade, str) else cascade.judges
    names = cascades.judge_names(registry, given)
    judges = await cascades.judges_for(session, registry, dataset, names)
    thresholds = registry.thresholds.get(cascade) if isinstance(cascade, str) else None
    return await authority_of(session, registry, None, judges, thresholds)


async def lock(session: AsyncSession, batch_seq: int) -> None:
    """Let the shards of one batch finish one after the other, so that one of them is the last."""
    await queries.by_seq(session, batch_seq, locked=True)


async def finalise_if_done(session: AsyncSession, batch_seq: int, moment: datetime) -> None:
    """Complete a batch that has no shard left to do; the caller holds its lock."""
    if await queries.count_open_shards(session, batch_seq):
        return
    batch = await queries.by_seq(session, batch_seq)
    shards = await queries.shards(session, batch_seq)
    has_results = any(shard.state == "done" for shard in shards)
    batch.status = "completed" if has_results else "failed"
    batch.completed_at = moment
    batch.error = next((shard.error for shard in shards if shard.state == "failed"), None)
    await _settle_promise(session, batch, shards)


async def _settle_promise(session: AsyncSession, batch: Batch, shards: Sequence[Shard]) -> None:
    await _hold_against_calibration(session, batch, shards)
    metrics.batches_total.labels(status=batch.status, promise=batch.promise).inc()


async def _hold_against_calibration(
    session: AsyncSession, batch: Batch, shards: Sequence[Shard]
) -> None:
    """Suspend a run as a whole where a judge failed more often, or less, than in calibration."""
    if batch.promise != "certified" or batch.certificate_seq is None:
        return
    certificate = await session.get_one(Certificate, batch.certificate_seq)
    seen = Attendance.of([])
    for shard in shards:
        seen = seen.plus(Attendance.from_json(shard.counts.get("attendance", {})))
    why = suspended_because(certificate.body["calibration"]["failures"], seen)
    if why is not None:
        batch.promise, batch.suspended_because = "suspended", why
        await queries.set_promise(session, batch.seq, "suspended")


async def expire_overdue(session: AsyncSession, moment: datetime) -> None:
    """End the batches whose time is up; they keep what is done."""
    for batch in await queries.overdue(session, moment):
        await _end(session, batch, "expired", moment)


async def cancel(running: Runtime, batch_id: str) -> dict[str, Any]:
    """Stop a batch; what is done is kept. Cancelling a finished batch is a conflict."""
    async with running.db.write() as session:
        found = await _require(session, batch_id)
        batch = await queries.by_seq(session, found.seq, locked=True)
        if batch.status not in queries.UNFINISHED:
            raise Conflict(f"batch {batch_id} is already {batch.status}")
        await _end(session, batch, "cancelled", running.now())
        batch.cancelled_at = running.now()
    return await find(running, batch_id)


async def _end(session: AsyncSession, batch: Batch, status: str, moment: datetime) -> None:
    await queries.cancel_shards(session, batch.seq)
    batch.status, batch.completed_at = status, moment
    await _settle_promise(session, batch, await queries.shards(session, batch.seq))


async def find(running: Runtime, batch_id: str) -> dict[str, Any]:
    """Return a batch as users see it.

    Raises:
        NotFound: no batch has this id.
    """
    async with running.db.read() as session:
        return await show(session, await _require(session, batch_id))


async def _require(session: AsyncSession, batch_id: str) -> Batch:
    batch = await by_public_id(session, Batch, batch_id)
    if batch is None:
        raise NotFound(f"there is no batch {batch_id!r}")
    return batch


async def suspension(
    session: AsyncSession, dataset: Dataset, certificate: Certificate
) -> tuple[str, str] | None:
    """Return id and reason of the latest batch over a dataset if its promise was suspended."""
    batch = await queries.last_ended(session, dataset.seq, certificate.seq)
    if batch is None or batch.promise != "suspended":
        return None
    return batch.id, batch.suspended_because or "its promise is suspended"


async def results(running: Runtime, batch_id: str) -> AsyncIterator[dict[str, Any]]:
    """Return an ended batch's verdicts, in the order of the dataset.

    Raises:
        NotFound: no batch has this id.
        Conflict: the batch still runs, so what its verdicts promise is not known yet.
    """
    async with running.db.read() as session:
        batch = await _require(session, batch_id)
    if batch.status in queries.UNFINISHED:
        raise Conflict(
            f"batch {batch_id} is {batch.status}: results come when it has ended",
            headers={"Retry-After": "1"},
        )
    return _stream(running, batch)


async def _stream(running: Runtime, batch: Batch) -> AsyncIterator[dict[str, Any]]:
    async with running.db.read() as session:
        promise = _promise_now(batch, await _certificate(session, batch))
        async for verdict in queries.verdicts(session, batch.seq):
            yield {**verdict.body, "promise": promise}


async def _certificate(session: AsyncSession, batch: Batch) -> Certificate | None:
    return await session.get(Certificate, batch.certificate_seq) if batch.certificate_seq else None


def _promise_now(batch: Batch, certificate: Certificate | None) -> str:
    """A revoked certificate promises nothing any more, of what was judged before either."""
    is_revoked = certificate is not None and certificate.revoked_at is not None
    return "none" if is_revoked else batch.promise


async def show(session: AsyncSession, batch: Batch) -> dict[str, Any]:
    """Return a batch as users see it, counts and money summed over its shards."""
    shards = await queries.shards(session, batch.seq)
    certificate = await _certificate(session, batch)
    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": "/v1/judgments",
        "status": batch.status,
        "dataset": (await session.get_one(Dataset, batch.dataset_seq)).id,
        "calibration": certificate.id if certificate else None,
        "cascade": batch.request["cascade"],
        "part": batch.request["part"],
        "request_counts": request_counts(batch, shards),
        "shards": Counter(shard.state for shard in shards),
        "calibration_pairs": batch.request.get("calibration_pairs", 0),
        "promise": _promise_now(batch, certificate),
        "suspended_because": batch.suspended_because,
        "cost_usd": cost_of(shards),
        "budget_usd": None,
        "error": batch.error,
        "created_at": _unix(batch.created_at),
        "in_progress_at": _unix(batch.in_progress_at),
        "completed_at": _unix(batch.completed_at),
        "cancelled_at": _unix(batch.cancelled_at),
        "expires_at": _unix(batch.expires_at),
        "output_file_id": None,
        "error_file_id": None,
    }


def _unix(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp())
