"""Pairs, scores and failures, and the hashes by which two prompts or pairs are the same.

All types are frozen. A score is what one judge said of one pair; it is stored permanently, and every
verdict is derived from scores. `a` and `b` always mean the first and second response of the pair as
posted, whatever order a judge was shown.

The prompt hash decides splits, few-shot examples and training overlap, so that a question which
occurs in two datasets is never on both sides of a split. It is the hash of the first user turn with
its input, in NFKC and lower case, with runs of non-word characters as one space.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Literal

_NON_WORD = re.compile(r"\W+")
_LONG_NONSTARTER_RUN = 30
_GRAPHEME_JOINER = "\u034f"
_NON_ASCII_RUN = re.compile(r"[^\x00-\u02ff]{31,}")


def normalise_prompt(text: str) -> str:
    """Return `text` in NFKC, lower case, each run of non-word characters one space, stripped.

    Any string is accepted: empty, with NUL, with lone surrogates. Time is linear in its length.
    """
    composed = unicodedata.normalize("NFKC", _NON_ASCII_RUN.sub(_stream_safe, text))
    return _NON_WORD.sub(" ", composed.lower()).strip()


def prompt_hash(first_user_turn: str, input: str = "") -> str:
    """Return the sha256 (64 hex digits) of the normalised first user turn, its input after a blank line."""
    joined = f"{first_user_turn}\n\n{input}" if input else first_user_turn
    normalised = normalise_prompt(joined)
    return hashlib.sha256(normalised.encode("utf-8", errors="surrogatepass")).hexdigest()


def _stream_safe(run: re.Match[str]) -> str:
    # Normalisation sorts a run of combining marks in quadratic time; Unicode's stream-safe format
    # (UAX #15, section 13) breaks such runs after 30 marks, and the joiner is no word character.
    pieces: list[str] = []
    nonstarters = 0
    for character in run.group():
        nonstarters = nonstarters + 1 if unicodedata.combining(character) else 0
        if nonstarters > _LONG_NONSTARTER_RUN:
            pieces.append(_GRAPHEME_JOINER)
            nonstarters = 1
        pieces.append(character)
    return "".join(pieces)


Label = Literal["a", "b", "tie"]


class FailureKind(StrEnum):
    """Why a judge gave no score for a pair."""

    TIMEOUT = "timeout"
    DEADLINE = "deadline"
    RATE_LIMITED = "rate_limited"
    SERVER_ERROR = "server_error"
    CONNECTION = "connection"
    REFUSED = "refused"
    UNPARSEABLE = "unparseable"
    CONTEXT_OVERFLOW = "context_overflow"
    UNAVAILABLE = "unavailable"
    RECORDED = "recorded"  # the record says that the judge failed
    NOT_RECORDED = "not_recorded"  # a recorded judge has no record for this pair


@dataclass(frozen=True, slots=True)
class JudgeFailure:
    """A failure as a value: its kind, and what was seen."""

    kind: FailureKind
    detail: str = ""


@dataclass(frozen=True, slots=True)
class TokenUsage:
    """Tokens that one score cost, retries included. `cached` are prompt tokens served from cache."""

    prompt: int = 0
    completion: int = 0
    cached: int = 0
    calls: int = 0

    def __add__(self, other: TokenUsage) -> TokenUsage:
        return TokenUsage(
            self.prompt + other.prompt,
            self.completion + other.completion,
            self.cached + other.cached,
            self.calls + other.calls,
        )


_MANNERS = frozenset(
    {
        "annotators_missing",
        "members",
        "model_differs",
        "no_logprobs",
        "omitted",
        "single_order",
        "system_merged",
    }
)


@dataclass(frozen=True, slots=True)
class Score:
    """One judge's answer to one pair.

    `p_a` is the probability that response a is preferred, averaged over annotators and orders;
    0.83 means "a is better with 83 %". It is None exactly when `failure` is set. `annotators`
    holds, per simulated annotator, `(p_a with a shown first, p_a with a shown second)` and, for
    judges that know ties, the tie probability as a third number, or one tie probability per order
    as third and fourth. All probabilities have at most 12 decimals, so that mirroring is exact.
    `ratings` are those of a and of b, by a judge that rates each response alone; its p_a is of the
    annotators' mean distributions, not the mean of theirs.
    """

    judge: str
    fingerprint: str
    p_a: float | None
    p_tie: float | None = None
    annotators: tuple[tuple[float | None, ...], ...] = ()
    ratings: tuple[float, float] | None = None
    outside_mass: float | None = None
    failure: JudgeFailure | None = None
    usage: TokenUsage = TokenUsage()
    cost_usd: float | None = None
    seconds: float | None = None
    flags: tuple[str, ...] = ()

    @property
    def manner(self) -> str:
        """Return how the answer came about, where that can differ from pair to pair; mostly empty.

        A judge that answers in one order alone, without log-probabilities, with fewer members or by
        another model is another judge than the one that was certified.
        """
        return manner_of(self.flags)

    @property
    def p_b(self) -> float | None:
        """Return the probability that response b is preferred, to 12 decimals."""
        return None if self.p_a is None else round(1.0 - self.p_a - (self.p_tie or 0.0), 12)

    def mirrored(self) -> Score:
        """Return the score of the same pair with its two responses swapped."""
        # faster than `replace`, and called for every second score of a large batch
        return Score(
            judge=self.judge,
            fingerprint=self.fingerprint,
            p_a=self.p_b,
            p_tie=self.p_tie,
            annotators=tuple([mirrored_orders(row) for row in self.annotators]),
            ratings=None if self.ratings is None else (self.ratings[1], self.ratings[0]),
            outside_mass=self.outside_mass,
            failure=self.failure,
            usage=self.usage,
            cost_usd=self.cost_usd,
            seconds=self.seconds,
            flags=self.flags,
        )


def manner_of(flags: Iterable[str]) -> str:
    """Return the flags that say how a judge answered, apart from those about the pair itself."""
    return " ".join(sorted(flag for flag in flags if flag.partition(":")[0] in _MANNERS))


def mirrored_orders(row: tuple[float | None, ...]) -> tuple[float | None, ...]:
    """Swap the two orders of one annotator and count for the other response."""
    first, second, *ties = row
    tie_first, tie_second = (ties[0] or 0.0, ties[-1] or 0.0) if ties else (0.0, 0.0)
    shown_first = None if second is None else round(1.0 - second - tie_second, 12)
    shown_second = None if first is None else round(1.0 - first - tie_first, 12)
    return (shown_first, shown_second, *reversed(ties))


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Pair:
    """A conversation and two responses to it, in a fixed order.

    `conversation` ends with the user's last turn. Where every message is a user turn and there
    are as many responses as turns, response i answers turn i (a multi-turn answer, judged on its
    last turn in context); otherwise the single response continues the conversation.
    `recorded` holds the scores that came with the pair, by judge name; judges that are asked live
    never look at it, nor at the model names.
    """

    id: str
    conversation: tuple[Message, ...]
    responses_a: tuple[str, ...]
    responses_b: tuple[str, ...]
    model_a: str | None = None
    model_b: str | None = None
    criterion: str | None = None
    recorded: Mapping[str, Score] = field(default_factory=dict, compare=False)

    @property
    def user_turns(self) -> tuple[str, ...]:
        """Return the user's turns, in order."""
        return tuple(m.content for m in self.conversation if m.role == "user")

    @property
    def prompt_hash(self) -> str:
        """Return the hash of the normalised first user turn: the default group and training key."""
        return prompt_hash(next(iter(self.user_turns), ""))

    @property
    def content_hash(self) -> str:
        """Return a hash of all that a live judge sees, in this order of the responses."""
        return _hash_texts(self.conversation, self.responses_a, self.responses_b, self.criterion)

    def swapped(self) -> Pair:
        """Return the pair with its two responses exchanged, recorded scores mirrored."""
        return replace(
            self,
            responses_a=self.responses_b,
            responses_b=self.responses_a,
            model_a=self.model_b,
            model_b=self.model_a,
            recorded={name: score.mirrored() for name, score in self.recorded.items()},
        )


def _hash_texts(
    conversation: tuple[Message, ...],
    first: tuple[str, ...],
    second: tuple[str, ...],
    criterion: str | None,
) -> str:
    # JSON in ASCII: lone surrogates and NUL have one spelling, and no field runs into the next
    texts = [[[m.role, m.content] for m in conversation], first, second, criterion]
    return hashlib.sha256(json.dumps(texts).encode("ascii")).hexdigest()
