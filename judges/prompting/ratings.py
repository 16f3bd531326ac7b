"""The scale of a rating, and the preference that two ratings stand for.

A model writes one token, so each value of a scale needs a token of its own. Values that are digits
stand for themselves. A scale with other values, such as 10, is recoded: letters stand for its
values, the worst first. A is the first letter; I is left out, since a sentence may begin with it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Final

from judges.errors import JudgeConfigurationInvalid
from judges.probability import Preference, normalise

_LETTERS: Final = "ABCDEFGHJKLMNOPQRSTUVWXYZ"
_DIGITS: Final = 9
#: A server lists at most 20 tokens, and every value needs one of them.
_MOST_VALUES: Final = 20
_DECIMALS: Final = 12


@dataclass(frozen=True, slots=True)
class Scale:
    """The values of a rating, the worst first, and the word that a model writes for each."""

    values: tuple[int, ...]
    labels: tuple[str, ...]

    @classmethod
    def of(cls, bounds: Sequence[int], labels: Sequence[str] | None = None) -> Scale:
        """Return the scale of all integers between two bounds, both included.

        Args:
            bounds: The worst value and the best.
            labels: The word for each value; None for digits or letters.

        Raises:
            JudgeConfigurationInvalid: The bounds make no scale, or the words do not fit it.

        Example:
            >>> Scale.of([1, 5]).labels
            ('1', '2', '3', '4', '5')
            >>> Scale.of([1, 10]).labels
            ('A', 'B', 'C', 'D', 'E', 'F', 'G', 'H', 'J', 'K')
        """
        low, high = bounds
        if not low < high:
            raise JudgeConfigurationInvalid(f"scale: {low} is not less than {high}")
        if high - low >= _MOST_VALUES:
            raise JudgeConfigurationInvalid(
                f"scale: {low} to {high} are {high - low + 1} values, more than {_MOST_VALUES}"
            )
        values = tuple(range(low, high + 1))
        if labels is None:
            is_digits = low >= 0 and high <= _DIGITS
            words = tuple(map(str, values)) if is_digits else tuple(_LETTERS[: len(values)])
            return cls(values, words)
        if len(labels) != len(values):
            raise JudgeConfigurationInvalid(
                f"labels: {len(labels)} words for the {len(values)} values of the scale"
            )
        for one, other in permutations(labels, 2):
            if other.casefold().startswith(one.casefold()):
                raise JudgeConfigurationInvalid(
                    f"labels: {other!r} begins with {one!r}: a model that writes it in several"
                    " tokens would be misread"
                )
        return cls(values, tuple(labels))

    @property
    def is_recoded(self) -> bool:
        """Whether the words are not the values themselves."""
        return self.labels != tuple(map(str, self.values))

    def expected(self, shares: Sequence[float]) -> float:
        """Return the mean value under the probabilities of the values, to 12 decimals."""
        return round(math.fsum(v * p for v, p in zip(self.values, shares, strict=True)), _DECIMALS)


def mean_shares(distributions: Sequence[Sequence[float]]) -> tuple[float, ...]:
    """Return the mean of several distributions over the same values."""
    columns = zip(*distributions, strict=True)
    return tuple(math.fsum(column) / len(distributions) for column in columns)


def preference_of_ratings(first: Sequence[float], second: Sequence[float]) -> Preference:
    """Return P(X > Y) + P(X = Y) / 2 for two independent ratings X and Y.

    The sums are exact to the last bit, so that exchanging the two mirrors the result.

    Args:
        first: Probability of each value of X, the worst value first.
        second: The same for Y.

    Example:
        >>> preference_of_ratings([0.5, 0.5], [1.0, 0.0]).p_a
        0.75
    """
    products = [(i, j, p * q) for i, p in enumerate(first) for j, q in enumerate(second)]
    above = math.fsum(p for i, j, p in products if i > j)
    below = math.fsum(p for i, j, p in products if i < j)
    half = math.fsum(p for i, j, p in products if i == j) / 2
    return normalise(above + half, below + half)
