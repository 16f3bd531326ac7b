"""Does the work of callers who come at the same time in one go.

A transaction costs far more than one statement in it. Whoever comes while a round is under way
waits for the next, which is for all that wait: every round begins after its callers have come, so
that nobody is told what was true before, and a caller who comes alone waits for nobody.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Sequence
from contextvars import Context
from typing import Any, TypeVar

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
