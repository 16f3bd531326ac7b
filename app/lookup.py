"""Finds a row by its public id."""

from __future__ import annotations

from typing import TypeVar

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from app.identifiers import is_name
from app.models import Listed

ListedT = TypeVar("ListedT", bound=Listed)


async def by_public_id(
    session: AsyncSession, table: type[ListedT], public_id: str
) -> ListedT | None:
    """Return the row with this id, None where there is none.

    An id that no row can have (NUL, lone surrogates) is not sent: PostgreSQL refuses such text.
    """
    if not is_name(public_id):
        return None
    return await session.scalar(select(table).where(table.id == public_id))
