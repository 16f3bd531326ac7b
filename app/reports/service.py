"""Agreement reports: found, made, resumed, shown. The same inputs give the same stored report.

A report is made beside the request that asks for it. A request waits for a while; one that takes
longer is answered with where the report will be, and goes on after a restart.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from typing import Any, NamedTuple

from app.errors import NotFound, TribunalError
from app.identifiers import is_name, shown
from app.lookup import by_public_id
from app.models import Report, new_id
from app.reports import queries
from app.reports.agreement import agreement_report
from app.reports.gathering import Gathered, gather
from app.reports.inputs import Inputs
from app.reports.schemas import AgreementIn
from app.reports.texts import texts_of
from app.runtime import Runtime

_log = logging.getLogger(__name__)
_FIRST_LOOK_S, _LONGEST_LOOK_S = 0.05, 1.0


async def agreement(running: Runtime, request: AgreementIn) -> Report:
    """Return the report of these inputs, stored earlier or made now; unfinished if it takes long.

    Raises:
        NotFound: there is no such dataset or certificate.
        Conflict: the certificate has no thresholds, or was made with other judges.
        Unprocessable: names the field that cannot be honoured.
        TribunalError: making it failed.
    """
    async with running.db.read() as session:
        gathered = await gather(session, running.registry, request)
        inputs = Inputs.of(gathered, request)
        stored = await queries.by_inputs(session, inputs.hash)
    if stored is not None and stored.status == "completed":
        return stored
    report, is_ours = await _enter(running, request, gathered, inputs)
    if is_ours:
        work = _make(running, report, request, _Ready(gathered, inputs))
        running.start(work, f"report {report.id}")
    return await _waited_for(running, report)


async def find(running: Runtime, report_id: str) -> Report:
    """Return a report.

    Raises:
        NotFound: no report has this id.
    """
    found = None
    if is_name(report_id):
        async with running.db.read() as session:
            found = await by_public_id(session, Report, report_id)
    if found is None:
        raise NotFound(f"there is no report {shown(report_id)}")
    return found


async def resume(running: Runtime) -> None:
    """Take up the reports that a stop interrupted."""
    async with running.db.read() as session:
        waiting = await queries.unfinished(session)
    for report in waiting:
        request = AgreementIn.model_validate(report.request)
        running.start(_make(running, report, request, None), f"report {report.id}")


def is_unfinished(report: Report) -> bool:
    """Whether a report is still to be made."""
    return report.status in queries.UNFINISHED


def show(report: Report) -> dict[str, Any]:
    """Return a report as users see it."""
    asked = report.request
    return {
        "id": report.id,
        "object": f"{report.kind}_report",
        "status": report.status,
        "error": report.error,
        "created_at": report.created_at.isoformat(),
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
    """Enter a report that is to be made, unless somebody makes it; one that failed is retried."""
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
        is_ours = await queries.add(session, values) or await queries.retry(session, inputs.hash)
        report = await queries.by_inputs(session, inputs.hash)
    assert report is not None
    return _Entered(report, is_ours)


async def _waited_for(running: Runtime, report: Report) -> Report:
    """Return a report when it is made, or as it is when the wait is over."""
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
    """Make one report and store it; whatever goes wrong is stored in its place."""
    try:
        gathered, inputs = ready or await _gathered_again(running, request)
        async with running.db.read() as session:
            texts = await texts_of(session, gathered.pair_seqs)
        panel = replace(gathered.panel, texts=texts)
        body = await asyncio.to_thread(agreement_report, panel, request)
        body["rests_on"] = inputs.rests_on
        async with running.db.write() as session:
            await queries.complete(session, report, inputs.hash, body)
    except TribunalError as error:
        await _store_failure(running, report, error.detail)
    except Exception:
        # the loop's edge: the user must find the failure where the report would have been
        _log.exception("report %s failed", report.id)
        await _store_failure(running, report, "an unexpected error; the log has it")


async def _gathered_again(running: Runtime, request: AgreementIn) -> _Ready:
    async with running.db.read() as session:
        gathered = await gather(session, running.registry, request)
    return _Ready(gathered, Inputs.of(gathered, request))


async def _store_failure(running: Runtime, report: Report, why: str) -> None:
    async with running.db.write() as session:
        await queries.fail(session, report, why)
