"""`/shadows`: candidates that judge a share of the traffic and decide nothing."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Response

from app.bodies.common import PageBody
from app.bodies.shadows import ShadowBody
from app.core.auth import Scope
from app.core.http.access import needs
from app.core.http.idempotency import IdempotentRoute
from app.core.http.openapi import refused
from app.core.http.parameters import NewestFirst, Running
from app.core.http.problems import TextsResponse
from app.shadows import service
from app.shadows.schemas import ShadowIn

router = APIRouter(prefix="/shadows", tags=["shadows"], route_class=IdempotentRoute)
Id = Annotated[str, Path(max_length=64, description="id of a shadow")]


@router.post("", status_code=201, response_model=ShadowBody, responses=refused(404, 409))
@needs(Scope.ADMIN)
async def create(request: ShadowIn, running: Running) -> Response:
    """Let a candidate judge a share of a certificate's traffic; it decides nothing."""
    return TextsResponse(await service.create(running, request), 201)


@router.get("", response_model=PageBody[ShadowBody], responses=refused(404))
@needs(Scope.READ)
async def list_shadows(running: Running, paging: NewestFirst) -> Response:
    """List shadows, those made last first."""
    return TextsResponse(await service.list_shadows(running, paging))


@router.get("/{shadow}", response_model=ShadowBody, responses=refused(404))
@needs(Scope.READ)
async def read(shadow: Id, running: Running) -> Response:
    """Return what promoting a candidate would change, and whether that is known well enough."""
    return TextsResponse(await service.look(running, shadow))


@router.post("/{shadow}/end", response_model=ShadowBody, responses=refused(404))
@needs(Scope.ADMIN)
async def end(shadow: Id, running: Running) -> Response:
    """Stop to ask a candidate; what is known stays."""
    return TextsResponse(await service.end(running, shadow))
