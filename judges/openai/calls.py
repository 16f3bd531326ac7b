"""Retries, adaptive concurrency and connection selection for HTTP calls.

Concurrency follows additive increase, multiplicative decrease (Chiu, Jain 1989): it halves when the
server is overloaded or lets requests time out, and grows by one after each round of answers. It
starts low, because a server that queues requests complains only by letting them time out.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, Generic, TypeVar

from judges.types import JudgeFailure, TokenUsage

_NOTHING: Final = TokenUsage()
_SHRINK: Final = 0.5
_HALF: Final = 0.5
_SHORTEST: Final = 1e-3  # seconds
_LONG_WAIT: Final = 0.25
_MUCH_LONGER: Final = 2.0
_CAUTION: Final = 1 / 16
# seconds, and milliseconds, that are a moment in Unix time and no wait
_MOMENT: Final = 1e9
_MOMENT_MILLISECONDS: Final = 1e12


class AdaptiveSlots:
    """Limit concurrent requests to an adaptive number between one and `most`.

    Overload reports from requests that started before the last decrease are ignored.

    Args:
        most: Upper limit.
        first: Requests in flight at first; `most` by default.
    """

    def __init__(self, most: int, first: int | None = None) -> None:
        self._most = most
        self._allowed = float(most if first is None else min(first, most))
        self._quickest = math.inf
        self._refused_at = math.inf
        self._used = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._decreases = 0

    @property
    def allowed(self) -> int:
        """Number of requests that may be in flight now."""
        return max(1, math.floor(self._allowed))

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[int]:
        """Hold a slot; yield the number of decreases so far, to pass to `busy` on overload."""
        await self._take()
        try:
            yield self._decreases
        finally:
            self._used -= 1
            self._wake()

    def busy(self, since: int) -> None:
        """Record an overload reported to a request whose slot yielded `since`."""
        if since == self._decreases:
            self._decreases += 1
            self._refused_at = self.allowed
            self._allowed = max(1.0, self._allowed * _SHRINK)

    def answered(self) -> None:
        """Record a successful answer.

        The number at which the server complained last is reached again in small steps only: a server
        that refuses a second request would otherwise refuse every other one.
        """
        if self.allowed >= self._refused_at:
            self._refused_at = math.inf
        step = 1.0 if self._decreases == 0 else 1.0 / self._allowed
        if self._allowed + step >= self._refused_at:
            step *= _CAUTION
        self._allowed = min(float(self._most), self._allowed + step)
        self._wake()

    def answered_after(self, seconds: float, timeout_s: float) -> None:
        """Record a successful answer, which allows more requests only where more can help.

        Up to the first complaint, as many are allowed as a server that answers one at a time could
        answer in half the time-out. Beyond that, the number grows while all slots are in use and
        answers do not seem to queue: they would take a good part of the time-out, and much longer
        than the quickest one.
        """
        self._quickest = min(self._quickest, seconds)
        if self._decreases == 0:
            in_a_row = timeout_s * _HALF / max(self._quickest, _SHORTEST)
            self._allowed = max(self._allowed, min(float(self._most), in_a_row))
            self._wake()
        has_queued = seconds > max(timeout_s * _LONG_WAIT, self._quickest * _MUCH_LONGER)
        if not has_queued and self._used >= self.allowed:
            self.answered()

    async def _take(self) -> None:
        if self._used < self.allowed and not self._waiting:
            self._used += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # the slot was already granted: pass it on
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
    """Select the member with the fewest active requests.

    Used for HTTP clients. For each request, a connection pool scans all its connections and
    compares idle ones with each other, so a pool of a hundred costs more than the requests.
    """

    def __init__(self, members: Sequence[Member]) -> None:
        self.members = tuple(members)
        self._requests = [0] * len(self.members)

    @contextmanager
    def member(self) -> Iterator[Member]:
        """Borrow the member with the fewest requests; ties go to the first."""
        index = min(range(len(self.members)), key=self._requests.__getitem__)
        self._requests[index] += 1
        try:
            yield self.members[index]
        finally:
            self._requests[index] -= 1


class CallFailed(Exception):
    """A failed call.

    Attributes:
        failure: What happened.
        retry: False, True, or the delay in seconds before the next attempt.
        usage: What the call cost; None if that is unknown.
        sent: The body of a request that the server refused.
        words: What the server said to it.
    """

    def __init__(
        self,
        failure: JudgeFailure,
        *,
        retry: bool | float = False,
        usage: TokenUsage | None = _NOTHING,
        sent: Mapping[str, Any] | None = None,
        words: str = "",
    ) -> None:
        super().__init__(f"{failure.kind}: {failure.detail}")
        self.failure = failure
        self.retry = retry
        self.usage = usage
        self.sent = sent
        self.words = words


@dataclass(slots=True)
class Halt:
    """The first failure for a pair; the remaining requests can be skipped."""

    failure: JudgeFailure | None = None


@dataclass(slots=True)
class Spent:
    """Tokens used by one answer so far, and whether every reply reported its usage.

    `batched` is the part of them that came with a provider's batch.
    """

    usage: TokenUsage = field(default_factory=TokenUsage)
    batched: TokenUsage = field(default_factory=TokenUsage)
    is_known: bool = True

    def add(self, usage: TokenUsage | None) -> None:
        """Add what a call cost; None if that is unknown."""
        self.is_known = self.is_known and usage is not None
        self.usage += usage or TokenUsage()


def retry_after_seconds(header: str | None, *, now: float) -> float | None:
    """Return the delay in seconds from a `Retry-After` header, or None if it cannot be read.

    Args:
        header: Seconds, an HTTP date, an ISO time or a Unix time.
        now: Unix time.
    """
    if header is None:
        return None
    try:
        # a proxy joins the headers of two servers by a comma
        seconds = max(map(float, header.split(",")))
    except ValueError:
        seconds = _seconds_until(header, now)
    return max(0.0, from_now(seconds, now)) if math.isfinite(seconds) else None


def from_now(number: float, now: float) -> float:
    """Return a wait in seconds; a number as large as a Unix time is a moment.

    Args:
        number: Seconds to wait, or a moment in seconds or milliseconds of Unix time.
        now: Unix time.
    """
    if number >= _MOMENT_MILLISECONDS:
        number /= 1000
    return number - now if number >= _MOMENT else number


def clock_of(headers: Mapping[str, str], now: float) -> float:
    """Return the Unix time by the server's clock, by ours where a response does not say.

    A moment to wait for is one of the server's clock, which may be minutes away from ours.
    """
    theirs = _seconds_until(headers.get("date", ""), 0.0)
    return theirs if theirs >= _MOMENT else now


def _seconds_until(date: str, now: float) -> float:
    try:
        moment = parsedate_to_datetime(date)
    except (ValueError, IndexError, TypeError, OverflowError):
        try:
            moment = datetime.fromisoformat(date)
        except ValueError:
            return math.nan
    try:
        return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() - now
    except (ValueError, OverflowError):
        return math.nan
