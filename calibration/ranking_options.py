"""How models are to be ranked: method, ties, baseline, and where intervals come from."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from calibration.elo import EloOptions

Method = Literal["bradley_terry", "win_rate", "average_win_rate", "counting", "elo"]
TieRule = Literal["half", "exclude", "davidson"]
Intervals = Literal["auto", "bootstrap", "sandwich"]


@dataclass(frozen=True, slots=True)
class RankingOptions:
    """How to rank.

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
