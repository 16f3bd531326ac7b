"""Start, monitor, restart and stop vLLM engines.

vLLM runs a model in child processes, which are killed if this process exits for any reason. This is
the only module that imports vLLM.
"""

from __future__ import annotations

import asyncio
import logging
import math
import multiprocessing
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from typing import Any, Final

from judges.errors import nearest
from judges.prompting.tokens import Tokenizer
from judges.vllm.settings import (
    EngineAnswer,
    EngineSettings,
    EngineUnavailable,
    OpenedEngine,
    Pooled,
)

# The pipe closes when this process exits for any reason; the watcher then kills what is left,
# children first. A line on the pipe means that the processes have stopped in order.
_PROGRAM: Final = """
import os, signal, sys
def family(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            children = [int(word) for word in file.read().split()]
    except OSError:
        children = []
    return [d for child in children for d in family(child)] + [pid]
if not sys.stdin.readline():
    for root in sys.argv[1:]:
        for pid in family(int(root)):
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass
"""


class EngineReaper:
    """Kill the given processes if this one exits before `close`, from a separate process."""

    def __init__(self, processes: Sequence[int]) -> None:
        self._watcher = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _PROGRAM, *map(str, processes)],
            stdin=subprocess.PIPE,
            # Ctrl-C reaches the whole process group of a terminal; the watcher must survive it.
            start_new_session=True,
        )

    def close(self) -> None:
        """Stop watching: the processes have ended, or other code stops them."""
        if self._watcher.stdin is not None and not self._watcher.stdin.closed:
            try:
                self._watcher.stdin.write(b"\n")
                self._watcher.stdin.close()
            except BrokenPipeError:
                pass
        self._watcher.wait()


_DEVICES: Final = "CUDA_VISIBLE_DEVICES"
_SHUTDOWN_SECONDS: Final = 15.0
# what a head is asked for: a number for the whole prompt, or one for each token
_TASKS: Final = ("classify", "token_classify")
_INSTALL: Final = (
    "vLLM is not installed: pip install 'tribunal-judge[vllm]' on a machine with a GPU"
)


def open_vllm(settings: EngineSettings) -> OpenedEngine:
    """Start vLLM; blocks until the model is loaded.

    Raises:
        EngineUnavailable: vLLM is not installed or does not know an option.
        Exception: Any other error of vLLM.
    """
    # By default vLLM reports usage and logs to standard output.
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
            near = nearest(name, known)
            hint = f", did you mean {near!r}?" if near else ""
            raise EngineUnavailable(f"engine.{name}: vLLM knows no such option{hint}")
    arguments = {"enable_prefix_caching": True, "disable_log_stats": True, **settings.options}
    if settings.revision is not None:
        arguments["revision"] = settings.revision
    # Do not bind the engine to a name: vLLM keeps this frame alive, which would keep the engine.
    with _seeing(settings.devices):
        return _OpenedVllm(
            AsyncLLM.from_engine_args(AsyncEngineArgs(model=settings.model, **arguments)),
            _children(),
        )


@contextmanager
def _seeing(devices: str | None) -> Iterator[None]:
    """Restrict new child processes to these GPUs; not safe for concurrent starts."""
    before = os.environ.get(_DEVICES)
    if devices is not None:
        os.environ[_DEVICES] = devices
    try:
        yield
    finally:
        if before is not None:
            os.environ[_DEVICES] = before
        elif devices is not None:
            os.environ.pop(_DEVICES, None)


def _children() -> list[int]:
    return [p.pid for p in multiprocessing.active_children() if p.pid is not None]


