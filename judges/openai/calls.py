"""How many requests are in flight at a server: fewer when it says that it is busy, more again later.

Additive increase, multiplicative decrease (Chiu, Jain 1989): a server that is asked too much is
asked half as much, and one request more with every round of answers that come without complaint.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

_SHRINK: Final = 0.5


class AdaptiveSlots:
    """Slots for requests, between one and `most`.

    Complaints about requests that began before the last decrease say nothing new and do not count.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._allowed = float(most)
        self._used = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._decreases = 0

    @property
    def allowed(self) -> int:
        """How many requests may be in flight now."""
        return max(1, math.floor(self._allowed))

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[int]:
        """Hold a slot; the number it gives belongs into `busy` if the server complains."""
        await self._take()
        try:
            yield self._decreases
        finally:
            self._used -= 1
            self._wake()

    def busy(self, since: int) -> None:
        """Note that the server was too busy for a request that began at `since`."""
        if since == self._decreases:
            self._decreases += 1
            self._allowed = max(1.0, self._allowed * _SHRINK)

    def answered(self) -> None:
        """Note that a request was answered."""
        self._allowed = min(float(self._most), self._allowed + 1.0 / self._allowed)
        self._wake()

    async def _take(self) -> None:
        if self._used < self.allowed and not self._waiting:
            self._used += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # the slot was ours already: give it on
                self._used -= 1
                self._wake()
            raise

    def _wake(self) -> None:
        while self._waiting and self._used < self.allowed:
            turn = self._waiting.popleft()
            if not turn.done():
                self._used += 1
                turn.set_result(None)
