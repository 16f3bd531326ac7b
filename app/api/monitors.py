"""`/monitors`: whether a certificate still holds."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Response

from app.bodies.common import PageBody
from app.bodies.monitors import AuditBody, AuditsBody, MonitorBody
from app.core.auth import Scope
from app.core.http.access import needs
from app.core.http.idempotency import IdempotentRoute
from app.core.http.openapi import refused
from app.core.http.parameters import NewestFirst, Running
from app.core.http.problems import TextsResponse
from app.monitors import service
from app.monitors.schemas import AuditAnswersIn, MonitorIn

router = APIRouter(prefix="/monitors", tags=["monitors"], route_class=IdempotentRoute)
Id = Annotated[str, Path(max_length=64, description="id of the monitor")]


@router.post("", status_code=201, response_model=MonitorBody, responses=refused(404))
@needs(Scope.ADMIN)
async def create(request: MonitorIn, running: Running) -> Response:
    """Watch a certificate: a random share of its verdicts goes to people, blind."""
    return TextsResponse(await service.create(running, request), 201)


@router.get("", response_model=PageBody[MonitorBody], responses=refused(404))
@needs(Scope.READ)
async def list_monitors(running: Running, paging: NewestFirst) -> Response:
    """List monitors, those made last first."""
    return TextsResponse(await service.list_monitors(running, paging))


@router.get("/{monitor}", response_model=MonitorBody, responses=refused(404))
@needs(Scope.READ)
async def read(monitor: Id, running: Running) -> Response:
    """Return a monitor: e-value, risk, and how much drift it could have seen by now."""
    return TextsResponse(await service.look(running, monitor))


@router.get("/{monitor}/audits", response_model=PageBody[AuditBody], responses=refused(404))
@needs(Scope.READ)
async def list_audits(monitor: Id, running: Running, paging: NewestFirst) -> Response:
    """List the verdicts that were drawn, those drawn last first, without what they said."""
    return TextsResponse(await service.audits_page(running, monitor, paging))


@router.post(
    "/{monitor}/audits", status_code=201, response_model=AuditsBody, responses=refused(404)
)
@needs(Scope.JUDGE)
async def answer(monitor: Id, request: AuditAnswersIn, running: Running) -> Response:
    """Take answers to verdicts that were drawn, given elsewhere than in the queue."""
    return TextsResponse(await service.answer(running, monitor, request), 201)


@router.post("/{monitor}/end", response_model=MonitorBody, responses=refused(404))
@needs(Scope.ADMIN)
async def end(monitor: Id, running: Running) -> Response:
    """Stop to draw audits; what was found stays, and so does a suspension."""
    return TextsResponse(await service.end(running, monitor))
