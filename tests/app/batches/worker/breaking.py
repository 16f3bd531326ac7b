"""A database whose connection breaks at the worst moment."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import func, select
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.db import Database
from app.core.models import Batch
from app.core.runtime import Runtime


class _Breaking(Database):
    """Breaks once, when a batch has just been completed: after the commit, before its answer."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.has_broken = asyncio.Event()

    @asynccontextmanager
    async def write(self) -> AsyncIterator[AsyncSession]:
        async with super().write() as session:
            yield session
        if not self.has_broken.is_set() and await self._completed():
            self.has_broken.set()
            raise DBAPIError("COMMIT", None, ConnectionResetError("the connection is gone"))

    async def _completed(self) -> int:
        query = select(func.count()).select_from(Batch).where(Batch.status == "completed")
        async with self.read() as session:
            return await session.scalar(query) or 0


@asynccontextmanager
async def breaking_at_the_end(running: Runtime) -> AsyncIterator[asyncio.Event]:
    """Let the service's connection break when a batch completes; yields whether it has."""
    usual, running.db = running.db, _Breaking(running.db.url)
    try:
        yield running.db.has_broken
    finally:
        await running.db.aclose()
        running.db = usual
