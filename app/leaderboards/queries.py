"""Every SQL statement about leaderboards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.db import rfc3339
from app.core.lists import Paging, fetch_page
from app.core.models import CalibrationRow, Leaderboard

_CHUNK: Final = 500


async def page(session: AsyncSession, paging: Paging) -> Sequence[Leaderboard]:
    """Return one leaderboard more than the page holds."""
    return await fetch_page(session, select(Leaderboard), Leaderboard, paging)


async def certificates_now(session: AsyncSession, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return status and revocation of these certificates, as far as they still exist, by id."""
    found = {}
    for start in range(0, len(ids), _CHUNK):
        query = select(CalibrationRow.id, CalibrationRow.status, CalibrationRow.revoked_at).where(
            CalibrationRow.id.in_(ids[start : start + _CHUNK])
        )
        for row in await session.execute(query):
            revoked_at = None if row.revoked_at is None else rfc3339(row.revoked_at)
            found[row.id] = {"id": row.id, "status": row.status, "revoked_at": revoked_at}
    return found
