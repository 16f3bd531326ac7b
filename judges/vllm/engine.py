"""One vLLM engine in this process: started, watched, started again when it dies, and ended with us.

vLLM runs a model in child processes of its own, which end with this one, however it ends.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from judges.engines import EngineSettings, EngineUnavailable, OpenedEngine
from judges.opened_vllm import open_vllm

_log = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS: Final = 1.0
LONGEST_PAUSE_SECONDS: Final = 60.0
_LIVED_LONG_SECONDS: Final = 60.0
_LOOK_SECONDS: Final = 0.5
_ENGINE_PROCESS: Final = "EngineCore"


Open = Callable[[EngineSettings], OpenedEngine]
Pause = Callable[[float], Awaitable[None]]


class VllmEngine:
    """Keeps one engine running from `start` to `aclose`.

    Args:
        settings: What to run.
        turn: Held while the engine starts: two that start at once on one GPU each take the other's
            memory for their own.
        open_engine: Starts an engine; blocks.
        pause: Waits between two attempts.
    """

    def __init__(
        self,
        settings: EngineSettings,
        turn: asyncio.Lock,
        *,
        open_engine: Open | None = None,
        pause: Pause = asyncio.sleep,
    ) -> None:
        self.settings = settings
        self._turn = turn
        self._open = open_engine or open_vllm
        self._pause = pause
        self._opened: OpenedEngine | None = None
        self._detail = "the model loads when it is first asked"
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def opened(self) -> OpenedEngine | None:
        """The running engine; None while there is none."""
        opened = self._opened
        return None if opened is None or opened.is_dead else opened

    @property
    def detail(self) -> str:
        """Why there is no running engine."""
        return self._detail

    @property
    def is_starting(self) -> bool:
        """Whether it loads for the first time."""
        return self._task is not None and not self._changed.is_set()

    def start(self) -> None:
        """Begin to load the model; returns at once."""
        if self._task is None:
            self._detail = "waits for its turn to load"
            self._task = asyncio.create_task(self._keep(), name=f"engine {self.settings.model}")

    async def wait(self, seconds: float) -> OpenedEngine:
        """Return the engine, which begins to load if nobody has told it to, and is waited for.

        Raises:
            EngineUnavailable: it has not loaded in this time, has failed to, or has died.
        """
        self.start()
        if self._opened is None and not self._changed.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), seconds)
        if (opened := self.opened) is None:
            raise EngineUnavailable(f"{self.settings.model}: {self._detail}")
        return opened

    async def aclose(self) -> None:
        """End the engine and its processes; safe to call twice."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _keep(self) -> None:
        pause = FIRST_PAUSE_SECONDS
        clock = asyncio.get_running_loop().time
        while True:
            began = clock()
            await self._run_once()
            pause = FIRST_PAUSE_SECONDS if clock() - began > _LIVED_LONG_SECONDS else pause
            self._detail += f"; it is started again every {pause:g} s"
            self._changed.set()
            await self._pause(pause)
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    async def _run_once(self) -> None:
        """Load the model and return when the engine has died or could not start."""
        try:
            async with self._turn:
                self._detail = "the model is loading"
                opened = await self._opening()
        except Exception as error:
            self._detail = f"could not start: {_one_line(error)}"
            _log.error("engine %s: %s", self.settings.model, self._detail)
            return
        self._opened = opened
        self._changed.set()
        _log.info("engine %s is ready", self.settings.model)
        try:
            while not opened.is_dead:  # noqa: ASYNC110 - an engine tells nobody that it dies
                await asyncio.sleep(_LOOK_SECONDS)
            self._detail = "its engine died"
            _log.error("engine %s died", self.settings.model)
        finally:
            self._opened = None
            await asyncio.to_thread(opened.close)

    async def _opening(self) -> OpenedEngine:
        thread = asyncio.ensure_future(asyncio.to_thread(self._open, self.settings))
        try:
            return await asyncio.shield(thread)
        except asyncio.CancelledError:
            # the thread cannot be stopped, but it ends when the process that it waits for does
            _kill_engine_processes()
            with suppress(Exception):
                (await thread).close()
            raise


class EngineHost:
    """The engines of one process; judges of one model with the same options share one.

    Args:
        open_engine: Starts an engine; vLLM by default.
        is_eager: Models load at once, not when they are first asked.
    """

    def __init__(self, open_engine: Open | None = None, *, is_eager: bool = True) -> None:
        self._open = open_engine
        self._is_eager = is_eager
        self._engines: dict[str, VllmEngine] = {}
        self._turn = asyncio.Lock()

    def engine(self, settings: EngineSettings) -> VllmEngine:
        """Return the engine for these settings."""
        if settings.key not in self._engines:
            engine = VllmEngine(settings, self._turn, open_engine=self._open)
            self._engines[settings.key] = engine
            if self._is_eager:
                engine.start()
        return self._engines[settings.key]

    async def aclose(self) -> None:
        """End every engine."""
        async with asyncio.TaskGroup() as group:
            for engine in self._engines.values():
                group.create_task(engine.aclose())


def _kill_engine_processes() -> None:
    for process in multiprocessing.active_children():
        if process.name.startswith(_ENGINE_PROCESS):
            process.kill()


def _one_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    shown = f"{lines[0]} {lines[-1]}" if len(lines) > 1 else lines[0]
    return (shown if isinstance(error, EngineUnavailable) else f"{type(error).__name__}: {shown}")[
        :500
    ]
