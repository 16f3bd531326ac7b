"""Labels and probabilities that mirror exactly.

In floating point 1 - mean(p) and mean(1 - p) differ in the last bits, and such a bit would decide
a comparison with a threshold. So probabilities live on a grid of 1e-12 and are averaged as
integers, by their distance from the middle, which swapping turns into its negative.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from judges.errors import RecordInvalid
from judges.types import Label

_SPELLINGS: Final[dict[str, Label]] = {
    **dict.fromkeys(("a", "model_a", "response_a", "left", "1"), "a"),
    **dict.fromkeys(("b", "model_b", "response_b", "right", "2"), "b"),
    **dict.fromkeys(("tie", "both_bad", "bothbad", "tie (bothbad)"), "tie"),
}
_P_A: Final[dict[Label, float]] = {"a": 1.0, "tie": 0.5, "b": 0.0}
_SWAPPED: Final[dict[Label, Label]] = {"a": "b", "b": "a", "tie": "tie"}
_SHOWN_LENGTH: Final = 40


def parse_label(value: object) -> Label:
    """Return the label that `value` spells, in any case and with any white space around it.

    Raises:
        RecordInvalid: when it spells none.
    """
    is_text = isinstance(value, str | int) and not isinstance(value, bool)
    label = _SPELLINGS.get(str(value).strip().lower()) if is_text else None
    if label is None:
        raise RecordInvalid(f"{repr(value)[:_SHOWN_LENGTH]} is not a label: give a, b or tie")
    return label


def label_to_p_a(label: Label) -> float:
    """Return the probability of a that a bare label stands for: 1, one half for a tie, or 0."""
    return _P_A[label]


def swap_label(label: Label) -> Label:
    """Return the label of the same pair with its two responses swapped."""
    return _SWAPPED[label]


_GRID: Final = 10**12
_TIE_STEP: Final = 2  # grid points: what ties leave over must halve exactly


class Preference(NamedTuple):
    """The probabilities that a is preferred and that neither is; to 12 decimals."""

    p_a: float
    p_tie: float = 0.0

    @property
    def p_b(self) -> float:
        """Return the probability that b is preferred."""
        return (_GRID - _units(self.p_a) - _units(self.p_tie)) / _GRID

    def swapped(self) -> Preference:
        """Return the preference with a and b exchanged."""
        return Preference(self.p_b, self.p_tie)


def normalise(a: float, b: float, tie: float = 0.0) -> Preference:
    """Return the preference proportional to three non-negative masses, at least one positive."""
    total = a + b + tie
    tie_units = _TIE_STEP * round(tie / total * (_GRID / _TIE_STEP))
    # a - b is exactly antisymmetric in floating point, a / (a + b) is not
    above_middle = 0 if a == b else round((a - b) / (a + b) * (_GRID - tie_units) / 2)
    return Preference(((_GRID - tie_units) // 2 + above_middle) / _GRID, tie_units / _GRID)


def mean_preference(preferences: Iterable[Preference]) -> Preference:
    """Return the mean of at least one preference; swapping each swaps the mean, bit for bit."""
    given = list(preferences)
    tie_units = sum(_units(p.p_tie) for p in given)
    ahead = sum(2 * _units(p.p_a) + _units(p.p_tie) - _GRID for p in given)  # sum of p_a - p_b
    tie = _TIE_STEP * _nearest(tie_units, _TIE_STEP * len(given))
    middle = (_GRID - tie) // 2
    above_middle = max(-middle, min(middle, _nearest(ahead, 2 * len(given))))
    return Preference((middle + above_middle) / _GRID, tie / _GRID)


def _units(probability: float) -> int:
    return round(probability * _GRID)


def _nearest(numerator: int, denominator: int) -> int:
    """Round the quotient half away from zero: the same for a number and for its negative."""
    magnitude = (2 * abs(numerator) + denominator) // (2 * denominator)
    return magnitude if numerator >= 0 else -magnitude
