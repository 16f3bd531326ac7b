"""Stored batches as users see them; to look at them loads no statistics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncSession

from app.batches import queries
from app.batches.files.derived import errors_id, output_id
from app.batches.parquet.files import tables_of
from app.batches.totals import (
    ALSO_RUNNING,
    added,
    calibration_pairs,
    cost_of,
    cost_to_finish,
    progress,
    request_counts,
)
from app.calibrations.stored import why_not_promised
from app.core.db import Stores
from app.core.lists import Page, Paging, page_of, required
from app.core.models import Batch, CalibrationRow, Dataset, ProviderFile
from app.judgments.in_words import promised_in_words
from app.judgments.promise import AnswerCounts, suspended_because

# where a stored request keeps the form of OpenAI's clients
FORM: Final = "openai"
_MOST_RUNNING: Final = 100


async def find(running: Stores, batch_id: str) -> dict[str, Any]:
    """Return a batch as users see it.

    Raises:
        NotFound: unknown id.
    """
    async with running.db.read() as session:
        [found] = await show(session, [await require(session, batch_id)], running.now())
        return found


async def require(session: AsyncSession, batch_id: str) -> Batch:
    """Return a batch.

    Raises:
        NotFound: unknown id.
    """
    return await required(session, Batch, batch_id, "batch")


async def totals_now(session: AsyncSession, seqs: Sequence[int]) -> dict[int, dict[str, Any]]:
    """Return the sums of batches with what their shards under way have come to."""
    found: dict[int, dict[str, Any]] = {}
    for seq, totals, so_far in await queries.sums(session, seqs):
        sums = found.setdefault(seq, totals)
        found[seq] = sums if so_far is None else added(sums, so_far)
    return found


async def certificate_of(session: AsyncSession, batch: Batch) -> CalibrationRow | None:
    """Return the certificate that a batch is judged under."""
    return (
        await session.get(CalibrationRow, batch.certificate_seq) if batch.certificate_seq else None
    )


def promise_now(batch: Batch, certificate: CalibrationRow | None) -> str:
    """Return what verdicts promise now: a revoked certificate promises nothing, also of old ones."""
    is_revoked = certificate is not None and certificate.revoked_at is not None
    return "none" if is_revoked else batch.promise


async def page(running: Stores, paging: Paging) -> Page:
    """Return one page of batches as users see them."""
    async with running.db.read() as session:
        rows = await queries.page(session, paging)
        bodies = await show(session, rows[: paging.limit], running.now())
    shown = {body["id"]: body for body in bodies}
    return page_of(rows, paging.limit, lambda row: shown[row.id])


async def unfinished(running: Stores) -> list[dict[str, Any]]:
    """Return the batches that run, as users see them; of very many the latest."""
    async with running.db.read() as session:
        rows = await queries.running(session, _MOST_RUNNING)
        return await show(session, rows, running.now())


async def show(
    session: AsyncSession, batches: Sequence[Batch], moment: datetime
) -> list[dict[str, Any]]:
    """Return batches as users see them at this moment."""
    seqs = [batch.seq for batch in batches if batch.status in queries.UNFINISHED]
    now = await totals_now(session, seqs) if seqs else {}
    files = await queries.provider_files(session, [batch.seq for batch in batches])
    shown = [await _show(session, one, now.get(one.seq, one.totals), moment) for one in batches]
    for batch, body in zip(batches, shown, strict=True):
        if batch.seq in files:
            body["progress"]["at_providers"] = [_at_provider(file) for file in files[batch.seq]]
    return shown


def _at_provider(file: ProviderFile) -> dict[str, Any]:
    return {
        "judge": file.judge,
        "id": file.provider_id,
        "status": file.status or ("queued" if file.state != "ended" else "not_sent"),
        "questions": file.lines,
        "answered": file.answered,
        "left_out": file.left_out,
        "error": file.error,
        "created_at": unix(file.created_at),
        "ended_at": unix(file.ended_at),
    }


async def _show(
    session: AsyncSession, batch: Batch, totals: Mapping[str, Any], moment: datetime
) -> dict[str, Any]:
    certificate = await certificate_of(session, batch)
    is_running = batch.status in queries.UNFINISHED
    counts = with_rejected(request_counts(batch.total, totals), batch)
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
        "shards": totals.get("shards", {}),
        "calibration_pairs": calibration_pairs(batch, totals),
        "also_running": batch.request.get(ALSO_RUNNING, []),
        **_promises(batch, totals, certificate, moment),
        **cost_of(totals),
        **_money(batch, totals),
        "progress": progress(batch.total, totals, moment.timestamp(), is_running=is_running),
        "error": batch.error,
        "created_at": unix(batch.created_at),
        "in_progress_at": unix(batch.in_progress_at),
        "expires_at": unix(batch.expires_at),
        **fields_of(batch, counts),
        **_folders(batch),
    }


def _promises(
    batch: Batch, totals: Mapping[str, Any], certificate: CalibrationRow | None, moment: datetime
) -> dict[str, Any]:
    """Return what the verdicts promise; while a batch runs, what they would if it ended like this."""
    promise, why = promise_now(batch, certificate), batch.suspended_because
    if certificate is not None and promise == "certified" and batch.status in queries.UNFINISHED:
        seen = AnswerCounts.from_json(totals.get("attendance", {}))
        why = why_not_promised(certificate, moment) or suspended_because(
            certificate.body["calibration"]["failures"], seen
        )
        promise = "suspended" if why else promise
    promised = batch.total - calibration_pairs(batch, totals) if promise == "certified" else 0
    return {
        "promise": promise,
        "promised_pairs": promised,
        "promise_note": _note(batch, certificate, promise, promised),
        "suspended_because": why,
    }


def _note(
    batch: Batch, certificate: CalibrationRow | None, promise: str, promised: int
) -> str | None:
    """Say why the promise of a certificate applies to some of the pairs alone, or to none."""
    if promise == "certified":
        return promised_in_words(batch.total, promised)
    if certificate is not None and certificate.body.get("method") == "average":
        return (
            "a certificate by the method average bounds a mean over its own pool, and promises nothing of "
            "other pairs"
        )
    return None


def _folders(batch: Batch) -> dict[str, Any]:
    tables = tables_of(batch)
    return {"output": tables.output, "input_files": len(tables.files)} if tables else {}


def _money(batch: Batch, totals: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a budget allows and what is left to pay; `spent_usd` includes calls under way."""
    has_budget = batch.budget_usd is not None
    return {
        "budget_usd": batch.budget_usd,
        "budget": batch.budget_mode,
        "spent_usd": batch.spent_usd if has_budget else None,
        "reserved_usd": batch.reserved_usd if has_budget else None,
        "cost_to_finish_usd": cost_to_finish(batch.total, totals),
        "next_pair_usd": totals.get("next_pair_usd") if has_budget else None,
    }


