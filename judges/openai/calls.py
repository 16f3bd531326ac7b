"""Retries, adaptive concurrency, connections.

Additive increase, multiplicative decrease (Chiu, Jain 1989): a server that is asked too much is
asked half as much, and one request more with every round of answers that come without complaint.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final, Generic, TypeVar

from judges.types import JudgeFailure, TokenUsage

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


Member = TypeVar("Member")


class LeastBusy(Generic[Member]):
    """Members, and how many requests each of them has.

    For connections: a pool of HTTP connections looks at every one of them for each request, those
    that idle at each other, so that a hundred in one pool cost more than the requests themselves.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = tuple(members)
        self._requests = [0] * len(self.members)

    @contextmanager
    def member(self) -> Iterator[Member]:
        """Lend the member with the fewest requests, the first of several."""
        index = min(range(len(self.members)), key=self._requests.__getitem__)
        self._requests[index] += 1
        try:
            yield self.members[index]
        finally:
            self._requests[index] -= 1


class CallFailed(Exception):
    """One call failed; `retry` says whether to try again, and after how many seconds if known."""

    def __init__(self, failure: JudgeFailure, *, retry: bool | float = False) -> None:
        super().__init__(f"{failure.kind}: {failure.detail}")
        self.failure = failure
        self.retry = retry


@dataclass(slots=True)
class Halt:
    """The first failure among the answers for one pair: the others need not be asked any more."""

    failure: JudgeFailure | None = None


@dataclass(slots=True)
class Spent:
    """Tokens of one answer so far, and whether every reply said how many it used."""

    usage: TokenUsage = field(default_factory=TokenUsage)
    is_known: bool = True


def retry_after_seconds(header: str | None, *, now: float) -> float | None:
    """Return the seconds that a `Retry-After` header asks to wait, None where it says nothing.

    Args:
        header: Seconds, or a date in the format of e-mail headers.
        now: Unix time.
    """
    if header is None:
        return None
    try:
        seconds = float(header)
    except ValueError:
        seconds = _seconds_until(header, now)
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _seconds_until(date: str, now: float) -> float:
    try:
        moment = parsedate_to_datetime(date)
    except ValueError:
        return math.nan
    return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() - now
