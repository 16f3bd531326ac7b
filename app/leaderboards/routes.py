"""`/leaderboards`: which model people, a judge or a cascade prefer."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response

from app.idempotency import IdempotentRoute
from app.leaderboards import queries, service
from app.leaderboards.schemas import LeaderboardIn
from app.pagination import After, Limit, Page, page_of
from app.runtime import Running

router = APIRouter(prefix="/leaderboards", tags=["leaderboards"], route_class=IdempotentRoute)


@router.post("", status_code=201)
async def create_leaderboard(
    request: LeaderboardIn, running: Running, response: Response
) -> dict[str, Any]:
    """Rank models by labels, by one judge's scores, or by a certified cascade's verdicts."""
    leaderboard = await service.create(running, request)
    response.headers["Location"] = f"/v1/leaderboards/{leaderboard.id}"
    return service.show(leaderboard)


@router.get("")
async def list_leaderboards(running: Running, limit: Limit = 100, after: After = None) -> Page:
    """List leaderboards in order of creation."""
    async with running.db.read() as session:
        rows = await queries.page(session, limit, after)
    return page_of(rows, limit, service.show)


@router.get("/{leaderboard_id}")
async def get_leaderboard(leaderboard_id: str, running: Running) -> dict[str, Any]:
    """Return one leaderboard."""
    return service.show(await service.find(running, leaderboard_id))
