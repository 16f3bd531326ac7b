"""Several of a kind that share the work: each request goes to the one that has least to do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Generic, TypeVar

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
