"""`/reports`: agreement, its history, and the health cards of judges."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse

from app.bodies.common import PageBody
from app.bodies.health import HealthCardBody, HistoryBody, ReportComparisonBody
from app.bodies.reports import ReportBody
from app.core.auth import Scope
from app.core.fields import Name
from app.core.http.access import needs
from app.core.http.openapi import LOCATION, AnswerRoute, refused
from app.core.http.parameters import NewestFirst, Running
from app.core.http.problems import TextsResponse
from app.core.lists import Page, page_of
from app.core.models import Report
from app.core.runtime import Runtime
from app.reports import batches, health, history, service
from app.reports import service as queries
from app.reports.health import Lines, checked_lines, lines_of_query
from app.reports.health_page import health_page
from app.reports.schemas import AgreementIn, CardIn, HealthBody, HealthQuery, HistoryIn, LinesQuery

ReportId = Annotated[str, Path(description="id of a report")]
health_router = APIRouter(route_class=AnswerRoute)
_LATER: dict[int | str, dict[str, Any]] = {
    202: {
        "model": ReportBody,
        "description": "the report takes long: see Location",
        "headers": LOCATION,
    },
}
_CARD: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/html": {"schema": {"type": "string"}}}},
    **_LATER,
    **refused(404, 409),
}
_NO_NETWORK = "default-src 'none'; style-src 'unsafe-inline'"


@health_router.get("/health", response_model=HealthCardBody, responses=_CARD)
@needs(Scope.READ)
async def get_health(
    asked: Annotated[HealthQuery, Query()], request: Request, running: Running
) -> Response:
    """Return a judge's health card; `line.kappa=0.6` moves a line, `line.kappa=off` drops it."""
    lines = _lines(asked)
    report = await health.report_for(running, asked)
    return _answer(running, request, report, CardIn(judge=asked.judge, format=asked.format), lines)


@health_router.post("/health", response_model=HealthCardBody, responses=_CARD)
@needs(Scope.READ)
async def post_health(body: HealthBody, request: Request, running: Running) -> Response:
    """Return a judge's health card with the lines of the body; null drops one."""
    lines = checked_lines(body.lines)
    report = await health.report_for(running, body)
    return _answer(running, request, report, CardIn(judge=body.judge, format=body.format), lines)


@health_router.get("/{report_id}/health", response_model=HealthCardBody, responses=_CARD)
@needs(Scope.READ)
async def get_health_of_report(
    report_id: ReportId, asked: Annotated[LinesQuery, Query()], request: Request, running: Running
) -> Response:
    """Return the health card of a judge of a stored report."""
    lines = _lines(asked)
    report = await service.find(running, report_id)
    return _answer(running, request, report, CardIn(judge=asked.judge, format=asked.format), lines)


def _lines(asked: LinesQuery | HealthQuery) -> Lines:
    extra: Mapping[str, Any] = asked.model_extra or {}
    unknown = [name for name in extra if not name.startswith("line.")]
    if unknown:
        raise RequestValidationError(
            [
                {
                    "type": "extra_forbidden",
                    "loc": ("query", name),
                    "msg": "there is no such parameter",
                    "input": extra[name],
                }
                for name in unknown
            ]
        )
    return lines_of_query([(name, str(text)) for name, text in extra.items()])


def _answer(
    running: Runtime, request: Request, report: Report, asked: CardIn, lines: Lines
) -> Response:
    if service.is_unfinished(report):
        moved = {f"line.{name}": "off" if at is None else at for name, at in lines.items()}
        query = urlencode({**asked.model_dump(exclude_none=True), **moved})
        where = f"/v1/reports/{report.id}/health?{query}"
        return TextsResponse(service.show(report), 202, headers={"Location": where})
    made = health.card(running, report, asked.judge, lines)
    if not _wants_html(request, asked):
        return TextsResponse(made)
    return HTMLResponse(health_page(made), headers={"Content-Security-Policy": _NO_NETWORK})


def _wants_html(request: Request, asked: CardIn) -> bool:
    if asked.format is not None:
        return asked.format == "html"
    accepted = request.headers.get("accept", "")
    return "text/html" in accepted and "application/json" not in accepted


router = APIRouter(prefix="/reports", tags=["reports"], route_class=AnswerRoute)


@router.get("/agreement", response_model=ReportBody, responses={**_LATER, **refused(404, 409)})
@needs(Scope.READ)
async def get_agreement(
    request: Annotated[AgreementIn, Query()], running: Running, response: Response
) -> dict[str, Any]:
    """Report agreement on a dataset; the same inputs give the same stored report."""
    report = await queries.agreement(running, request)
    if queries.is_unfinished(report):
        response.status_code = 202
        response.headers["Location"] = f"/v1/reports/{report.id}"
    return queries.show(report)


@router.get("", response_model=PageBody[ReportBody], responses=refused(404))
@needs(Scope.READ)
async def list_reports(running: Running, paging: NewestFirst) -> Page:
    """List reports, newest first."""
    async with running.db.read() as session:
        rows = await queries.page(session, paging)
    return page_of(rows, paging.limit, queries.show)


@router.get("/history", response_model=HistoryBody, responses=refused(404))
@needs(Scope.READ)
async def get_history(asked: Annotated[HistoryIn, Query()], running: Running) -> dict[str, Any]:
    """Follow agreement and coverage over time, each point with what it rests on."""
    return await history.history(running, asked)


@router.get("/batches/{batch_id}", response_model=ReportBody, responses=refused(409))
@needs(Scope.READ)
async def get_batch_report(
    batch_id: Annotated[str, Path(description="id of a batch")], running: Running
) -> dict[str, Any]:
    """Report how a batch's verdicts agree with the labels there are now, and its coverage."""
    return queries.show(await batches.of_batch(running, batch_id))


@router.get("/{report_id}/compare", response_model=ReportComparisonBody)
@needs(Scope.READ)
async def compare_reports(
    report_id: ReportId,
    running: Running,
    other: Annotated[Name, Query(alias="with", description="another report")],
) -> dict[str, Any]:
    """Say what changed from this report to another one, with intervals."""
    earlier = await queries.find(running, report_id)
    return history.comparison(earlier, await queries.find(running, other))


router.include_router(health_router)


@router.get("/{report_id}", response_model=ReportBody)
@needs(Scope.READ)
async def get_report(report_id: ReportId, running: Running) -> dict[str, Any]:
    """Return one report."""
    return queries.show(await queries.find(running, report_id))
