"""Makes, resumes, finds and shows agreement reports; their SQL is here, too.

A report is made beside the request that asks for it. A request waits for a while; one that takes
longer is answered with where the report will be, and goes on after a restart.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from sqlalchemy import Row, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.db import rfc3339
from app.core.errors import TribunalError, Unprocessable, died_of_it
from app.core.limits import Limits, too_many
from app.core.lists import Paging, fetch_page, required
from app.core.models import Batch, Report, Verdict, new_id
from app.core.runtime import Runtime
from app.datasets import slices
from app.reports.agreement import agreement_report
from app.reports.gathering import Gathered, gather
from app.reports.inputs import Inputs, texts_of
from app.reports.schemas import AgreementIn

UNFINISHED = ("pending", "running")
_CHUNK = 1_000


async def by_inputs(session: AsyncSession, inputs_hash: str) -> Report | None:
    """Return the report that was made from these inputs."""
    return await session.scalar(select(Report).where(Report.inputs_hash == inputs_hash))


async def page(session: AsyncSession, paging: Paging) -> Sequence[Report]:
    """Return one report more than the page holds."""
    return await fetch_page(session, select(Report), Report, paging)


async def completed(session: AsyncSession, dataset_seq: int) -> AsyncIterator[Report]:
    """Yield the completed reports on a dataset in order of creation, one in memory at a time."""
    query = (
        select(Report.seq)
        .where(Report.dataset_seq == dataset_seq, Report.status == "completed")
        .order_by(Report.seq)
    )
    for seq in (await session.scalars(query)).all():
        report = await session.get(Report, seq)
        if report is not None:
            yield report
            session.expunge(report)


async def batch_of(session: AsyncSession, batch_seq: int) -> Batch | None:
    """Return a batch."""
    return await session.get(Batch, batch_seq)


async def verdicts(session: AsyncSession, batch_seq: int) -> AsyncIterator[Sequence[Row[Any]]]:
    """Yield a batch's verdicts in the order of the dataset, some at a time."""
    last = -1
    while True:
        query = (
            select(Verdict.pair_seq, Verdict.position, Verdict.status, Verdict.body)
            .where(Verdict.batch_seq == batch_seq, Verdict.position > last)
            .order_by(Verdict.position)
            .limit(_CHUNK)
        )
        rows = (await session.execute(query)).all()
        if rows:
            yield rows
        if len(rows) < _CHUNK:
            return
        last = rows[-1].position or 0


async def unfinished(session: AsyncSession) -> Sequence[Report]:
    """Return the reports that a stop interrupted."""
    query = (
        select(Report)
        .where(Report.status.in_(UNFINISHED), Report.kind == "agreement")
        .order_by(Report.seq)
    )
    return (await session.scalars(query)).all()


async def add(session: AsyncSession, values: dict[str, Any]) -> bool:
    """Store a report; False where another one of the same inputs is stored."""
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    statement = (
        dialect.insert(Report)
        .values(values)
        .on_conflict_do_nothing(index_elements=["inputs_hash"])
        .returning(Report.seq)
    )
    return (await session.execute(statement)).first() is not None


async def change_attempts(session: AsyncSession, report: Report, by: int) -> int:
    """Count an attempt at a report, or take one back; return how many there are."""
    changed = await session.execute(
        update(Report)
        .where(Report.seq == report.seq)
        .values(attempts=Report.attempts + by)
        .returning(Report.attempts)
    )
    return int(changed.scalar_one_or_none() or 0)


async def retry(session: AsyncSession, inputs_hash: str) -> bool:
    """Make a report that failed pending again; False where none failed."""
    statement = (
        update(Report)
        .where(Report.inputs_hash == inputs_hash, Report.status == "failed")
        .values(status="pending", error=None, attempts=1)
        .returning(Report.seq)
    )
    return (await session.execute(statement)).first() is not None


async def complete(
    session: AsyncSession, report: Report, inputs_hash: str, body: dict[str, Any]
) -> None:
    """Store what a report says.

    Labels or scores may have changed since it was asked for. Where a report of these very inputs
    is stored already, this one says the same under a hash of its own.
    """
    other = await by_inputs(session, inputs_hash)
    if other is not None and other.seq != report.seq:
        inputs_hash = hashlib.sha256(report.id.encode("ascii")).hexdigest()
    await session.execute(
        update(Report)
        .where(Report.seq == report.seq, Report.status.in_(UNFINISHED))
        .values(status="completed", inputs_hash=inputs_hash, body=body)
    )


async def fail(session: AsyncSession, report: Report, why: str) -> None:
    """Store why a report could not be made."""
    await session.execute(
        update(Report)
        .where(Report.seq == report.seq, Report.status.in_(UNFINISHED))
        .values(status="failed", error=why)
    )


_log = logging.getLogger(__name__)
_FIRST_LOOK_S, _LONGEST_LOOK_S = 0.05, 1.0


