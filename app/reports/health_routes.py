"""`/reports/health`: a judge on one page, as JSON or HTML."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse

from app.models import Report
from app.reports import cards, service
from app.reports.health_lines import Lines, checked_lines, lines_of_query
from app.reports.health_page import health_page
from app.reports.schemas import CardIn, HealthBody, HealthQuery, LinesQuery
from app.responses import TextsResponse
from app.runtime import Running, Runtime

health_router = APIRouter()
_LATER: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/html": {}}},
    202: {"description": "its report takes long: see Location"},
}
_NO_NETWORK = "default-src 'none'; style-src 'unsafe-inline'"


@health_router.get("/health", responses=_LATER)
async def get_health(
    asked: Annotated[HealthQuery, Query()], request: Request, running: Running
) -> Response:
    """Return a judge's health card; `line.kappa=0.6` moves a line, `line.kappa=off` drops it."""
    lines = _lines(asked)
    report = await cards.report_for(running, asked)
    return _answer(running, request, report, CardIn(judge=asked.judge, format=asked.format), lines)


@health_router.post("/health", responses=_LATER)
async def post_health(body: HealthBody, request: Request, running: Running) -> Response:
    """Return a judge's health card with the lines of the body; null drops one."""
    lines = checked_lines(body.lines)
    report = await cards.report_for(running, body)
    return _answer(running, request, report, CardIn(judge=body.judge, format=body.format), lines)


@health_router.get("/{report_id}/health", responses=_LATER)
async def get_health_of_report(
    report_id: str, asked: Annotated[LinesQuery, Query()], request: Request, running: Running
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
    made = cards.card(running, report, asked.judge, lines)
    if not _wants_html(request, asked):
        return TextsResponse(made)
    return HTMLResponse(health_page(made), headers={"Content-Security-Policy": _NO_NETWORK})


def _wants_html(request: Request, asked: CardIn) -> bool:
    if asked.format is not None:
        return asked.format == "html"
    accepted = request.headers.get("accept", "")
    return "text/html" in accepted and "application/json" not in accepted
