"""`/finishes`: a verdict on every row of a dataset, by judges and people."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Response

from app.bodies.common import PageBody
from app.bodies.finishes import FinishBody, FinishedRowBody
from app.core.auth import Scope
from app.core.http.access import needs
from app.core.http.idempotency import IdempotentRoute
from app.core.http.openapi import LOCATION, refused
from app.core.http.parameters import AsKept, NewestFirst, Running
from app.core.http.problems import TextsResponse
from app.finishes import service
from app.finishes.schemas import FinishIn, FinishRetryIn

router = APIRouter(prefix="/finishes", tags=["finishes"], route_class=IdempotentRoute)
Id = Annotated[str, Path(max_length=64, description="id of a finish")]


@router.post(
    "",
    status_code=202,
    response_model=FinishBody,
    responses={202: {"headers": LOCATION}, **refused(404)},
)
@needs(Scope.JUDGE)
async def create(request: FinishIn, running: Running) -> Response:
    """Finish a dataset: judges answer what they are sure of under one certificate, people the rest."""
    body = await service.create(running, request)
    return TextsResponse(body, 202, headers={"Location": f"/v1/finishes/{body['id']}"})


@router.get("", response_model=PageBody[FinishBody], responses=refused(404))
@needs(Scope.READ)
async def list_finishes(running: Running, paging: NewestFirst) -> Response:
    """List finishes, those begun last first."""
    return TextsResponse(await service.list_finishes(running, paging))


@router.get("/{finish}", response_model=FinishBody, responses=refused(404))
@needs(Scope.READ)
async def read(finish: Id, running: Running) -> Response:
    """Return a finish: who gave how many verdicts, and where people label what is left."""
    return TextsResponse(await service.look(running, finish))


@router.post(
    "/{finish}/retry", status_code=202, response_model=FinishBody, responses=refused(404, 409)
)
@needs(Scope.JUDGE)
async def retry(finish: Id, running: Running, request: FinishRetryIn | None = None) -> Response:
    """Go on where judges failed: ask them again, or let people label those rows."""
    return TextsResponse(await service.retry(running, finish, request or FinishRetryIn()), 202)


@router.get("/{finish}/rows", response_model=PageBody[FinishedRowBody], responses=refused(404, 409))
@needs(Scope.READ)
async def list_rows(finish: Id, running: Running, paging: AsKept) -> Response:
    """List every row of the dataset with its verdict and who gave it, in the order of the file.

    A row that waits for people has the label null.
    """
    return TextsResponse(await service.rows_page(running, finish, paging))
