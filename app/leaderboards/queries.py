"""Every SQL statement about leaderboards."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.models import Leaderboard
from app.pagination import fetch_page


async def page(session: AsyncSession, limit: int, after: str | None) -> Sequence[Leaderboard]:
    """Return one leaderboard more than the page holds."""
    return await fetch_page(session, select(Leaderboard), Leaderboard, limit, after)