async def agreement(running: Runtime, request: AgreementIn) -> Report:
    """Return the report of these inputs, stored earlier or made now; unfinished if it takes long.

    Raises:
        TribunalError: making it failed.
    """
    with running.pools.reports.admitted():
        async with running.db.read() as session:
            gathered = await gather(session, running.registry, request)
            _refuse_many(gathered, request, running.settings.limits)
            inputs = Inputs.of(gathered, request)
            stored = await by_inputs(session, inputs.hash)
        if stored is not None and stored.status == "completed":
            return stored
        report, is_ours = await _enter(running, request, gathered, inputs)
        if is_ours:
            work = _make(running, report, request, _Ready(gathered, inputs))
            running.start(work, f"report {report.id}")
    return await _waited_for(running, report)


def _refuse_many(gathered: Gathered, request: AgreementIn, limits: Limits) -> None:
    """Refuse what would take a figure for each of very many slices or couples of judges."""
    panel = gathered.panel
    if panel.slices is not None:
        slices.refuse_many(panel.slices, limits, ("query", "group_by"))
    n_judges = len(panel.judged.names)
    n_couples = n_judges * (n_judges - 1) // 2
    if "judge_pairs" in request.include and n_couples > limits.couples:
        many = too_many(n_couples, "couples of judges", limits.couples, "couples")
        message = f"there are {many}: name fewer judges"
        raise Unprocessable(
            f"include: {message}", errors=[{"loc": ["query", "include"], "msg": message}]
        )


async def find(running: Runtime, report_id: str) -> Report:
    """Return a report.

    Raises:
        NotFound: no report has this id.
    """
    async with running.db.read() as session:
        return await required(session, Report, report_id, "report")


async def resume(running: Runtime) -> None:
    """Resume the reports that a stop interrupted; set aside those that ended their processes."""
    async with running.db.read() as session:
        waiting = await unfinished(session)
    for report in waiting:
        async with running.db.write() as session:
            attempts = await change_attempts(session, report, by=1)
        if attempts > running.settings.max_attempts:
            await _store_failure(running, report, died_of_it(attempts - 1))
            continue
        request = AgreementIn.model_validate(report.request)
        running.start(_make(running, report, request, None), f"report {report.id}")


def is_unfinished(report: Report) -> bool:
    """Return whether a report is still to be made."""
    return report.status in UNFINISHED


def show(report: Report) -> dict[str, Any]:
    """Return a report as users see it."""
    asked = report.request
    return {
        "id": report.id,
        "object": f"{report.kind}_report",
        "status": report.status,
        "error": report.error,
        "created_at": rfc3339(report.created_at),
        "dataset": asked["dataset"],
        "calibration": asked["calibration"],
        "part": asked["part"],
        "group_by": asked.get("group_by"),
        **report.body,
    }


class _Entered(NamedTuple):
    report: Report
    is_ours: bool


class _Ready(NamedTuple):
    gathered: Gathered
    inputs: Inputs


async def _enter(
    running: Runtime, request: AgreementIn, gathered: Gathered, inputs: Inputs
) -> _Entered:
    """Store a pending report, unless one of these inputs exists; a failed one is retried."""
    values = {
        "id": new_id("rep"),
        "created_at": running.now(),
        "kind": "agreement",
        "status": "pending",
        "dataset_seq": gathered.dataset.seq,
        "inputs_hash": inputs.hash,
        "request": request.model_dump(mode="json"),
        "body": {},
    }
    async with running.db.write() as session:
        is_ours = await add(session, values) or await retry(session, inputs.hash)
        report = await by_inputs(session, inputs.hash)
    assert report is not None
    return _Entered(report, is_ours)


async def _waited_for(running: Runtime, report: Report) -> Report:
    """Wait for a report; return it as it is when it is finished or the wait is over."""
    pause = _FIRST_LOOK_S
    try:
        async with asyncio.timeout(running.settings.report_wait_s):
            while is_unfinished(report):
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_LOOK_S)
                report = await find(running, report.id)
    except TimeoutError:
        return report
    if report.status == "failed":
        raise TribunalError(f"report {report.id} failed: {report.error}")
    return report


async def _make(
    running: Runtime, report: Report, request: AgreementIn, ready: _Ready | None
) -> None:
    """Make one report and store it, or the error in its place."""
    try:
        with running.pools.reports.admitted(refuses=False):
            gathered, inputs = ready or await _gathered_again(running, request)
            async with running.db.read() as session:
                texts = await texts_of(session, gathered.pair_seqs)
            panel = replace(gathered.panel, texts=texts)
            limits = running.settings.limits
            body = await running.pools.reports.run(agreement_report, panel, request, limits)
        body["rests_on"] = inputs.rests_on
        async with running.db.write() as session:
            await complete(session, report, inputs.hash, body)
    except asyncio.CancelledError:
        # asked to stop: that is no fault of this report
        async with running.db.write() as session:
            await change_attempts(session, report, by=-1)
        raise
    except TribunalError as error:
        await _store_failure(running, report, error.detail)
    except Exception:
        # no caller waits here: the user must find the failure where the report would be
        _log.exception("report %s failed", report.id)
        await _store_failure(running, report, "an unexpected error; the log has it")


async def _gathered_again(running: Runtime, request: AgreementIn) -> _Ready:
    async with running.db.read() as session:
        gathered = await gather(session, running.registry, request)
    return _Ready(gathered, Inputs.of(gathered, request))


async def _store_failure(running: Runtime, report: Report, why: str) -> None:
    async with running.db.write() as session:
        await fail(session, report, why)
