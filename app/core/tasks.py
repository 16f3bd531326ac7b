"""Shielded tasks, stop signal, coalesced calls, GC settings.

A server waits for open connections before it stops the application, and whoever listens to the
progress of a batch keeps one open until the batch has ended: such answers must end by themselves.

A transaction costs far more than one statement in it. Whoever comes while a round is under way
waits for the next, which is for all that wait: every round begins after its callers have come, so
that nobody is told what was true before, and a caller who comes alone waits for nobody.
"""

from __future__ import annotations

import asyncio
import gc
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


async def to_the_end(
    work: Coroutine[Any, Any, _T], *, expected: type[Exception] | tuple[()] = ()
) -> _T:
    """Return what `work` returns; cancelled meanwhile, the caller stops when it is done.

    For transactions: one that is cut off in the middle leaves a driver in disorder. An error that
    comes after the caller was told to stop is logged, because nobody else can take it, unless it is
    one that is `expected` then.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if not task.done():
            await asyncio.wait([task])
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, expected):
            _log.error("failed while it was being stopped", exc_info=error)
        raise


_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


@dataclass(slots=True)
class Stopping:
    """Whether the process has been asked to stop."""

    has_begun: bool = False

    def begin(self) -> None:
        """Note that it has."""
        self.has_begun = True


@contextmanager
def noticing_stop(notice: Callable[[], None]) -> Iterator[None]:
    """Call `notice` when a signal asks the process to stop; who listened before still hears it.

    Outside of the main thread no signal can be listened to, and nothing is.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}

    def hear(number: int, frame: FrameType | None) -> None:
        notice()
        earlier = before[signal.Signals(number)]
        if callable(earlier):
            earlier(number, frame)

    # where nobody listens the system's own answer stays
    heard = [number for number, earlier in before.items() if callable(earlier)]
    for number in heard:
        signal.signal(number, hear)
    try:
        yield
    finally:
        for number in heard:
            signal.signal(number, before[number])


_Item = TypeVar("_Item")
_Result = TypeVar("_Result")
Work = Callable[[Sequence[_Item]], Awaitable[Sequence[_Result]]]


class Together:
    """Rounds of work, one at a time for each key."""

    def __init__(self) -> None:
        self._waiting: dict[Hashable, list[tuple[Any, asyncio.Future[Any]]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def join(self, key: Hashable, item: _Item, work: Work[_Item, _Result]) -> _Result:
        """Return the result for `item` of the next round of `work`.

        A round that fails is worked on again item by item: nobody suffers for what another sent.

        Args:
            key: Callers with the same key share rounds, and must come with the same work.
            item: The caller's part.
            work: Takes several items and returns their results in the same order.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[_Result] = loop.create_future()
        if key in self._waiting:
            self._waiting[key].append((item, future))
        else:
            self._waiting[key] = [(item, future)]
            # of no caller's own context: its logs would name one request for all
            task = loop.create_task(self._rounds(key, work), context=Context())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return await future

    async def _rounds(self, key: Hashable, work: Work[Any, Any]) -> None:
        while waiting := self._waiting.pop(key):
            # from here on whoever comes belongs to the next round
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
    if future.done():  # its caller was told to stop
        return
    if error is None:
        future.set_result(result)
    else:
        future.set_exception(error)


# how many new objects, and how many rounds of the generation before, begin a round of each
_ROUNDS: Final = (50_000, 20, 50)


def spare_what_is_loaded() -> None:
    """Leave everything that is loaded by now out of later collections, and collect less often.

    The objects of a service that has started stay, and those of a shard live until it is stored:
    going through them again and again is work for nothing. Reference counts free nearly all others.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_ROUNDS)
