"""Every SQL statement about reports."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from app.models import Report
from app.pagination import fetch_page


async def by_inputs(session: AsyncSession, inputs_hash: str) -> Report | None:
    """Return the report that was made from these inputs."""
    return await session.scalar(select(Report).where(Report.inputs_hash == inputs_hash))


async def page(session: AsyncSession, limit: int, after: str | None) -> Sequence[Report]:
    """Return one report more than the page holds."""
    return await fetch_page(session, select(Report), Report, limit, after)


async def add(session: AsyncSession, values: dict[str, Any]) -> None:
    """Store a report, unless another request stored one of the same inputs meanwhile."""
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    statement = dialect.insert(Report).values(values)
    await session.execute(statement.on_conflict_do_nothing(index_elements=["inputs_hash"]))
