"""`/reports`: how well judges, cascade and people agree."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response

from app.pagination import After, Limit, Page, page_of
from app.reports import queries, service
from app.reports.health_routes import router as health_router
from app.reports.schemas import AgreementIn
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


router.include_router(health_router)


@router.get("/{report_id}")
async def get_report(report_id: str, running: Running) -> dict[str, Any]:
    """Return one report."""
    return service.show(await service.find(running, report_id))
