"""One comparison under Davidson's model: probabilities of a win, a tie and a loss.

P(win) : P(tie) : P(loss) = exp(d / 2) : nu : exp(-d / 2), with d the log-odds of a win against a
loss (Davidson 1970). Without ties, nu = 0, it is the model of Bradley and Terry (1952). In
(d, log nu) it is an exponential family whose statistics are the points (a tie is half a one) and
the number of ties, so gradient and curvature of the log-likelihood are their moments.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy import special

from calibration.arrays import FloatArray


class Moments(NamedTuple):
    """Expectations of one comparison, all of the shape of the log-odds.

    `points` is the expected share of the first model and `points_variance` its variance; the other
    two are the probability of a tie and the covariance of points and tie.
    """

    points: FloatArray
    points_variance: FloatArray
    tie: FloatArray
    covariance: FloatArray


def moments(log_odds: FloatArray, log_tie: FloatArray | None) -> Moments:
    """Expectations at the log-odds d and log nu (which must broadcast); None for no ties."""
    if log_tie is None:
        points = special.expit(log_odds)
        nothing = np.zeros_like(points)
        return Moments(points, points * (1 - points), nothing, nothing)
    half = log_odds / 2
    tie_part = np.broadcast_to(log_tie, half.shape)
    top = np.maximum(np.abs(half), tie_part)
    first, second, tie = (np.exp(part - top) for part in (half, -half, tie_part))
    whole = first + second + tie
    first, second, tie = first / whole, second / whole, tie / whole
    variance = (first + second - (first - second) ** 2) / 4
    return Moments(first + tie / 2, variance, tie, -(first - second) / 2 * tie)
