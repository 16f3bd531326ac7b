"""Elo ratings, and the options of a ranking.

Elo, "The Rating of Chessplayers" (1978). Ratings depend on the order and never settle; Bradley-
Terry strengths are the better summary of a finished set of comparisons.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from calibration.arrays import FloatArray
from calibration.errors import InvalidArgument
from calibration.ranking.comparisons import Comparisons

_LARGEST_POWER = 300.0  # of ten, that is still a number
Method = Literal["bradley_terry", "win_rate", "average_win_rate", "counting", "elo"]
TieRule = Literal["half", "exclude", "davidson"]
Intervals = Literal["auto", "bootstrap", "sandwich"]


@dataclass(frozen=True, slots=True)
class EloOptions:
    """Constants of the Elo system: step `k`, first rating `start`, rating points per factor 10.

    Raises:
        InvalidArgument: One is not finite, or `k` or `scale` is not positive.
    """

    k: float = 4.0
    start: float = 1000.0
    scale: float = 400.0

    def __post_init__(self) -> None:
        """Refuse constants that give no ratings."""
        for name, value, least in (
            ("k", self.k, 0.0),
            ("start", self.start, -math.inf),
            ("scale", self.scale, 0.0),
        ):
            if not least < value < math.inf:
                sort = "a positive number" if least == 0 else "a number"
                raise InvalidArgument(f"{name} must be {sort}, not {value}")


@dataclass(frozen=True, slots=True)
class RankingOptions:
    """Options for ranking.

    Attributes:
        method: What the rating is. "bradley_terry": log-strength with mean 0; "win_rate": points
            per comparison; "average_win_rate": its mean over opponents; "counting": points; "elo".
        ties: A tie is half a point for each side, or is left out, or (Bradley-Terry only) has its
            own probability after Davidson.
        baseline: For "win_rate": count only comparisons with this model.
        elo: Constants of Elo.
        intervals: Where the intervals of the ratings come from. "bootstrap": resamples of the
            groups. "sandwich" (Bradley-Terry only): the covariance of the score equations by
            group. "auto": with covariates the sandwich; for Bradley-Terry without them the
            sandwich from 50 groups on, unless a single group makes more than a quarter of some
            model's variance; else the bootstrap. Win rates always have bootstrap intervals.
    """

    method: Method = "bradley_terry"
    ties: TieRule = "half"
    baseline: str | None = None
    elo: EloOptions = field(default_factory=EloOptions)
    intervals: Intervals = "auto"


def elo_ratings(
    comparisons: Comparisons, options: EloOptions | None = None, played: FloatArray | None = None
) -> FloatArray:
    """Rate the models, R_i += k w (s - 1 / (1 + 10 ** ((R_j - R_i) / scale))), in file order.

    Args:
        comparisons: The comparisons in the order of play; `weight` multiplies `k`.
        options: Constants of the system.
        played: How often each comparison counts in each resample, shape (resamples, n); a
            comparison drawn twice makes one step of twice the size. Default: all once.

    Returns:
        Ratings, shape (resamples, models); one resample by default.

    >>> played = Comparisons.between(["x", "x"], ["y", "y"], [1, 1])
    >>> elo_ratings(played).round(1).tolist()
    [[1004.0, 996.0]]
    """
    constants = EloOptions() if options is None else options
    if played is None:
        return _rated_once(comparisons, constants)
    steps = constants.k * comparisons.weight[:, None] * played.T
    ratings = np.full((len(comparisons.models), len(played)), float(constants.start))
    rows = zip(comparisons.left, comparisons.right, comparisons.score, steps, strict=True)
    for left, right, score, step in rows:
        difference = (ratings[right] - ratings[left]) / constants.scale
        change = step * (score - 1 / (1 + 10 ** np.minimum(difference, _LARGEST_POWER)))
        ratings[left] += change
        ratings[right] -= change
    return ratings.T


def _rated_once(comparisons: Comparisons, constants: EloOptions) -> FloatArray:
    """Rate the sample alone: plain numbers are ten times as fast as arrays of one element."""
    ratings = [float(constants.start)] * len(comparisons.models)
    steps = (constants.k * comparisons.weight).tolist()
    rows = (comparisons.left.tolist(), comparisons.right.tolist(), comparisons.score.tolist())
    for left, right, score, step in zip(*rows, steps, strict=True):
        difference = min((ratings[right] - ratings[left]) / constants.scale, _LARGEST_POWER)
        change = step * (score - 1 / (1 + 10**difference))
        ratings[left] += change
        ratings[right] -= change
    return np.array([ratings])
