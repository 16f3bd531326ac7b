"""Threads for long work: a few at a time for each kind, refused when too much waits, cancelled.

The event loop's own threads are few and shared. Long work on them would hold up every short step of
other requests, and Python waits for them when it exits.
"""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, Self, TypeVar

from app.core.errors import BadRequest, NotReady

if TYPE_CHECKING:
    from app.core.settings import Settings

ResultT = TypeVar("ResultT")
RETRY_AFTER: Final = "5"
# how the message of a request is received; set for each request, None outside of one
client: contextvars.ContextVar[Callable[[], Awaitable[Any]] | None] = contextvars.ContextVar(
    "client", default=None
)
_AGAIN_SECONDS: Final = 0.2
# fewer take less time than a thread would
_FEW: Final = 500
_GRACE_SECONDS: Final = 3.0


class _Interrupted(BaseException):
    """Ends the work of a thread from outside."""


class _Work(Generic[ResultT]):
    """A function that runs in a thread of its own.

    The thread is a daemon: one that cannot be ended keeps no process alive.
    """

    def __init__(self, function: Callable[[], ResultT]) -> None:
        self._function = function
        self._loop = asyncio.get_running_loop()
        self.result: asyncio.Future[ResultT] = self._loop.create_future()
        self.has_ended = asyncio.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="long work")
        self._thread.start()

    def interrupt(self) -> None:
        """Raise an exception in the thread; it comes when the interpreter runs there again."""
        if self._thread.ident is not None and not self.has_ended.is_set():
            number, error = ctypes.c_ulong(self._thread.ident), ctypes.py_object(_Interrupted)
            ctypes.pythonapi.PyThreadState_SetAsyncExc(number, error)

    def _run(self) -> None:
        result, error = None, None
        try:
            result = self._function()
        except BaseException as caught:
            error = caught
        while True:
            try:
                self._loop.call_soon_threadsafe(self._end, result, error)
            except _Interrupted:
                continue  # it came too late
            except RuntimeError:
                pass  # the loop has been closed: no one waits
            return

    def _end(self, result: Any, error: BaseException | None) -> None:
        self.has_ended.set()
        if self.result.done():
            return
        if isinstance(error, _Interrupted):
            self.result.cancel()
        elif error is not None:
            self.result.set_exception(error)
        else:
            self.result.set_result(result)


async def in_thread(function: Callable[..., ResultT], *args: Any) -> ResultT:
    """Return the result of a function that may take long; where this is cancelled, it ends, too.

    The function must hold no lock that others need, since it may be ended anywhere.
    """
    context = contextvars.copy_context()
    work = _Work(lambda: context.run(function, *args))
    try:
        return await asyncio.shield(work.result)
    except asyncio.CancelledError:
        await _ended(work)
        raise


async def beside_if_many(count: int, function: Callable[..., ResultT], *args: Any) -> ResultT:
    """Return the result of a short step for each of `count` items; many are done `in_thread`."""
    if count < _FEW:
        return function(*args)
    return await in_thread(function, *args)


async def _ended(work: _Work[Any]) -> None:
    """Interrupt until the thread has ended: its files may be closed only then."""
    waiting = asyncio.ensure_future(work.has_ended.wait())
    for _ in range(round(_GRACE_SECONDS / _AGAIN_SECONDS)):
        work.interrupt()
        done, _ = await asyncio.wait([waiting], timeout=_AGAIN_SECONDS)
        if done:
            return
    waiting.cancel()


class Pool:
    """Room for one kind of work.

    Args:
        kind: Its name in messages.
        at_once: How many run at a time.
        waiting: How many more may wait.
    """

    def __init__(self, kind: str, at_once: int, waiting: int) -> None:
        self._kind = kind
        self._most = at_once + waiting
        self._free = asyncio.Semaphore(at_once)
        self._admitted = 0

    @contextmanager
    def admitted(self, *, refuses: bool = True) -> Iterator[None]:
        """Take a place for a request, or refuse it.

        Args:
            refuses: False for work that was accepted before.

        Raises:
            NotReady: too many requests of this kind run or wait.
        """
        if refuses and self._admitted >= self._most:
            raise NotReady(
                f"{self._admitted} {self._kind} run or wait already; send it again later",
                headers={"Retry-After": RETRY_AFTER},
            )
        self._admitted += 1
        try:
            yield
        finally:
            self._admitted -= 1

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Take a place, and wait until there is room for work of many short steps.

        Raises:
            NotReady: too many requests of this kind run or wait.
        """
        with self.admitted():
            async with self._free:
                yield

    async def run(self, function: Callable[..., ResultT], *args: Any) -> ResultT:
        """Run a function in a thread when there is room."""
        async with self._free:
            return await in_thread(function, *args)

    async def run_for_client(self, function: Callable[..., ResultT], *args: Any) -> ResultT:
        """Run a function likewise, and end it when the client of the request has gone.

        Raises:
            BadRequest: the client has gone.
        """
        receive = client.get()
        work: asyncio.Future[ResultT] = asyncio.ensure_future(self.run(function, *args))
        gone: asyncio.Future[None] = asyncio.Future()
        if receive is not None:
            gone = asyncio.ensure_future(_gone(receive))
        both: tuple[asyncio.Future[Any], ...] = (work, gone)
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                raise BadRequest("the client has gone, and with it what it asked for")
            return work.result()
        finally:
            for task in both:
                task.cancel()
            await asyncio.wait([work])


async def _gone(receive: Callable[[], Awaitable[Any]]) -> None:
    """Wait until the client has closed its connection; its body has been read."""
    while (await receive())["type"] != "http.disconnect":
        pass


@dataclass(frozen=True, slots=True)
class Pools:
    """The kinds of long work of one process; none waits for another."""

    imports: Pool
    exports: Pool
    calibrations: Pool
    reports: Pool
    experiments: Pool

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return pools as large as the settings say."""
        kinds = (
            "imports", "exports", "calibrations", "reports and leaderboards",
            "plans and experiments",
        )  # fmt: skip
        return cls(*(Pool(kind, settings.long_work, settings.long_work_waiting) for kind in kinds))
