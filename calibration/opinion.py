"""One judge's probabilities on one pair: `confidence.preference` and `cascade.decide` for scalars.

A cascade that asks live judges decides pair by pair as their answers come. Arrays of one element
would cost more than many a judge; the numbers are those of the arrays to the last bit.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

from calibration.confidence import CONFIDENCE_DECIMALS, NO_VERDICT, PREFERS_A, PREFERS_B, TIE
from calibration.confidence import TieRule as TieRule

_SCALE: Final = 10.0**CONFIDENCE_DECIMALS
_GRID: Final = 10.0**-CONFIDENCE_DECIMALS
_WHOLE: Final = round(1.0 / _GRID)


class Opinion(NamedTuple):
    """A label, coded as in `confidence.Preference`, and its probability; nan without a verdict."""

    label: int
    confidence: float


SILENT: Final = Opinion(NO_VERDICT, math.nan)


def opinion(p_a: float, p_tie: float | None = None, *, ties: TieRule = "exclude") -> Opinion:
    """Return what a judge prefers and how sure it is.

    Args:
        p_a: Probability that a is preferred, in [0, 1].
        p_tie: Probability of a tie; b has what is left.
        ties: The declared tie rule, see `confidence.preference`.
    """
    tie = p_tie or 0.0
    if ties == "class":
        first, second = _rounded(p_a), _rounded(max(1.0 - p_a - tie, 0.0))
        tie = _rounded(tie)
    else:
        first, second = _without_tie(p_a, tie)
        tie = 0.0
    best = max(first, second)
    if tie > best:
        return Opinion(TIE, tie)
    if first == second:
        return SILENT
    return Opinion(PREFERS_A if first > second else PREFERS_B, best)


def is_accepted(confidence: float, threshold: float) -> bool:
    """Whether a judge of this confidence answers; nan and a threshold of +inf never do."""
    if not math.isfinite(confidence) or threshold == math.inf:
        return False
    return _rounded(confidence) >= _rounded(threshold)


def _rounded(value: float) -> float:
    # as arrays are rounded: scaled, to even, scaled back
    return round(value * _SCALE) / _SCALE


def _without_tie(first: float, tie: float) -> tuple[float, float]:
    if not tie:
        # the shares are the grid's own points
        on_a = round(first / _GRID)
        return on_a / _SCALE, (_WHOLE - on_a) / _SCALE
    on_a, on_tie = round(first / _GRID), round(tie / _GRID)
    on_b = max(_WHOLE - on_a - on_tie, 0)
    decided = on_a + on_b
    larger = (1.0 + (abs(on_a - on_b) / decided if decided else 0.0)) / 2.0
    high, low = _rounded(larger), _rounded(1.0 - larger)
    return (high, low) if on_a > on_b else (low, high)
