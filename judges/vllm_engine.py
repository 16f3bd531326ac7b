"""One vLLM engine in this process: started, watched, started again when it dies, and ended with us.

vLLM runs a model in child processes of its own. It is imported here alone and only when an engine
starts, so that the service runs without the extra `vllm`. Not a line of this depends on what is
judged: prompts are token ids.

    EngineUnavailable   the engine is loading, has died, or cannot start; the message says which
"""

from __future__ import annotations

import asyncio
import logging
import math
import multiprocessing
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from difflib import get_close_matches
from itertools import count
from typing import Any, Final, Protocol

from judges.engine_reaper import EngineReaper
from judges.prompt_tokens import Tokenizer

_log = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS: Final = 1.0
LONGEST_PAUSE_SECONDS: Final = 60.0
_LIVED_LONG_SECONDS: Final = 60.0
_LOOK_SECONDS: Final = 0.5
_SHUTDOWN_SECONDS: Final = 15.0
_ENGINE_PROCESS: Final = "EngineCore"
_INSTALL: Final = "vLLM is not installed: pip install 'tribunal[vllm]' on a machine with a GPU"


class EngineUnavailable(Exception):
    """The engine cannot answer now; the message says why."""


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """What an engine runs.

    Attributes:
        model: A folder, or a name on the model hub.
        revision: Of a model on the hub.
        options: Further arguments of vLLM's engine, handed over as they are.
    """

    model: str
    revision: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """The same for settings that one engine can serve."""
        return repr((self.model, self.revision, sorted(self.options.items(), key=repr)))


@dataclass(frozen=True, slots=True)
class EngineAnswer:
    """What an engine answered to one prompt.

    Attributes:
        token_ids: The tokens that it wrote.
        logprobs: Log-probability of each token asked for, at the first position, over the whole
            vocabulary.
        prompt_tokens: Tokens of the prompt.
        cached_tokens: Tokens of the prompt that were served from the prefix cache.
    """

    token_ids: tuple[int, ...]
    logprobs: Mapping[int, float]
    prompt_tokens: int
    cached_tokens: int


class OpenedEngine(Protocol):
    """An engine that has started."""

    tokenizer: Tokenizer
    max_tokens: int

    @property
    def is_dead(self) -> bool:
        """Whether it can answer no more."""
        ...

    async def ask(
        self, token_ids: Sequence[int], *, wanted: Sequence[int], length: int, stop: Sequence[int]
    ) -> EngineAnswer:
        """Answer one prompt; `EngineUnavailable` if it dies meanwhile."""
        ...

    def close(self) -> None:
        """End its processes."""
        ...


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
        self._detail = "waits for its turn to load"
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

    def start(self) -> None:
        """Begin to load the model; returns at once."""
        if self._task is None:
            self._task = asyncio.create_task(self._keep(), name=f"engine {self.settings.model}")

    async def wait(self, seconds: float) -> OpenedEngine:
        """Return the engine, waiting while it loads for the first time.

        Raises:
            EngineUnavailable: it has not loaded in this time, has failed to, or has died.
        """
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
    """

    def __init__(self, open_engine: Open | None = None) -> None:
        self._open = open_engine
        self._engines: dict[str, VllmEngine] = {}
        self._turn = asyncio.Lock()

    def engine(self, settings: EngineSettings) -> VllmEngine:
        """Return the engine for these settings; a new one begins to load."""
        if settings.key not in self._engines:
            engine = VllmEngine(settings, self._turn, open_engine=self._open)
            self._engines[settings.key] = engine
            engine.start()
        return self._engines[settings.key]

    async def aclose(self) -> None:
        """End every engine."""
        async with asyncio.TaskGroup() as group:
            for engine in self._engines.values():
                group.create_task(engine.aclose())


def open_vllm(settings: EngineSettings) -> OpenedEngine:
    """Start vLLM; blocks until the model is loaded.

    Raises:
        Exception: whatever vLLM says; a missing installation and unknown options in our words.
    """
    # it reports usage and logs to standard output unless told otherwise
    os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
    os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")
    try:
        from vllm import AsyncEngineArgs
        from vllm.v1.engine.async_llm import AsyncLLM
    except ImportError as error:
        raise EngineUnavailable(f"{_INSTALL} ({error})") from error
    known = AsyncEngineArgs.__dataclass_fields__
    for name in settings.options:
        if name not in known:
            near = get_close_matches(name, list(known), n=1)
            hint = f", did you mean {near[0]!r}?" if near else ""
            raise EngineUnavailable(f"engine.{name}: vLLM knows no such option{hint}")
    arguments = {"enable_prefix_caching": True, "disable_log_stats": True, **settings.options}
    if settings.revision is not None:
        arguments["revision"] = settings.revision
    before = {process.pid for process in multiprocessing.active_children()}
    engine = AsyncLLM.from_engine_args(AsyncEngineArgs(model=settings.model, **arguments))
    started = [p.pid for p in multiprocessing.active_children() if p.pid not in before]
    return _OpenedVllm(engine, [pid for pid in started if pid is not None])


class _OpenedVllm:
    """vLLM's engine behind the seam."""

    def __init__(self, engine: Any, processes: Sequence[int]) -> None:
        self._engine = engine
        self._numbers = count()
        # children that outlive a killed parent would keep the GPU's memory
        self._reaper = EngineReaper(processes)
        self.tokenizer: Tokenizer = engine.get_tokenizer()
        self.max_tokens = int(engine.model_config.max_model_len)

    @property
    def is_dead(self) -> bool:
        return bool(self._engine.errored)

    async def ask(
        self, token_ids: Sequence[int], *, wanted: Sequence[int], length: int, stop: Sequence[int]
    ) -> EngineAnswer:
        from vllm.v1.engine.exceptions import EngineDeadError

        answers = self._engine.generate(
            {"prompt_token_ids": list(token_ids)},
            _sampling(wanted, length, stop),
            f"tribunal-{next(self._numbers)}",
        )
        answer = None
        try:
            async for latest in answers:
                answer = latest
        except EngineDeadError as error:
            raise EngineUnavailable("its engine died while it answered") from error
        if answer is None:
            raise EngineUnavailable("its engine gave no answer")
        return _read(answer, wanted)

    def close(self) -> None:
        with suppress(Exception):  # a dead engine's remains may refuse
            self._engine.shutdown(timeout=_SHUTDOWN_SECONDS)
        self._reaper.close()


def _sampling(wanted: Sequence[int], length: int, stop: Sequence[int]) -> Any:
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    options: dict[str, Any] = {"output_kind": RequestOutputKind.FINAL_ONLY, "detokenize": False}
    if wanted:
        # only these may be written, so that exactly these log-probabilities come back; the
        # numbers themselves are those of the whole vocabulary all the same
        options |= {"logprob_token_ids": list(wanted), "allowed_token_ids": list(wanted)}
    if stop:
        options["stop_token_ids"] = list(stop)
    return SamplingParams(temperature=0, max_tokens=length, **options)


def _read(answer: Any, wanted: Sequence[int]) -> EngineAnswer:
    written = answer.outputs[0]
    first = written.logprobs[0] if wanted and written.logprobs else {}
    logprobs = {
        token_id: float(first[token_id].logprob) for token_id in wanted if token_id in first
    }
    return EngineAnswer(
        token_ids=tuple(written.token_ids),
        logprobs={i: value for i, value in logprobs.items() if not math.isnan(value)},
        prompt_tokens=len(answer.prompt_token_ids),
        cached_tokens=int(answer.num_cached_tokens or 0),
    )


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