def rejected_lines(batch: Batch) -> int:
    """Return how many lines of the batch's file were rejected; 0 without a file."""
    return int(_form(batch).get("rejected", 0))


def with_rejected(counts: Mapping[str, int], batch: Batch) -> dict[str, int]:
    """Return the counts of a batch, with the rejected lines of its file."""
    rejected = rejected_lines(batch)
    return {
        **counts,
        "total": counts["total"] + rejected,
        "failed": counts["failed"] + rejected,
    }


def fields_of(batch: Batch, counts: Mapping[str, int]) -> dict[str, Any]:
    """Return the fields of a batch that OpenAI clients know; `counts` include the rejected lines."""
    form = _form(batch)
    ended = None if batch.status in queries.UNFINISHED else unix(batch.completed_at)
    lifetime = batch.expires_at - batch.created_at
    has_errors = counts["completed"] < counts["total"]
    return {
        "input_file_id": form.get("input_file_id"),
        "completion_window": form.get("completion_window") or _shown_window(lifetime),
        "metadata": form.get("metadata"),
        "errors": _errors(batch),
        "output_file_id": None if ended is None else output_id(batch.id),
        "error_file_id": errors_id(batch.id) if ended is not None and has_errors else None,
        "finalizing_at": ended if batch.status == "completed" else None,
        "completed_at": ended if batch.status == "completed" else None,
        "failed_at": ended if batch.status == "failed" else None,
        "expired_at": ended if batch.status == "expired" else None,
        "cancelling_at": unix(batch.cancelled_at),
        "cancelled_at": unix(batch.cancelled_at),
    }


def _form(batch: Batch) -> Mapping[str, Any]:
    form: Mapping[str, Any] = batch.request.get(FORM) or {}
    return form


def _errors(batch: Batch) -> dict[str, Any] | None:
    if batch.error is None:
        return None
    one = {"code": "shard_failed", "message": batch.error, "param": None, "line": None}
    data: Sequence[Mapping[str, Any]] = [one]
    return {"object": "list", "data": data}


def _shown_window(lifetime: timedelta) -> str:
    hours, rest = divmod(lifetime, timedelta(hours=1))
    return f"{hours}h" if not rest else f"{lifetime // timedelta(minutes=1)}m"


def unix(moment: datetime | None) -> int | None:
    """Return a moment in whole seconds since 1970."""
    return None if moment is None else int(moment.timestamp())
