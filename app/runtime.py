"""What one process of the service holds: settings, database, judges, clock, background work."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Depends, Request
from judges.registry import Registry

from app.db import Database
from app.settings import Settings

_log = logging.getLogger(__name__)


def now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


@dataclass(slots=True)
class Runtime:
    """The parts that requests and workers share."""

    settings: Settings
    db: Database
    registry: Registry
    now: Callable[[], datetime] = now
    wake_workers: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: set[asyncio.Task[Any]] = field(default_factory=set)

    def start(self, work: Coroutine[Any, Any, Any], name: str) -> None:
        """Run `work` beside the requests until it ends or the service stops."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error("background work %s failed", task.get_name(), exc_info=task.exception())

    async def aclose(self) -> None:
        """Stop background work, then judges, then the database."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.wait(self._tasks, timeout=10) if self._tasks else None
        await self.registry.aclose()
        await self.db.aclose()


def get_runtime(request: Request) -> Runtime:
    """Return the runtime of the app that serves this request."""
    runtime: Runtime = request.app.state.runtime
    return runtime


Running = Annotated[Runtime, Depends(get_runtime)]
