"""Questions that a provider answers later, in a batch, at a lower price.

A judge leaves its questions on a `Desk` and raises `AnswerLater` for the pair. The owner of the desk
sends them to the provider's batch API. Once the answers have come, it lets the judge score the pair
again. The key of a question stays the same from one run to the next.

A pair is scored only when none of its questions waits. Only then are the questions that the provider
left out asked directly: the next run would pay for an earlier direct call again.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

from judges.errors import AnswerLater
from judges.openai.bodies import Bodies
from judges.openai.failures import Complaint, complaint_of_status, complaint_within
from judges.types import FailureKind

#: Place of a question within a pair: the number of the annotator, and whether b is shown first.
Place = tuple[int, bool]
State = Literal["waiting", "answered", "left_out", "lost"]
# a refusal may show how to ask instead; after this many rounds the pair is asked directly
_MOST_ROUNDS: Final = 3


@dataclass(frozen=True, slots=True)
class Question:
    """A request whose answer may come later.

    Attributes:
        key: The same in every run, 32 hex digits.
        judge: Name of the judge.
        round: From 0; a question asked again in another form belongs to the next round.
        body: The request body.
        flags: What the judge had learned about the server; they go into the score.
    """

    key: str
    judge: str
    round: int
    body: Mapping[str, Any]
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """The state of a question.

    Attributes:
        state: `waiting`; `answered`; `left_out`, where it is known not to have been answered or
            billed; `lost`, where that is not known.
        round: That of the question.
        flags: Those of the question.
        status: The HTTP status of the answer.
        content: The parsed body of the answer.
        detail: Why it is lost.
    """

    state: State
    round: int = 0
    flags: tuple[str, ...] = ()
    status: int = 200
    content: Any = None
    detail: str = ""

    @property
    def complaint(self) -> Complaint | None:
        """What the server complains of in place of an answer."""
        if self.status == 200:
            return complaint_within(self.content, {}, now=time.time())
        body = json.dumps(self.content).encode()
        return complaint_of_status(self.status, {}, body, now=time.time())


class Desk(Protocol):
    """Where questions wait for their answers."""

    def find(self, key: str) -> Found | None:
        """Return the state of a question in its latest round, None if it is new."""
        ...

    def leave(self, question: Question) -> None:
        """Take a question to be sent to the provider."""
        ...


_DESK: Final[ContextVar[Desk | None]] = ContextVar("desk", default=None)


@contextmanager
def answers_may_wait(desk: Desk | None) -> Iterator[None]:
    """Let judges leave questions on this desk while the block runs; None: they ask directly."""
    token = _DESK.set(desk)
    try:
        yield
    finally:
        _DESK.reset(token)


def current_desk() -> Desk | None:
    """Return the desk in use, None where answers cannot wait."""
    return _DESK.get()


class Later:
    """The questions of one judge about one pair.

    Args:
        desk: Where they wait.
        judge: Name of the judge.
        subject: What is asked about: the judge's fingerprint and the pair's content.
        bodies: The judge's bodies, which learn from refusals.
        leaves: Whether new questions may wait; those already waiting go on in any case.
    """

    def __init__(
        self, desk: Desk, judge: str, subject: str, bodies: Bodies, *, leaves: bool
    ) -> None:
        self._desk, self._judge, self._subject = desk, judge, subject
        self._bodies, self._leaves = bodies, leaves
        self._found: dict[Place, Found] = {}
        self._is_direct = False

    def prepare(self, bodies: Mapping[Place, Callable[[], dict[str, Any]]]) -> None:
        """Look for the answers to these questions, and leave those that are new.

        Raises:
            AnswerLater: one of them waits.
        """
        if self._is_direct:
            return
        # a list: every question must have been left before the pair is put off
        waits = [self._waits(place, body) for place, body in bodies.items()]
        if any(waits):
            raise AnswerLater
        self._is_direct = not all(place in self._found for place in bodies)

    def found(self, place: Place) -> Found | None:
        """Return the answer to a question, None if it is to be asked directly."""
        return self._found.get(place)

    def _waits(self, place: Place, body: Callable[[], dict[str, Any]]) -> bool:
        key = _key(self._subject, place)
        found = self._desk.find(key)
        if found is None:
            return self._left(key, 0, body)
        if found.state in ("waiting", "left_out"):
            return found.state == "waiting"
        # another process may know more about the server than this one
        self._bodies.adopt(found.flags)
        complaint = found.complaint if found.state == "answered" else None
        if complaint is not None and self._is_to_be_put_otherwise(found, complaint, body):
            return found.round + 1 < _MOST_ROUNDS and self._left(key, found.round + 1, body)
        if complaint is None or not complaint.is_passing:
            self._found[place] = found
        return False

    def _is_to_be_put_otherwise(
        self, found: Found, complaint: Complaint, body: Callable[[], dict[str, Any]]
    ) -> bool:
        if complaint.failure.kind is not FailureKind.REFUSED:
            return False
        has_learned_since = self._bodies.flags != found.flags
        return has_learned_since or bool(self._bodies.learn(complaint.words, body()))

    def _left(self, key: str, round_: int, body: Callable[[], dict[str, Any]]) -> bool:
        if self._leaves:
            self._desk.leave(Question(key, self._judge, round_, body(), self._bodies.flags))
        return self._leaves


def _key(subject: str, place: Place) -> str:
    annotator, is_swapped = place
    text = f"{subject} {annotator} {int(is_swapped)}"
    return hashlib.sha256(text.encode()).hexdigest()[:32]