class _OpenedVllm:
    """Adapter of vLLM's engine; `children` are all child processes of this process."""

    def __init__(self, engine: Any, children: Sequence[int]) -> None:
        self._engine: Any = engine
        self._numbers = count()
        self._task: str | None = None
        # Children that outlive a killed parent would hold the GPU's memory.
        self._reaper = EngineReaper(children)
        self.tokenizer: Tokenizer = engine.get_tokenizer()
        self.max_tokens = int(engine.model_config.max_model_len)

    @property
    def is_dead(self) -> bool:
        return self._engine is None or bool(self._engine.errored)

    async def ask(
        self, token_ids: Sequence[int], *, wanted: Sequence[int], length: int, stop: Sequence[int]
    ) -> EngineAnswer:
        engine = self._engine  # `close` resets it in another thread
        if engine is None:
            raise EngineUnavailable("its engine had ended before it was asked")
        from vllm.v1.engine.exceptions import EngineDeadError

        answers = engine.generate(
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

    async def pool(self, token_ids: Sequence[int]) -> Pooled:
        engine = self._engine
        if engine is None:
            raise EngineUnavailable("its engine had ended before it was asked")
        from vllm import PoolingParams
        from vllm.v1.engine.exceptions import EngineDeadError

        try:
            if self._task is None:
                known = await engine.get_supported_tasks()
                self._task = next((task for task in _TASKS if task in known), None)
            if self._task is None:
                raise EngineUnavailable("the model has no head that scores: is it a reward model?")
            answers = engine.encode(
                {"prompt_token_ids": list(token_ids)},
                PoolingParams(task=self._task, use_activation=False),
                f"tribunal-{next(self._numbers)}",
            )
            answer = None
            async for latest in answers:
                answer = latest
        except EngineDeadError as error:
            raise EngineUnavailable("its engine died while it answered") from error
        if answer is None:
            raise EngineUnavailable("its engine gave no answer")
        rows = answer.outputs.data.float()
        # with a row for each token, the last one has seen the whole prompt
        values = rows[-1] if rows.ndim > 1 else rows
        cached = int(getattr(answer, "num_cached_tokens", 0) or 0)
        return Pooled(tuple(values.reshape(-1).tolist()), len(answer.prompt_token_ids), cached)

    def close(self) -> None:
        engine, self._engine = self._engine, None
        if engine is not None:
            with suppress(Exception):  # shutting down a dead engine may fail
                engine.shutdown(timeout=_SHUTDOWN_SECONDS)
        self._reaper.close()


def _sampling(wanted: Sequence[int], length: int, stop: Sequence[int]) -> Any:
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind

    options: dict[str, Any] = {"output_kind": RequestOutputKind.FINAL_ONLY, "detokenize": False}
    if wanted:
        # Restrict sampling to these tokens, so that exactly their log-probabilities come back.
        # The values are still normalised over the whole vocabulary.
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


_log = logging.getLogger(__name__)

FIRST_PAUSE_SECONDS: Final = 1.0
LONGEST_PAUSE_SECONDS: Final = 60.0
_LIVED_LONG_SECONDS: Final = 60.0
_LOOK_SECONDS: Final = 0.5
_ENGINE_PROCESS: Final = "EngineCore"


Open = Callable[[EngineSettings], OpenedEngine]
Pause = Callable[[float], Awaitable[None]]


class VllmEngine:
    """Keep one engine running from `start` to `aclose`.

    Args:
        settings: The engine settings.
        turn: Lock held while the engine starts. Engines that start at the same time on one GPU
            would each claim the other's memory.
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
        """The running engine, or None."""
        opened = self._opened
        return None if opened is None or opened.is_dead else opened

    @property
    def detail(self) -> str:
        """The reason why no engine is running."""
        return self._detail

    @property
    def is_starting(self) -> bool:
        """True while the engine loads for the first time."""
        return self._task is not None and not self._changed.is_set()

    def start(self) -> None:
        """Start loading the model in the background."""
        if self._task is None:
            self._detail = "waits for its turn to load"
            self._task = asyncio.create_task(self._keep(), name=f"engine {self.settings.model}")

    async def wait(self, seconds: float) -> OpenedEngine:
        """Return the running engine; start it if needed and wait for it.

        Raises:
            EngineUnavailable: The engine did not load in time, failed to start, or died.
        """
        self.start()
        if self._opened is None and not self._changed.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), seconds)
        if (opened := self.opened) is None:
            raise EngineUnavailable(f"{self.settings.model}: {self._detail}")
        return opened

    async def aclose(self) -> None:
        """Stop the engine and its processes; safe to call twice."""
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
        """Load the model and return when the engine has died or failed to start."""
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
            while not opened.is_dead:  # noqa: ASYNC110 - vLLM sends no event when an engine dies
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
            # The thread cannot be cancelled, but it ends when the process it waits for does.
            _kill_engine_processes()
            with suppress(Exception):
                (await thread).close()
            raise


class EngineHost:
    """The engines of one process; judges with the same model and options share one.

    Args:
        open_engine: Starts an engine; vLLM by default.
        is_eager: Load models immediately; if False, on first use.
    """

    def __init__(self, open_engine: Open | None = None, *, is_eager: bool = True) -> None:
        self._open = open_engine
        self._is_eager = is_eager
        self._engines: dict[str, VllmEngine] = {}
        self._turn = asyncio.Lock()

    def engine(self, settings: EngineSettings) -> VllmEngine:
        """Return the engine for these settings, creating it if needed."""
        if settings.key not in self._engines:
            engine = VllmEngine(settings, self._turn, open_engine=self._open)
            self._engines[settings.key] = engine
            if self._is_eager:
                engine.start()
        return self._engines[settings.key]

    async def aclose(self) -> None:
        """Stop every engine."""
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
