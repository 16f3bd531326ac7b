"""Works off a stream with as many hands as are busy, and no more.

Judges that answer at once, from stored scores or by arithmetic, are served by one hand without a
task or a wait a pair; each time all hands wait for somebody, there are twice as many, up to a limit.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from typing import Final, Generic, TypeVar

_T = TypeVar("_T")
# work that never waits would keep everybody else from the event loop
_BREATH_SECONDS: Final = 0.005


async def work_off(
    items: AsyncIterable[_T] | Iterable[_T], do: Callable[[_T], Awaitable[None]], limit: int
) -> None:
    """Call `do` for every item, at most `limit` at a time; an item is read when a hand is free.

    Cancelling cancels what is in flight; an error of `items` or of `do` ends the work, in an
    exception group.
    """
    async with asyncio.TaskGroup() as group:
        crew = _Crew(_reader(items), do, group, limit)
        crew.hire(1)


class _Crew(Generic[_T]):
    def __init__(
        self,
        read: Callable[[], Awaitable[_T | None]],
        do: Callable[[_T], Awaitable[None]],
        group: asyncio.TaskGroup,
        limit: int,
    ) -> None:
        self._read, self._do, self._group, self._limit = read, do, group, limit
        self._hands = self._busy = 0
        self._is_exhausted = self._will_look = False

    def hire(self, count: int) -> None:
        """Start more hands, within the limit."""
        count = min(count, self._limit - self._hands)
        self._hands += count
        for _ in range(count):
            self._group.create_task(self._work())

    async def _work(self) -> None:
        while (item := await self._read()) is not None:
            self._busy += 1
            if self._busy == self._hands < self._limit and not self._will_look:
                self._will_look = True
                # a task of the group, which ends with it: nobody is hired for work that is given up
                self._group.create_task(self._look())
            try:
                await self._do(item)
            finally:
                self._busy -= 1
        self._is_exhausted = True

    async def _look(self) -> None:
        """Hire where every hand waits; this runs when whoever worked has begun to wait."""
        self._will_look = False
        if self._busy == self._hands and not self._is_exhausted:
            self.hire(self._hands)


def _reader(items: AsyncIterable[_T] | Iterable[_T]) -> Callable[[], Awaitable[_T | None]]:
    """Return what gives the next item to whoever asks first, and None when there is none."""
    if isinstance(items, AsyncIterable):
        later = aiter(items)
        reading = asyncio.Lock()

        async def read() -> _T | None:
            async with reading:
                return await anext(later, None)

        return read
    now = asyncio.get_running_loop().time
    at_hand = iter(items)
    breathed = now()

    async def take_next() -> _T | None:
        nonlocal breathed
        if now() - breathed > _BREATH_SECONDS:
            await asyncio.sleep(0)
            breathed = now()
        return next(at_hand, None)

    return take_next
