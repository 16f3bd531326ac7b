"""Finishes datasets: certifies, judges, and lets people label what is left.

A finish is a row with a status. Every step from one status to the next can be repeated: the next
start of the service resumes what was interrupted, even weeks later. What a step makes (a certificate,
a batch, a queue) is stored in the transaction that notes it, so that of several processes one alone
makes it. People label the rows that judges fail on or abstain on; no row is dropped.

The certificate bounds the share of all pairs that judges answer wrongly. It counts the rows that
people label as right, so it holds for the whole dataset.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncSession

from app.batches import creating, retrying
from app.batches.schemas import BatchIn, RetryIn
from app.batches.stored import promise_now, totals_now
from app.bodies.finishes import FinishBody
from app.calibrations import service as calibrations
from app.calibrations.draws import drawing_queues
from app.calibrations.inputs import prepare
from app.core.db import rfc3339
from app.core.errors import Conflict, NotFound, TribunalError, Unprocessable
from app.core.lists import Page, Paging, by_public_id, page_of, required
from app.core.models import UNFINISHED_BATCH, Batch, CalibrationRow, Finish, new_id
from app.core.names import shown
from app.core.outages import outages
from app.core.runtime import Runtime
from app.datasets import service as datasets
from app.datasets import stored_pairs
from app.datasets.records import PairKey, Vote
from app.finishes import queries
from app.finishes.schemas import FinishIn, FinishRetryIn
from app.queues import service as queues
from app.queues.filling import uniformly
from app.queues.schemas import QueueIn
from app.queues.service import NewQueue

_log = logging.getLogger(__name__)
_FIRST_PAUSE: Final = 0.02
_LONGEST_PAUSE: Final = 2.0
_ENDS: Final = ("completed", "not_certifiable", "failed")
_LABELS_TO_BEGIN_WITH: Final = 300
Numbered = Batch | CalibrationRow


async def require(session: AsyncSession, finish_id: str) -> Finish:
    """Return a finish.

    Raises:
        NotFound: none has this id.
    """
    return await required(session, Finish, finish_id, "finish")


async def create(running: Runtime, request: FinishIn) -> FinishBody:
    """Start to finish a dataset.

    Raises:
        NotFound: the dataset is unknown.
        Unprocessable: a judge is unknown, or there are no labels to certify on.
    """
    async with running.db.read() as session:
        dataset = await datasets.find_dataset(session, request.dataset)
    prepared = await prepare(running, request.calibration(dataset.id))
    if request.labels is None and not prepared.sample.keys:
        raise Unprocessable.field(
            ["labels"],
            "no pair has a label that could certify judges: say how many people are to label first, "
            f"such as {_LABELS_TO_BEGIN_WITH}; they are drawn uniformly",
        )
    finish = Finish(
        id=new_id("finish"),
        status="calibrating",
        dataset_seq=dataset.seq,
        certificate_seq=None,
        batch_seq=None,
        queue_seq=None,
        request=request.model_dump(mode="json"),
        error=None,
        created_at=running.now(),
        ended_at=None,
    )
    if request.labels is not None:
        wanted = QueueIn(
            name=f"sample of {finish.id}",
            dataset=dataset.id,
            labels=request.labels,
            unlabelled=True,
            **request.of_people,
        )
        finish.status = "sampling"
    async with running.db.write() as session:
        if request.labels is not None:
            finish.queue_seq = (await queues.create_within(session, wanted, running.now())).seq
        session.add(finish)
    if finish.status == "calibrating":
        _start(running, finish.id)
    return await look(running, finish.id)


async def retry(running: Runtime, finish_id: str, request: FinishRetryIn) -> FinishBody:
    """Continue where judges failed: ask them again, or let people label those rows.

    Raises:
        NotFound: none has this id.
        Conflict: it is not suspended, or no judge failed.
    """
    async with running.db.read() as session:
        finish = await require(session, finish_id)
        _, _, batch, _ = await queries.parts(session, finish)
    if finish.status != "suspended" or batch is None:
        raise Conflict(f"finish {finish.id} is {finish.status}: there is nothing to try again")
    if request.people:
        await _hand_to_people(running, finish, batch)
        return await look(running, finish_id)
    await retrying.retry(running, batch.id, RetryIn())
    async with running.db.write() as session:
        await queries.change(session, finish, "judging", error=None)
    _start(running, finish.id)
    return await look(running, finish_id)


async def look(running: Runtime, finish_id: str) -> FinishBody:
    """Return a finish as it is now; it moves on where people have labelled what it waited for."""
    async with running.db.read() as session:
        finish = await require(session, finish_id)
    await _see_people(running, finish)
    async with running.db.read() as session:
        return await show(session, await require(session, finish_id))


async def list_finishes(running: Runtime, paging: Paging) -> Page:
    """Return one page of finishes."""
    async with running.db.read() as session:
        rows = await queries.page(session, paging)
        bodies = {one.seq: await show(session, one) for one in rows[: paging.limit]}
    return page_of(rows, paging.limit, lambda one: dict(bodies[one.seq]))


async def answers_came(running: Runtime, queue: str) -> None:
    """Continue the finishes that waited for the answers in this queue."""
    async with running.db.read() as session:
        found = await queries.of_queue(session, queue)
    for finish in found:
        await _see_people(running, finish)


async def resume(running: Runtime) -> None:
    """Resume the finishes that an earlier process left."""
    async with running.db.read() as session:
        found = await queries.unfinished(session)
    for finish in found:
        if finish.status == "sampling":
            await _see_people(running, finish)
        else:
            _start(running, finish.id)


async def _see_people(running: Runtime, finish: Finish) -> None:
    """Continue once the sample is labelled, and complete once nothing is left to label."""
    if finish.queue_seq is None or finish.status not in ("sampling", "labelling", "completed"):
        return
    async with running.db.read() as session:
        is_done = await queries.is_done(session, [finish.queue_seq])
    # an answer that is taken back reopens a finish
    if is_done == (finish.status == "completed"):
        return
    if finish.status == "sampling":
        async with running.db.write() as session:
            if not await queries.change(session, finish, "calibrating"):
                return
        _start(running, finish.id)
        return
    status, moment = ("completed", running.now()) if is_done else ("labelling", None)
    async with running.db.write() as session:
        await queries.change(session, finish, status, ended_at=moment)


def _start(running: Runtime, finish_id: str) -> None:
    running.start(_drive(running, finish_id), f"finish {finish_id}")


async def _drive(running: Runtime, finish_id: str) -> None:
    """Take the steps of a finish until it waits for people or has ended."""
    pause = _FIRST_PAUSE
    while True:
        try:
            async with running.db.read() as session:
                finish = await by_public_id(session, Finish, finish_id)
            if finish is None or finish.status not in queries.WORKING:
                return
            if await _stepped(running, finish):
                pause = _FIRST_PAUSE
                continue
        except outages():
            _log.debug("finish %s waits for the database", finish_id, exc_info=True)
        await asyncio.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


class _MadeAlready(Exception):
    """Another process has made what this step was to make."""


async def _stepped(running: Runtime, finish: Finish) -> bool:
    """Take one step if possible now; store an error that no later try would cure."""
    try:
        return await _step(running, finish)
    except _MadeAlready:
        return False
    except TribunalError as error:
        why = error.detail
    async with running.db.write() as session:
        moment = running.now()
        return await queries.change(session, finish, "failed", error=why, ended_at=moment)


async def _step(running: Runtime, finish: Finish) -> bool:
    """Take one step if possible now; return False where it must wait."""
    async with running.db.read() as session:
        _, certificate, batch, _ = await queries.parts(session, finish)
    if finish.status == "calibrating":
        return await _certify(running, finish, certificate)
    return await _judge(running, finish, certificate, batch)


async def _certify(running: Runtime, finish: Finish, certificate: CalibrationRow | None) -> bool:
    request = FinishIn.model_validate(finish.request)
    if certificate is None:
        async with running.db.read() as session:
            dataset = (await queries.parts(session, finish))[0]
            # people may have labelled the easy rows before, or those of one task
            drawing = await drawing_queues(session, dataset) if request.labels else None
        asked = request.calibration(dataset.id, drawing)
        await calibrations.create(running, asked, _adopting(finish, "certificate_seq"))
        return True
    if certificate.status in calibrations.UNFINISHED:
        return False
    status, error, ended_at = "judging", None, None
    if certificate.status != "certified":
        status, ended_at = certificate.status, running.now()
        error = certificate.error or _advice(certificate)
    async with running.db.write() as session:
        return await queries.change(session, finish, status, error=error, ended_at=ended_at)


def _advice(certificate: CalibrationRow) -> str:
    found = (certificate.body.get("advice") or {}).get("text") or ""
    return (
        f"{found} Label more pairs, and begin again with labels: they are drawn uniformly."
    ).strip()


async def _judge(
    running: Runtime,
    finish: Finish,
    certificate: CalibrationRow | None,
    batch: Batch | None,
) -> bool:
    if certificate is None:
        raise Conflict("its certificate was deleted")
    if batch is None:
        await _begin_batch(running, finish, certificate)
        return True
    if batch.status in UNFINISHED_BATCH:
        return False
    why = await _why_unpromised(running, batch)
    if why is None:
        await _hand_to_people(running, finish, batch)
    else:
        async with running.db.write() as session:
            await queries.change(session, finish, "suspended", error=why)
    return True


async def _begin_batch(running: Runtime, finish: Finish, certificate: CalibrationRow) -> None:
    async with running.db.read() as session:
        dataset = (await queries.parts(session, finish))[0]
    request = FinishIn.model_validate(finish.request)
    wanted = BatchIn(dataset=dataset.id, calibration=certificate.id, budget_usd=request.budget_usd)
    await creating.create(running, wanted, also=_adopting(finish, "batch_seq"))


def _adopting(finish: Finish, column: str) -> Callable[[AsyncSession, Numbered], Awaitable[None]]:
    """Return what notes a new row with its finish, or undoes it where the finish has one."""

    async def adopt(session: AsyncSession, made: Numbered) -> None:
        if not await queries.adopt(session, finish, column, made.seq):
            raise _MadeAlready

    return adopt


async def _why_unpromised(running: Runtime, batch: Batch) -> str | None:
    async with running.db.read() as session:
        certificate = await session.get(CalibrationRow, batch.certificate_seq)
        promise = promise_now(batch, certificate)
    how = (
        "; judge again what failed (tribunal finish --resume ID --retry), or let people label it "
        "(--people)"
    )
    if batch.status != "completed":
        return f"the batch {batch.id} ended as {batch.status}: {batch.error or 'not all was judged'}{how}"
    if promise != "certified":
        why = batch.suspended_because or "its certificate was revoked"
        return f"the verdicts of {batch.id} promise nothing: {why}{how}"
    return None


async def _hand_to_people(running: Runtime, finish: Finish, batch: Batch) -> None:
    """Open a queue of the rows that are left, in the transaction that changes the status."""
    request = FinishIn.model_validate(finish.request)
    async with running.db.write() as session:
        if not await queries.change(session, finish, "labelling", error=None):
            return
        dataset, certificate, _, _ = await queries.parts(session, finish)
        judged = await queries.verdicts_of(session, batch.seq)
        votes = await datasets.votes(session, dataset)
        # where the run lost its promise, a verdict counts only if no judge failed on it
        is_strict = batch.promise != "certified"

        def is_left(key: PairKey) -> bool:
            said = votes.get(key.seq, ())
            if key.content_hash is None or verdict_of(said) is not None:
                return False
            return bool(said) or not is_answered(judged.get(key.seq), is_strict=is_strict)

        left = [key for key in await datasets.pair_keys(session, dataset) if is_left(key)]
        options = {
            **{name: one for name, one in request.of_people.items() if name != "votes_per_pair"},
            "calibration": certificate.id if certificate else None,
        }
        wanted = NewQueue(f"rest of {finish.id}", "finish", request.votes_per_pair, options)
        queue = await queues.open_queue(session, dataset, wanted, running.now())
        await queues.add(session, queue, uniformly(left, request.seed, None))
        moment = None if left else running.now()
        await queries.change_queue(session, finish, queue.seq, ended_at=moment, is_done=not left)


def is_answered(judged: tuple[str, bool] | None, *, is_strict: bool) -> bool:
    """Return whether a row keeps the verdict of the judges.

    Args:
        judged: Its status, and whether some judge failed on it; None where it was not judged.
        is_strict: Whether a verdict counts only if no judge failed.

    Example:
        >>> is_answered(("accepted", True), is_strict=False), is_answered(None, is_strict=False)
        (True, False)
    """
    if judged is None or judged[0] != "accepted":
        return False
    return not (is_strict and judged[1])


def verdict_of(votes: Sequence[Vote]) -> str | None:
    """Return what most people say of a row; None without votes, or where answers are equally frequent.

    Example:
        >>> verdict_of([Vote("ann", "a", {}), Vote("bob", "a", {}), Vote("eve", "tie", {})])
        'a'
    """
    counted = counts_of(votes)
    most = max(counted.values())
    said = [label for label, count in counted.items() if count == most]
    return said[0] if len(said) == 1 else None


def counts_of(votes: Sequence[Vote]) -> dict[str, int]:
    """Count what people say of a row."""
    counted = {"a": 0, "b": 0, "tie": 0}
    for vote in votes:
        counted[vote.label] += 1
    return counted


async def show(session: AsyncSession, finish: Finish) -> FinishBody:
    """Return a finish as users see it."""
    dataset, certificate, batch, queue = await queries.parts(session, finish)
    is_filled = queue is not None and queue.purpose == "finish"
    counted = await queries.counts(session, finish, has_queue=queue is not None)
    if batch is not None and not is_filled:
        totals = (await totals_now(session, [batch.seq])).get(batch.seq, batch.totals)
        counted["judged"] = totals.get("statuses", {}).get("accepted", 0)
    body: Any = {
        "object": "finish",
        "id": finish.id,
        "status": finish.status,
        "dataset": dataset.id,
        "queue": queue.id if queue else None,
        "batch": batch.id if batch else None,
        "calibration": certificate.id if certificate else None,
        "promise": _promise(batch, certificate),
        "claim": certificate.body.get("claim") if certificate else None,
        "max_error": finish.request["max_error"],
        "failure_probability": finish.request["failure_probability"],
        "pairs": dataset.pairs,
        **counted,
        "error": finish.error,
        "created_at": rfc3339(finish.created_at),
        "ended_at": finish.ended_at and rfc3339(finish.ended_at),
    }
    found: FinishBody = body
    return found


def _promise(batch: Batch | None, certificate: CalibrationRow | None) -> str:
    """Return what the verdicts of the judges promise now."""
    if batch is None or batch.status in UNFINISHED_BATCH:
        return "none"
    promise = promise_now(batch, certificate)
    if promise == "certified" and certificate is not None and certificate.suspended_because:
        return "suspended"
    return promise


async def rows_page(running: Runtime, finish_id: str, paging: Paging) -> Page:
    """Return one page of the rows of a finish, in the order of the dataset, none left out.

    Raises:
        NotFound: none has this id, or `after` is the id of no row.
        Conflict: the judges are not done, so that who gives a verdict is not settled.
    """
    async with running.db.read() as session:
        finish = await require(session, finish_id)
        dataset, certificate, batch, queue = await queries.parts(session, finish)
        if queue is None or queue.purpose != "finish":
            raise Conflict(f"finish {finish.id} is {finish.status}: its rows have no verdicts yet")
        after = await _position(session, dataset, paging)
        rows = await queries.rows_page(session, finish, paging, after)
        seqs = [row.seq for row in rows]
        votes = await stored_pairs.votes_on(session, seqs)
        waiting = await queries.waiting_among(session, queue.seq, seqs)
    promise = _promise(batch, certificate)

    def row_body(row: Any) -> dict[str, Any]:
        own = [vote for vote in votes.get(row.seq, ()) if vote.criterion == "overall"]
        return _row(row, own, promise, is_waiting=row.seq in waiting)

    return page_of(rows, paging.limit, row_body)


async def _position(session: AsyncSession, dataset: Any, paging: Paging) -> int | None:
    if paging.after is None:
        return None
    found = await stored_pairs.position_of(session, dataset, paging.after)
    if found is None:
        raise NotFound(f"after: there is no {shown(paging.after)} in this list")
    return found


def _row(row: Any, votes: Sequence[Vote], promise: str, *, is_waiting: bool) -> dict[str, Any]:
    said: Mapping[str, Any] = row.body if row.status == "accepted" else {}
    body: dict[str, Any] = {
        "object": "finished_row",
        "id": row.id,
        "label": None,
        "given_by": None,
        "judge": None,
        "confidence": None,
        "votes": counts_of(votes),
        "promise": "none",
        "model_a": row.model_a,
        "model_b": row.model_b,
    }
    if is_waiting:
        return body
    if votes:
        # people who disagree evenly have no preference
        return {**body, "label": verdict_of(votes) or "tie", "given_by": "people"}
    if said:
        body |= {name: said[name] for name in ("label", "judge", "confidence")}
        return {**body, "given_by": "judge", "promise": promise}
    return body
