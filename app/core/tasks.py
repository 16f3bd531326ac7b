"""Coroutines shielded from cancellation, the signal to stop, and coalesced calls."""

from __future__ import annotations

import asyncio
import logging
import signal
import threading
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import Context
from dataclasses import dataclass
from types import FrameType
from typing import Any, Final, TypeVar

_T = TypeVar("_T")
_log = logging.getLogger(__name__)


async def shielded(
    work: Coroutine[Any, Any, _T], *, expected: type[Exception] | tuple[()] = ()
) -> _T:
    """Return the result of `work`; a caller that is cancelled stops only when `work` is done.

    For transactions: a driver does not survive one that is cut off in the middle. An error after the
    cancellation is logged, because no caller is left to handle it, unless it is `expected`.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if not task.done():
            await asyncio.wait([task])
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, expected):
            _log.error("failed after its caller was cancelled", exc_info=error)
        raise


_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


@dataclass(slots=True)
class Stopping:
    """Tells whether the process has been asked to stop.

    A server closes the application only after every connection has ended. A stream that may stay open
    for hours must therefore look here and end by itself.
    """

    has_begun: bool = False

    def begin(self) -> None:
        """Note the request to stop."""
        self.has_begun = True


@contextmanager
def noticing_stop(notice: Callable[[], None]) -> Iterator[None]:
    """Call `notice` when a signal asks the process to stop, before the handlers set earlier.

    Outside the main thread, where Python allows no handlers, it does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # without an earlier handler the system's default stays
    before = {
        number: earlier for number in _SIGNALS if callable(earlier := signal.getsignal(number))
    }

    def hear(number: int, frame: FrameType | None) -> None:
        notice()
        before[signal.Signals(number)](number, frame)

    for number in before:
        signal.signal(number, hear)
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


# without a request, other tasks run as often; with one, for so many times as long as a step took
_STEP_SECONDS: Final = 0.005
_SHORT_STEP_SECONDS: Final = 0.001
_TIMES_AS_LONG: Final = 3
_INTERACTIVE_SECONDS: Final = 1.0


class Courtesy:
    """Lets requests go before work that can wait.

    Such work pauses between its small steps. While a request is being answered it takes a quarter of
    the event loop at most, one step at a time, however many workers there are. A request counts for
    a second: one that takes longer is itself long work.
    """

    def __init__(self) -> None:
        self._requests: dict[object, float] = {}
        self._paused = 0.0
        self._turn = asyncio.Lock()

    @contextmanager
    def request(self) -> Iterator[Callable[[], None]]:
        """Count a request until it ends, or until the function is called that this yields."""
        mark = object()
        self._requests[mark] = asyncio.get_running_loop().time()

        def end() -> None:
            self._requests.pop(mark, None)

        try:
            yield end
        finally:
            end()

    @property
    def is_asked(self) -> bool:
        """True while a request that came lately is being answered."""
        newest = next(reversed(self._requests.values()), None)
        now = asyncio.get_running_loop().time()
        return newest is not None and now - newest < _INTERACTIVE_SECONDS

    async def pause(self) -> None:
        """Let others run, if it is time; to be awaited before each step."""
        now = asyncio.get_running_loop().time
        worked = now() - self._paused
        if not self.is_asked:
            if worked > _STEP_SECONDS:
                await asyncio.sleep(0)
                self._paused = now()
            return
        if worked < _SHORT_STEP_SECONDS:
            return
        async with self._turn:
            await asyncio.sleep(_TIMES_AS_LONG * min(worked, _STEP_SECONDS))
            self._paused = now()


_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
Work = Callable[[Sequence[_Item]], Awaitable[Sequence[_Result]]]


class Coalescer:
    """Calls coalesced into rounds of work, one round at a time for each key.

    A transaction costs far more than one statement in it. A call that comes while a round runs waits
    for the next round, which serves all that wait. A round starts after its calls have come, so that
    none reads an older state than it would by itself; a single call waits for no other.
    """

    def __init__(self) -> None:
        self._waiting: dict[Hashable, list[tuple[Any, asyncio.Future[Any]]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def call(self, key: Hashable, item: _Item, work: Work[_Item, _Result]) -> _Result:
        """Return the result for `item` of the next round of `work`.

        The items of a round that fails are tried again one by one, so that only the faulty one fails.

        Args:
            key: Calls with the same key share rounds, and must pass the same work.
            item: What this call adds to the round.
            work: Takes several items and returns their results in the same order.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[_Result] = loop.create_future()
        if key in self._waiting:
            self._waiting[key].append((item, future))
        else:
            self._waiting[key] = [(item, future)]
            # an empty context: the logs of a round must not name one request for all
            task = loop.create_task(self._rounds(key, work), context=Context())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await future

    async def _rounds(self, key: Hashable, work: Work[Any, Any]) -> None:
        while waiting := self._waiting.pop(key):
            # calls from here on belong to the next round
            self._waiting[key] = []
            await _round([one for one in waiting if not one[1].done()], work)


async def _round(waiting: list[tuple[Any, asyncio.Future[Any]]], work: Work[Any, Any]) -> None:
    if not waiting:
        return
    try:
        results = await work([item for item, _ in waiting])
    except Exception as error:
        if len(waiting) == 1:
            _end(waiting[0][1], error=error)
            return
        async with asyncio.TaskGroup() as group:
            for one in waiting:
                group.create_task(_round([one], work))
        return
    except BaseException:
        for _, future in waiting:
            future.cancel()
        raise
    for (_, future), result in zip(waiting, results, strict=True):
        _end(future, result)


def _end(future: asyncio.Future[Any], result: Any = None, error: Exception | None = None) -> None:
    if future.done():  # its caller was cancelled
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)
