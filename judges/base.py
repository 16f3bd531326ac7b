"""The protocol that all judges share, their description, and its fingerprint.

A fingerprint is a hash of everything that can change a score: model, revision, prompt template,
frozen few-shot examples, decoding, orders. A certificate is bound to fingerprints, so two judges
with the same fingerprint must give the same scores.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol, runtime_checkable

from judges.types import JudgeFailure, Pair, Score, TokenUsage


@dataclass(frozen=True, slots=True)
class JudgeSpec:
    """A judge's public description.

    `scored_by` holds all that its scores depend on and nothing else; prices, time limits and
    addresses stay outside, because changing them changes no score. Prices are in USD per million
    tokens, None where unknown. `is_symmetric` says that swapping the responses mirrors the score,
    so that one stored score serves both. `is_local` says that asking costs neither money nor a
    wait. `training_prompts` are the prompt hashes the judge knows from its training or shows as
    few-shot examples: such groups never count in a calibration sample.
    """

    name: str
    kind: str
    model: str | None
    scored_by: Mapping[str, Any]
    price_input: float | None = None
    price_output: float | None = None
    is_symmetric: bool = True
    is_local: bool = False
    training_prompts: frozenset[str] = frozenset()
    example_prompts: frozenset[str] = frozenset()
    notes: Mapping[str, Any] = field(default_factory=dict)
    certified_fingerprint: str | None = None
    fingerprint: str = field(init=False, compare=False)

    def __post_init__(self) -> None:
        """Fix the fingerprint: a stable hash of `scored_by`, prefixed by the judge's kind.

        A recorded judge that a certificate names is known by its fingerprint alone:
        `certified_fingerprint` then stands for the hash.
        """
        fingerprint = self.certified_fingerprint
        if fingerprint is None:
            text = json.dumps(self.scored_by, sort_keys=True, separators=(",", ":"))
            fingerprint = f"{self.kind}:{hashlib.sha256(text.encode('ascii')).hexdigest()[:32]}"
        object.__setattr__(self, "fingerprint", fingerprint)


@dataclass(frozen=True, slots=True)
class JudgeHealth:
    """Whether a judge can answer, and if not, why; `is_starting`: it will in a while."""

    is_ready: bool
    detail: str = ""
    is_starting: bool = False


@runtime_checkable
class Judge(Protocol):
    """Something that scores pairs.

    `score` never raises for what happens to one pair: it returns a `Score` with a `failure`. It
    bounds its own concurrency, so callers may start as many as they like and cancel any of them.
    """

    @property
    def spec(self) -> JudgeSpec:
        """Return the judge's description; constant while it is open."""
        ...

    async def score(self, pair: Pair) -> Score:
        """Return the judge's score of one pair."""
        ...

    async def health(self) -> JudgeHealth:
        """Say whether the judge can answer now, within a few seconds."""
        ...

    async def aclose(self) -> None:
        """Release connections and processes; safe to call twice."""
        ...


_NOTED: Final[ContextVar[list[JudgeFailure] | None]] = ContextVar("noted_failures", default=None)


@contextmanager
def failures_noted() -> Iterator[list[JudgeFailure]]:
    """Collect the failures that a judge notes while it is asked, in the order of their coming.

    A judge that is cut off gives no score: what went wrong before is known from here alone.
    """
    noted: list[JudgeFailure] = []
    token = _NOTED.set(noted)
    try:
        yield noted
    finally:
        _NOTED.reset(token)


def note_failure(failure: JudgeFailure) -> None:
    """Note what went wrong with an attempt, before the judge waits or tries again."""
    noted = _NOTED.get()
    if noted is not None:
        noted.append(failure)


BeforeCall = Callable[[str, str], Awaitable[None]]
_BEFORE_CALL: Final[ContextVar[BeforeCall | None]] = ContextVar("before_call", default=None)


@contextmanager
def calls_announced(before: BeforeCall | None) -> Iterator[None]:
    """Await `before` with the pair's id and the judge's name before each call that costs money."""
    token = _BEFORE_CALL.set(before)
    try:
        yield
    finally:
        _BEFORE_CALL.reset(token)


async def announce_call(spec: JudgeSpec, pair: Pair) -> None:
    """Let the payer note that a call about a pair is about to be made.

    A process that is killed cannot say what became of its calls: only what was noted before them
    shows that they may have been billed.
    """
    before = _BEFORE_CALL.get()
    # a call without a price is free, or its cost is unknown in any case
    if before is not None and (spec.price_input or spec.price_output):
        await before(pair.id, spec.name)


class TokenRead(NamedTuple):
    """A token at the place where an answer was read; `label` is the one it spells, if any."""

    token: str
    logprob: float | None
    label: str | None


@dataclass(slots=True)
class Exchange:
    """One question to a model, and what was read of its answer.

    Attributes:
        annotator: Number of the simulated annotator, from 0.
        is_swapped: Whether the second response was shown first.
        prompt: The prompt as one text, control tokens included where they are known.
        messages: The same as role and content of messages, where the model was asked by these.
        tokens: The tokens at the place of the answer, the most probable first.
        text: What the model wrote.
        usage: Tokens that it took.
        failure: Why there is no answer.
    """

    annotator: int
    is_swapped: bool
    prompt: str = ""
    messages: tuple[tuple[str, str], ...] = ()
    tokens: tuple[TokenRead, ...] = ()
    text: str = ""
    usage: TokenUsage = field(default_factory=TokenUsage)
    failure: JudgeFailure | None = None


_HEARD: Final[ContextVar[list[Exchange] | None]] = ContextVar("heard_exchanges", default=None)
_CURRENT: Final[ContextVar[Exchange | None]] = ContextVar("current_exchange", default=None)


@contextmanager
def exchanges_heard() -> Iterator[list[Exchange]]:
    """Collect every question to a model while a judge is asked."""
    heard: list[Exchange] = []
    token = _HEARD.set(heard)
    try:
        yield heard
    finally:
        _HEARD.reset(token)


@contextmanager
def unheard() -> Iterator[None]:
    """Ask what is no part of a score, such as what a judge is fitted on, with no one listening."""
    token = _HEARD.set(None)
    try:
        yield
    finally:
        _HEARD.reset(token)


@contextmanager
def exchange(annotator: int, *, is_swapped: bool) -> Iterator[None]:
    """Make `current_exchange` the question of this annotator in this order, if someone listens."""
    heard = _HEARD.get()
    if heard is None:
        yield
        return
    heard.append(Exchange(annotator, is_swapped))
    token = _CURRENT.set(heard[-1])
    try:
        yield
    finally:
        _CURRENT.reset(token)


def current_exchange() -> Exchange | None:
    """Return the question that is being asked, None where no one listens."""
    return _CURRENT.get()
