"""The state of one process of the service: settings, database, judges, clock, background work."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakValueDictionary

from app.core.db import Database
from app.core.pools import Pools
from app.core.settings import Settings
from app.core.tasks import Coalescer, Courtesy

if TYPE_CHECKING:
    from judges.base import JudgeHealth
    from judges.registry import Registry

_log = logging.getLogger(__name__)
_HEALTH_SECONDS: Final = 2.0


def now() -> datetime:
    """The wall clock."""
    return datetime.now(UTC)


@dataclass(slots=True)
class Runtime:
    """The parts that requests and workers share.

    `opening` says what requests have to wait for; None when the service is ready.
    """

    settings: Settings
    db: Database
    registry: Registry
    load_registry: Callable[[], Awaitable[Registry]]
    now: Callable[[], datetime] = now
    opening: str | None = None
    page_secret: bytes | None = None
    asks_for_keys: bool = True
    health_lines: Mapping[str, float | None] = field(default_factory=dict)
    wake_workers: asyncio.Event = field(default_factory=asyncio.Event)
    answering: WeakValueDictionary[tuple[str, str, str], asyncio.Lock] = field(
        default_factory=WeakValueDictionary
    )
    key_uses: dict[str, datetime] = field(default_factory=dict)
    coalescer: Coalescer = field(default_factory=Coalescer)
    courtesy: Courtesy = field(default_factory=Courtesy)
    pools: Pools = field(init=False)
    _health: tuple[Registry, float, Mapping[str, JudgeHealth]] | None = None
    _retired: list[Registry] = field(default_factory=list)
    _tasks: set[asyncio.Task[Any]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.pools = Pools.of(self.settings)

    def start(self, work: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Run `work` beside the requests until it ends or the service stops."""
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _log.error("background work %s failed", task.get_name(), exc_info=task.exception())

    async def reload_if_waiting(self) -> None:
        """Make the judges again if one waits for a dataset of few-shot examples.

        Requests in flight keep the judges they started with; those close with the service.
        """
        from judges.registry import WaitingJudge  # a process that only reads asks no judge

        if any(isinstance(judge, WaitingJudge) for judge in self.registry.judges.values()):
            loaded = await self.load_registry()
            self._retired.append(self.registry)
            self.registry = loaded

    async def health_of_judges(self) -> Mapping[str, JudgeHealth]:
        """Return the health of every judge, by name.

        Judges are asked now and then, not by every request: probes come often, and an answer may
        cost a call to a model's server.
        """
        return await self.coalescer.call("health", self.registry, self._ask_for_health)

    async def _ask_for_health(
        self, registries: Sequence[Registry]
    ) -> Sequence[Mapping[str, JudgeHealth]]:
        return [await self._health_of(registry) for registry in registries]

    async def _health_of(self, registry: Registry) -> Mapping[str, JudgeHealth]:
        moment = asyncio.get_running_loop().time()
        if self._health is not None:
            asked, at, health = self._health
            if asked is registry and moment - at < _HEALTH_SECONDS:
                return health
        async with asyncio.TaskGroup() as group:
            asked_now = {n: group.create_task(j.health()) for n, j in registry.judges.items()}
        health = {name: task.result() for name, task in asked_now.items()}
        self._health = registry, moment, health
        return health

    async def open_judges(self) -> None:
        """Make the judges whose model folders must be hashed first, which may take long."""
        if self.opening is None:
            return
        try:
            await self.reload_if_waiting()
        except Exception as error:
            self.opening = f"the judges could not be made: {error}"
            raise
        self.opening = None

    async def aclose(self) -> None:
        """Stop background work, then judges, then the database."""
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.wait(self._tasks, timeout=10) if self._tasks else None
        for registry in (*self._retired, self.registry):
            await registry.aclose()
        await self.db.aclose()
