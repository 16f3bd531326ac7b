"""A test of "the mean is at least zero" for bounded terms, by betting against it.

A gambler who stakes a fraction b on term Z gains the factor 1 - b Z. If E[Z] >= 0 and b was chosen
before Z, the wealth is a supermartingale, so it ever reaches 1/p with probability at most p (Ville);
p = 1 / the largest wealth is a p-value (Waudby-Smith and Ramdas 2024). Half of the stake follows the
terms seen so far, the other half is split over fixed fractions: the first is quick where the case is
clear, the second wins in the long run.
"""

from __future__ import annotations

import numpy as np

from calibration.arrays import FloatArray

# No term may cost more than three quarters of what is at stake.
_LARGEST_BET = 0.75
_FIXED_BETS = _LARGEST_BET * np.array([0.2, 0.35, 0.55, 1.0])
_SHARES = np.array([0.5, 0.125, 0.125, 0.125, 0.125])
# One imagined term before the first: it lets the gambler bet at once.
_PRIOR_MEAN, _PRIOR_SQUARE = -0.1, 0.0625


def mean_p_value(terms: FloatArray, largest_term: float) -> float:
    """P-value of "the expected term is at least 0" for independent terms in a fixed order.

    Args:
        terms: Shape (n,), each at most `largest_term`.
        largest_term: Declared bound on a term, known without looking at the terms.
    """
    if not terms.size:
        return 1.0
    scaled = terms / largest_term
    factors = np.log1p(-_FIXED_BETS[:, None] * scaled)
    followed = np.log1p(-following_bets(scaled) * scaled)
    log_wealth = np.cumsum(np.vstack([followed, factors]), axis=1)
    highest = log_wealth.max(axis=0)
    mixed = highest + np.log(_SHARES @ np.exp(log_wealth - highest))
    return float(np.exp(-max(0.0, float(mixed.max()))))


def following_bets(scaled: FloatArray) -> FloatArray:
    """Growth-optimal bets to second order, -mean / mean square of the terms before each.

    Args:
        scaled: Terms over their declared bound, shape (n,).
    """
    before = np.arange(1.0, scaled.size + 1.0)
    total = _PRIOR_MEAN + np.cumsum(scaled) - scaled
    squares = _PRIOR_SQUARE + np.cumsum(scaled**2) - scaled**2
    bets: FloatArray = np.clip(-(total / before) / (squares / before), 0.0, _LARGEST_BET)
    return bets
