"""Stored leaderboards as users see them; to look at them loads no statistics."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from app.core.db import Stores, rfc3339
from app.core.lists import Page, Paging, page_of, required
from app.core.models import Leaderboard
from app.leaderboards import queries
from app.leaderboards.changes import changes


async def find(running: Stores, leaderboard_id: str) -> dict[str, Any]:
    """Return a leaderboard as users see it.

    Raises:
        NotFound: no leaderboard has this id.
    """
    async with running.db.read() as session:
        leaderboard = await require(session, leaderboard_id)
        return (await as_shown(session, [leaderboard]))[0]


async def page(running: Stores, paging: Paging) -> Page:
    """Return one page of leaderboards."""
    async with running.db.read() as session:
        rows = await queries.page(session, paging)
        bodies = {body["id"]: body for body in await as_shown(session, rows[: paging.limit])}
    return page_of(rows, paging.limit, lambda row: bodies[row.id])


async def compare(running: Stores, one_id: str, other_id: str) -> dict[str, Any]:
    """Return what changed from the earlier to the later of two leaderboards.

    Raises:
        NotFound: no leaderboard has one of the ids.
    """
    async with running.db.read() as session:
        found = [await require(session, name) for name in (one_id, other_id)]
        found.sort(key=lambda leaderboard: leaderboard.seq)
        earlier, later = await as_shown(session, found)
    return changes(earlier, later)


async def require(session: AsyncSession, leaderboard_id: str) -> Leaderboard:
    """Return a leaderboard, inside a transaction.

    Raises:
        NotFound: no leaderboard has this id.
    """
    return await required(session, Leaderboard, leaderboard_id, "leaderboard")


async def as_shown(
    session: AsyncSession, leaderboards: Sequence[Leaderboard]
) -> list[dict[str, Any]]:
    """Return leaderboards as users see them, each with the present state of its certificate."""
    wanted = {one.body["rests_on"].get("calibration") for one in leaderboards} - {None}
    now = await queries.certificates_now(session, sorted(wanted))
    return [_body(one, now) for one in leaderboards]


def _body(leaderboard: Leaderboard, now: dict[str, dict[str, Any]]) -> dict[str, Any]:
    body = dict(leaderboard.body)
    # older ones have only warnings, and another spelling of times
    body.setdefault("notes", body["warnings"])
    body["as_of"] = rfc3339(datetime.fromisoformat(body["as_of"]))
    name = body["rests_on"].get("calibration")
    certificate = None if name is None else now.get(name, {"id": name, "status": "deleted"})
    if certificate is not None and certificate.get("revoked_at") is not None:
        # a revoked certificate promises nothing, also of what was ranked before
        body |= {"promise": "none"}
    return {
        "id": leaderboard.id,
        "object": "leaderboard",
        "created_at": rfc3339(leaderboard.created_at),
        **leaderboard.request,
        **body,
        "certificate_now": certificate,
    }
