"""Finds, shows, cancels and ends batches."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncSession

from app.batches import queries
from app.batches.parquet.files import tables_of
from app.batches.stored import certificate_of, find, promise_now, require, totals_now
from app.batches.totals import (
    Mark,
    added,
    done,
    is_to_mark,
    marked,
    moved,
    spent_of,
    with_cut_off,
)
from app.calibrations.stored import why_not_promised
from app.core import telemetry
from app.core.db import Database
from app.core.errors import Conflict
from app.core.models import Batch, CalibrationRow, Dataset, Shard
from app.core.runtime import Runtime
from app.datasets.records import pair_from_row
from app.imports.exporting import texts_of
from app.judgments.promise import AnswerCounts, suspended_because
from app.judgments.reasons import reason_body, reasons_of

_MOST_RUNNING: Final = 100


async def shard_done(
    session: AsyncSession,
    batch: Batch,
    counts: Mapping[str, Any],
    moment: datetime,
    started_at: datetime | None = None,
) -> None:
    """Add a completed shard to its batch; the caller holds the lock of the batch.

    Args:
        session: The transaction in which the shard is completed.
        batch: Its batch.
        counts: What it has come to.
        moment: Now.
        started_at: When this attempt at it began.
    """
    batch.totals = moved(added(batch.totals, counts), "todo", "done")
    await session.flush()
    await _mark(session, batch, counts, started_at or moment, moment)
    await _one_less(session, batch, moment)


async def mark(
    session: AsyncSession,
    batch_seq: int,
    so_far: Mapping[str, Any],
    started_at: datetime,
    moment: datetime,
) -> None:
    """Note how far a batch is, from which its speed follows.

    Waits for no one: another worker that has the batch now notes it, too.

    Args:
        session: The transaction that stored `so_far`.
        batch_seq: Number of the batch.
        so_far: What a shard of it has come to.
        started_at: When this attempt at the shard began.
        moment: Now.
    """
    batch = await queries.locked_if_free(session, batch_seq)
    if batch is not None and batch.status in queries.UNFINISHED:
        await _mark(session, batch, so_far, started_at, moment)


async def _mark(
    session: AsyncSession,
    batch: Batch,
    own: Mapping[str, Any],
    started_at: datetime,
    moment: datetime,
) -> None:
    if is_to_mark(batch.totals, moment.timestamp()):
        judged = done((await totals_now(session, [batch.seq]))[batch.seq])
        start = Mark(started_at.timestamp(), judged - done(own))
        batch.totals = marked(batch.totals, Mark(moment.timestamp(), judged), start)


async def shard_set_aside(
    session: AsyncSession, batch: Batch, shard: Shard, error: str, moment: datetime
) -> None:
    """Count the pairs of a shard that was given up as failed; the caller holds the lock of the batch."""
    stored = await queries.shard(session, shard.batch_seq, shard.number)
    _keep_what_was_spent(batch, stored)
    # what its pairs wait for at a provider may have been paid for
    batch.spent_usd += stored.held_usd
    batch.reserved_usd = max(batch.reserved_usd - stored.held_usd, 0.0)
    stored.held_usd, stored.is_waiting = 0.0, False
    aside = batch.totals.get("set_aside", 0) + shard.counts["pairs"]
    batch.totals = {**moved(batch.totals, "todo", "failed"), "set_aside": aside}
    batch.error = batch.error or error
    await _one_less(session, batch, moment)


def _keep_what_was_spent(batch: Batch, shard: Shard) -> None:
    """Count what a shard without verdicts has cost as spent; the money is gone."""
    if shard.so_far is not None or shard.calls:
        spent = with_cut_off(spent_of(shard.so_far or {}), shard.calls or ())
        shard.counts, shard.so_far = {**shard.counts, **spent}, None
        batch.totals = added(batch.totals, spent)


async def _one_less(session: AsyncSession, batch: Batch, moment: datetime) -> None:
    batch.open_shards -= 1
    if batch.open_shards:
        return
    batch.status = "completed" if batch.totals["shards"].get("done") else "failed"
    batch.completed_at = moment
    await _settle_promise(session, batch)


async def expire_overdue(session: AsyncSession, moment: datetime) -> None:
    """End the batches whose time is up; they keep their results.

    What kept a shard from being judged before is the error of its batch.
    """
    for batch in await queries.overdue(session, moment):
        batch.error = batch.error or await queries.error_of_waiting(session, batch.seq)
        await end(session, batch, "expired", moment)


async def end(session: AsyncSession, batch: Batch, status: str, moment: datetime) -> None:
    """End a batch before its last shard is complete; the caller holds its lock.

    Shards that wait for a provider's file are those with pairs that the cheap judges were unsure
    of. Without them the verdicts are not those that the certificate was tested on.
    """
    waiting = await queries.number_waiting(session, batch.seq)
    for shard in await queries.under_way(session, batch.seq):
        _keep_what_was_spent(batch, shard)
    await session.flush()
    await queries.cancel_shards(session, batch.seq)
    left = batch.totals.get("shards", {}).get("todo", 0)
    batch.totals = moved(batch.totals, "todo", "cancelled", left)
    batch.open_shards = 0
    # the reserved money may have been spent on calls under way
    batch.spent_usd += batch.reserved_usd
    batch.reserved_usd = 0.0
    batch.status, batch.completed_at = status, moment
    why = f"{status} while {waiting} of its shards waited for a provider, as those do that ask more judges"
    await _settle_promise(session, batch, why if waiting else None)


async def count_cost_of_cancelled(db: Database, shard: Shard, counts: Mapping[str, Any]) -> None:
    """Count what was spent on a shard that was cancelled while its worker judged it.

    What its checkpoints had stored of it was counted when it was cancelled.
    """
    async with db.write() as session:
        batch = await queries.find_by_seq(session, shard.batch_seq, locked=True)
        if batch is None:
            return
        stored = await queries.shard(session, shard.batch_seq, shard.number)
        lease = ("cancelled", shard.worker, shard.attempts)
        if (stored.state, stored.worker, stored.attempts) != lease:
            return
        batch.totals = added(added(batch.totals, stored.counts, sign=-1), counts)
        stored.counts = {**stored.counts, **counts}


async def _settle_promise(session: AsyncSession, batch: Batch, why: str | None = None) -> None:
    await _hold_against_calibration(session, batch)
    if why is not None and batch.promise == "certified":
        await _suspend(session, batch, why)
    telemetry.batches_total.labels(status=batch.status, promise=batch.promise).inc()


async def _hold_against_calibration(session: AsyncSession, batch: Batch) -> None:
    """Suspend the promise of a batch whose certificate expired, or whose judges failed otherwise."""
    if batch.promise != "certified" or batch.certificate_seq is None:
        return
    certificate = await session.get_one(CalibrationRow, batch.certificate_seq)
    seen = AnswerCounts.from_json(batch.totals.get("attendance", {}))
    standing = batch.completed_at and why_not_promised(certificate, batch.completed_at)
    why = standing or suspended_because(certificate.body["calibration"]["failures"], seen)
    if why is not None:
        await _suspend(session, batch, why)


async def _suspend(session: AsyncSession, batch: Batch, why: str) -> None:
    batch.promise, batch.suspended_because = "suspended", why
    await queries.set_promise(session, batch.seq, "suspended")


async def cancel(running: Runtime, batch_id: str) -> dict[str, Any]:
    """Stop a batch; it keeps its results.

    Raises:
        NotFound: unknown id.
        Conflict: the batch has ended.
    """
    async with running.db.write() as session:
        found = await require(session, batch_id)
        batch = await queries.locked(session, found.seq)
        if batch.status not in queries.UNFINISHED:
            raise Conflict(f"batch {batch_id} is already {batch.status}")
        await end(session, batch, "cancelled", running.now())
        batch.cancelled_at = running.now()
    return await find(running, batch_id)


async def suspension(
    session: AsyncSession, dataset: Dataset, certificate: CalibrationRow
) -> tuple[str, str] | None:
    """Return id and reason of the latest batch over a dataset if its promise was suspended."""
    batch = await queries.last_ended(session, dataset.seq, certificate.seq)
    if batch is None or batch.promise != "suspended":
        return None
    return batch.id, batch.suspended_because or "its promise is suspended"


async def results(
    running: Runtime, batch_id: str, *, texts: bool = False, reasons: bool = False
) -> AsyncIterator[dict[str, Any]]:
    """Return an ended batch's verdicts with models, in the order of the dataset.

    Args:
        running: The service.
        batch_id: Which batch.
        texts: Whether each verdict carries the texts of its pair, too.
        reasons: Whether verdicts carry the reasons that their judges gave.

    Raises:
        Conflict: the batch still runs, so its promise is not settled yet.
    """
    return _results(running, await ended(running, batch_id), texts=texts, reasons=reasons)


async def _results(
    running: Runtime, batch: Batch, *, texts: bool, reasons: bool
) -> AsyncIterator[dict[str, Any]]:
    # no transaction is open between two verdicts: their reader may take any time
    last, promise, has_more = -1, None, True
    while has_more:
        async with running.db.read() as session:
            rows, has_more = await queries.results_after(session, batch.seq, last, texts=texts)
            await refuse_changed(session, batch)
            promise = promise or promise_now(batch, await certificate_of(session, batch))
            explained = {(row.content_hash, row.explained_by) for row in rows if reasons}
            why = await reasons_of(session, explained)
        for row in rows:
            models = {"model_a": row.model_a, "model_b": row.model_b}
            said = texts_of(pair_from_row(row, {})) if texts else {}
            reason = why.get((row.content_hash, row.explained_by))
            more = {} if reason is None else {"reason": reason_body(reason, row.body["label"])}
            yield {**row.body, "promise": promise, **models, **more, **said}
            last = row.position or 0


async def ended(running: Runtime, batch_id: str) -> Batch:
    """Return a batch that has ended.

    Raises:
        NotFound: unknown id.
        Conflict: the batch still runs, so its promise is not settled yet; or its verdicts are
            files.
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
    """Yield an ended batch's verdicts, or those of these statuses, in the order of the dataset.

    No transaction is open between two verdicts: their reader may take any time.

    Raises:
        Conflict: the batch was deleted or taken up again while it was read.
    """
    last, promise = -1, None
    while True:
        async with running.db.read() as session:
            rows = await queries.verdicts_after(session, batch.seq, last, statuses)
            await refuse_changed(session, batch)
            promise = promise or promise_now(batch, await certificate_of(session, batch))
        for verdict in rows:
            yield {**verdict.body, "promise": promise}
        if len(rows) < queries.VERDICTS_AT_ONCE:
            return
        last = rows[-1].position or 0


async def refuse_changed(session: AsyncSession, batch: Batch) -> None:
    """Refuse to go on with an ended batch that is no longer as it was.

    Raises:
        Conflict: it was deleted or taken up again: a part must not be taken for the whole.
    """
    found = await queries.find_by_seq(session, batch.seq)
    as_it_was = (batch.id, batch.status, batch.completed_at)
    if found is None or (found.id, found.status, found.completed_at) != as_it_was:
        raise Conflict(f"batch {batch.id} was deleted or taken up again while it was read")
