"""Limits what a judge may spend while this process runs; checked before each call.

A call reserves the most that it may cost and gives back what it did not use. Reservations of calls
in flight count, so that many at once cannot overspend together. The most is far above the usual
cost, so a budget stops a little early rather than late.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple, Protocol, runtime_checkable

from judges.base import Judge
from judges.types import Pair, TokenUsage

# a token of a text has at least one byte; the frame of a conversation has some more
_FRAME_TOKENS: Final = 64


@runtime_checkable
class Priced(Protocol):
    """A judge that can bound the cost of a score in advance."""

    def most_usd(self, pair: Pair) -> float:
        """Return the most that a score of this pair may cost in USD, repetitions included."""
        ...


class Asks(NamedTuple):
    """What a score of a pair asks of a model.

    `prompts` holds one for each call that all annotators and orders need, `fewest` is the number of
    calls where the first annotators agree, and `max_tokens` bounds what one call may answer.
    """

    prompts: Sequence[str]
    fewest: int
    max_tokens: int


@runtime_checkable
class Sized(Protocol):
    """A judge that can say what it would ask."""

    def asks(self, pair: Pair) -> Asks:
        """Return what a score of this pair would ask of the model."""
        ...


def is_priced(judge: Judge) -> bool:
    """Return whether the cost of a judge's score can be bounded in advance."""
    has_prices = None not in (judge.spec.price_input, judge.spec.price_output)
    return has_prices and isinstance(judge, Priced)


def most_usd(judge: Judge, pair: Pair) -> float:
    """Return the most that a judge's score of a pair may cost in USD, repetitions included.

    Raises:
        TypeError: the judge cannot bound it; see `is_priced`.
    """
    if not isinstance(judge, Priced):
        raise TypeError(f"the judge {judge.spec.name!r} cannot say what a score may cost")
    return judge.most_usd(pair)


class Budget:
    """Money in USD for calls at known prices.

    Args:
        usd: The most that may be spent; None for no limit.
        price_input: USD per million prompt tokens.
        price_output: USD per million completion tokens.
    """

    def __init__(
        self, usd: float | None, price_input: float | None, price_output: float | None
    ) -> None:
        self.usd = usd
        self._prices = (price_input or 0.0, price_output or 0.0)
        self._spent = 0.0
        self._reserved = 0.0
        self._longest = 0  # some servers bill more tokens than a call may have

    @property
    def spent(self) -> float:
        """USD spent so far, retries included."""
        return self._spent

    def reserve(self, text: str, max_tokens: int) -> float | None:
        """Set aside the most that a call may cost; None where that would pass the limit."""
        most = self.most([text], max_tokens)
        if self.usd is not None and self._spent + self._reserved + most > self.usd:
            return None
        self._reserved += most
        return most

    def most(self, texts: Iterable[str], max_tokens: int) -> float:
        """Return the most that one call with each of these prompts may cost."""
        return sum(
            # a lone surrogate counts as well
            self._cost(
                len(text.encode("utf-8", "surrogatepass")) + _FRAME_TOKENS,
                max(max_tokens, self._longest),
            )
            for text in texts
        )

    def settle(self, reserved: float, usage: TokenUsage | None) -> None:
        """Replace a reservation by the actual cost; with None, unknown, the whole reservation counts."""
        self._reserved -= reserved
        self._longest = max(self._longest, usage.completion if usage else 0)
        self._spent += reserved if usage is None else self._cost(usage.prompt, usage.completion)

    def _cost(self, prompt: int, completion: int) -> float:
        return (prompt * self._prices[0] + completion * self._prices[1]) / 1e6
