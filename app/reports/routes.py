"""`/reports`: how well judges, cascade and people agree."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from app.names import Name
from app.pagination import After, Limit, Page, page_of
from app.reports import batch_reports, history, queries, service
from app.reports.health_routes import health_router
from app.reports.schemas import AgreementIn, HistoryIn
from app.runtime import Running

router = APIRouter(prefix="/reports", tags=["reports"])


@router.get("/agreement", responses={202: {"description": "it takes long: see Location"}})
async def get_agreement(
    request: Annotated[AgreementIn, Query()], running: Running, response: Response
) -> dict[str, Any]:
    """Report agreement on a dataset; the same inputs give the same stored report."""
    report = await service.agreement(running, request)
    if service.is_unfinished(report):
        response.status_code = 202
        response.headers["Location"] = f"/v1/reports/{report.id}"
    return service.show(report)


@router.get("")
async def list_reports(running: Running, limit: Limit = 100, after: After = None) -> Page:
    """List reports in order of creation."""
    async with running.db.read() as session:
        rows = await queries.page(session, limit, after)
    return page_of(rows, limit, service.show)


@router.get("/history")
async def get_history(asked: Annotated[HistoryIn, Query()], running: Running) -> dict[str, Any]:
    """Follow agreement and coverage over time, each point with what it rests on."""
    return await history.history(running, asked)


@router.get("/batches/{batch_id}")
async def get_batch_report(batch_id: str, running: Running) -> dict[str, Any]:
    """Report how a batch's verdicts agree with the labels there are now, and its coverage."""
    return service.show(await batch_reports.of_batch(running, batch_id))


@router.get("/{report_id}/compare")
async def compare_reports(
    report_id: str, running: Running, other: Annotated[Name, Query(alias="with")]
) -> dict[str, Any]:
    """Say what changed from this report to another one, with intervals."""
    earlier = await service.find(running, report_id)
    return history.comparison(earlier, await service.find(running, other))


router.include_router(health_router)


@router.get("/{report_id}")
async def get_report(report_id: str, running: Running) -> dict[str, Any]:
    """Return one report."""
    return service.show(await service.find(running, report_id))
