"""`/leaderboards`: which model people, a judge or a cascade prefer."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request, Response

from app.bodies.common import PageBody
from app.bodies.leaderboards import LeaderboardBody, LeaderboardComparisonBody
from app.core.auth import Scope
from app.core.http.access import needs
from app.core.http.idempotency import IdempotentRoute
from app.core.http.openapi import LOCATION, refused
from app.core.http.parameters import NewestFirst, Running
from app.core.lists import Page
from app.leaderboards import service, stored
from app.leaderboards.rows import as_csv
from app.leaderboards.schemas import LeaderboardIn, ReweightIn, WhatIfQuery

LeaderboardId = Annotated[str, Path(description="id of a leaderboard")]
router = APIRouter(prefix="/leaderboards", tags=["leaderboards"], route_class=IdempotentRoute)

_CSV = "text/csv"
_FORMS: dict[int | str, dict[str, Any]] = {
    200: {"content": {_CSV: {"schema": {"type": "string"}}}, "description": "as `Accept` asks"}
}


@router.post(
    "",
    status_code=201,
    response_model=LeaderboardBody,
    responses={201: {"headers": LOCATION}, **refused(404, 409)},
)
@needs(Scope.JUDGE)
async def create_leaderboard(
    request: LeaderboardIn, running: Running, response: Response
) -> dict[str, Any]:
    """Rank models by labels, by a judge, by a certified cascade, or by verdicts put right by labels.

    Intervals and rank sets are clustered by group (prompt); abstentions stand beside every number.
    """
    leaderboard = await service.create(running, request)
    response.headers["Location"] = f"/v1/leaderboards/{leaderboard['id']}"
    return leaderboard


@router.get("", response_model=PageBody[LeaderboardBody], responses=refused(404))
@needs(Scope.READ)
async def list_leaderboards(running: Running, paging: NewestFirst) -> Page:
    """List leaderboards newest first."""
    return await stored.page(running, paging)


@router.get("/{leaderboard_id}", response_model=LeaderboardBody, responses=_FORMS)
@needs(Scope.READ)
async def get_leaderboard(
    leaderboard_id: LeaderboardId,
    running: Running,
    http: Request,
    form: Annotated[
        Literal["json", "csv"] | None,
        Query(alias="format", description="instead of what the header `Accept` says"),
    ] = None,
) -> dict[str, Any] | Response:
    """Return one leaderboard, with what its certificate is worth now; as CSV if `Accept` says so."""
    leaderboard = await stored.find(running, leaderboard_id)
    if form == "json" or (form is None and _CSV not in http.headers.get("accept", "")):
        return leaderboard
    text = as_csv(leaderboard).encode("utf-8", "backslashreplace")
    return Response(text, media_type=_CSV, headers={"Vary": "Accept"})


@router.get("/{leaderboard_id}/what-if", response_model=LeaderboardBody, responses=refused(409))
@needs(Scope.READ)
async def what_if(
    leaderboard_id: LeaderboardId, asked: Annotated[WhatIfQuery, Query()], running: Running
) -> dict[str, Any]:
    """Rank the same verdicts otherwise and store nothing: `criterion.style=2`, `slice.code=0`."""
    return await service.what_if(running, leaderboard_id, asked)


@router.get("/{leaderboard_id}/compare", response_model=LeaderboardComparisonBody)
@needs(Scope.READ)
async def compare_leaderboards(
    leaderboard_id: LeaderboardId,
    running: Running,
    other: Annotated[str, Query(alias="with", max_length=512, description="another leaderboard")],
) -> dict[str, Any]:
    """Say what changed from the earlier to the later of two leaderboards, and in what they rest on."""
    return await stored.compare(running, leaderboard_id, other)


@router.post(
    "/{leaderboard_id}/reweight",
    status_code=201,
    response_model=LeaderboardBody,
    responses={201: {"headers": LOCATION}, **refused(409)},
)
@needs(Scope.JUDGE)
async def reweight_leaderboard(
    leaderboard_id: LeaderboardId, request: ReweightIn, running: Running, response: Response
) -> dict[str, Any]:
    """Rank the same votes and scores by other weights, slices or control: asks no judge."""
    leaderboard = await service.reweight(running, leaderboard_id, request)
    response.headers["Location"] = f"/v1/leaderboards/{leaderboard['id']}"
    return leaderboard
