"""Batches as users see them: found, cancelled, their results."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from app.batches import ending, queries
from app.batches.openai_form import fields_of, unix, with_rejected
from app.batches.table_form import tables_of
from app.batches.totals import calibration_pairs, cost_to_finish, progress, request_counts
from app.batches.work import ALSO_RUNNING
from app.errors import Conflict, NotFound
from app.judgments.promise import Attendance, suspended_because
from app.lookup import by_public_id
from app.models import Batch, Certificate, Dataset
from app.runtime import Runtime


async def cancel(running: Runtime, batch_id: str) -> dict[str, Any]:
    """Stop a batch; what is done is kept. Cancelling a finished batch is a conflict."""
    async with running.db.write() as session:
        found = await require(session, batch_id)
        batch = await queries.by_seq(session, found.seq, locked=True)
        if batch.status not in queries.UNFINISHED:
            raise Conflict(f"batch {batch_id} is already {batch.status}")
        await ending.end(session, batch, "cancelled", running.now())
        batch.cancelled_at = running.now()
    return await find(running, batch_id)


async def find(running: Runtime, batch_id: str) -> dict[str, Any]:
    """Return a batch as users see it.

    Raises:
        NotFound: no batch has this id.
    """
    async with running.db.read() as session:
        return await show(session, await require(session, batch_id), running.now())


async def require(session: AsyncSession, batch_id: str) -> Batch:
    """Return a batch.

    Raises:
        NotFound: no batch has this id.
    """
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
    return verdicts_of(running, await ended(running, batch_id))


async def ended(running: Runtime, batch_id: str) -> Batch:
    """Return a batch that has ended.

    Raises:
        NotFound: no batch has this id.
        Conflict: the batch still runs, so what its verdicts promise is not known yet; or its
            verdicts are files.
    """
    async with running.db.read() as session:
        batch = await require(session, batch_id)
    if batch.status in queries.UNFINISHED:
        raise Conflict(
            f"batch {batch_id} is {batch.status}: results come when it has ended",
            headers={"Retry-After": "1"},
        )
    if (tables := tables_of(batch)) is not None:
        raise Conflict(f"the verdicts of batch {batch_id} are files: they lie in {tables.output}")
    return batch


async def verdicts_of(
    running: Runtime, batch: Batch, statuses: Sequence[str] | None = None
) -> AsyncIterator[dict[str, Any]]:
    """Yield a batch's verdicts, or those of these statuses, in the order of the dataset."""
    async with running.db.read() as session:
        promise = _promise_now(batch, await _certificate(session, batch))
        async for verdict in queries.verdicts(session, batch.seq, statuses):
            yield {**verdict.body, "promise": promise}


async def _certificate(session: AsyncSession, batch: Batch) -> Certificate | None:
    return await session.get(Certificate, batch.certificate_seq) if batch.certificate_seq else None


def _promise_now(batch: Batch, certificate: Certificate | None) -> str:
    """A revoked certificate promises nothing any more, of what was judged before either."""
    is_revoked = certificate is not None and certificate.revoked_at is not None
    return "none" if is_revoked else batch.promise


async def show(session: AsyncSession, batch: Batch, moment: datetime) -> dict[str, Any]:
    """Return a batch as users see it at this moment."""
    certificate = await _certificate(session, batch)
    is_running = batch.status in queries.UNFINISHED
    counts = with_rejected(request_counts(batch), batch)
    return {
        "id": batch.id,
        "object": "batch",
        "endpoint": "/v1/judgments",
        "status": batch.status,
        "dataset": (await session.get_one(Dataset, batch.dataset_seq)).id,
        "calibration": certificate.id if certificate else None,
        "cascade": batch.request["cascade"],
        "part": batch.request["part"],
        "request_counts": counts,
        "shards": batch.totals.get("shards", {}),
        "calibration_pairs": calibration_pairs(batch),
        "also_running": batch.request.get(ALSO_RUNNING, []),
        **_promises(batch, certificate),
        "cost_usd": batch.totals.get("cost_usd", 0.0),
        **_money(batch),
        "progress": progress(batch, moment.timestamp(), is_running=is_running),
        "error": batch.error,
        "created_at": unix(batch.created_at),
        "in_progress_at": unix(batch.in_progress_at),
        "expires_at": unix(batch.expires_at),
        **fields_of(batch, counts),
        **_folders(batch),
    }


def _promises(batch: Batch, certificate: Certificate | None) -> dict[str, Any]:
    """What the verdicts promise: of a batch that runs, what they would if it ended as it goes."""
    promise, why = _promise_now(batch, certificate), batch.suspended_because
    if certificate is not None and promise == "certified" and batch.status in queries.UNFINISHED:
        seen = Attendance.from_json(batch.totals.get("attendance", {}))
        why = suspended_because(certificate.body["calibration"]["failures"], seen)
        promise = "suspended" if why else promise
    return {"promise": promise, "suspended_because": why}


def _folders(batch: Batch) -> dict[str, Any]:
    tables = tables_of(batch)
    return {"output": tables.output, "input_files": len(tables.files)} if tables else {}


def _money(batch: Batch) -> dict[str, Any]:
    """What a budget allows and what is left to pay; `spent_usd` counts what is under way, too."""
    has_budget = batch.budget_usd is not None
    return {
        "budget_usd": batch.budget_usd,
        "budget": batch.budget_mode,
        "spent_usd": batch.spent_usd if has_budget else None,
        "reserved_usd": batch.reserved_usd if has_budget else None,
        "cost_to_finish_usd": cost_to_finish(batch),
        "next_pair_usd": batch.totals.get("next_pair_usd") if has_budget else None,
    }
