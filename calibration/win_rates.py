"""Leaderboards by counting: points, win rates, and win rates averaged over opponents.

Each function maps pair totals of many resamples to values of shape (resamples, models); a tie is
half a point for each side. nan marks a model that met nobody in a resample.
"""

from __future__ import annotations

import numpy as np

from calibration.arrays import FloatArray
from calibration.comparisons import PairTotals


def points(totals: PairTotals) -> FloatArray:
    """Points of each model: wins plus half the ties."""
    return totals.by_model(totals.first_points, totals.second_points)


def win_rates(totals: PairTotals) -> FloatArray:
    """Points of each model over the weight of its comparisons."""
    return _ratio(points(totals), totals.by_model(totals.games, totals.games))


def average_win_rates(totals: PairTotals) -> FloatArray:
    """Mean over the opponents a model met of its win rate against each."""
    met = (totals.games > 0).astype(np.float64)
    of_first = np.nan_to_num(_ratio(totals.first_points, totals.games))
    of_second = np.nan_to_num(_ratio(totals.second_points, totals.games))
    return _ratio(totals.by_model(of_first, of_second), totals.by_model(met, met))


def win_rates_against(totals: PairTotals, baseline: int) -> FloatArray:
    """Win rate of each model in its comparisons with one other; the baseline itself gets .5."""
    against_second = (totals.second == baseline).astype(np.float64)
    against_first = (totals.first == baseline).astype(np.float64)
    won = totals.by_model(
        totals.first_points * against_second, totals.second_points * against_first
    )
    rates = _ratio(
        won, totals.by_model(totals.games * against_second, totals.games * against_first)
    )
    rates[:, baseline] = 0.5
    return rates


def _ratio(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    unknown = np.full_like(numerator, np.nan)
    return np.divide(numerator, denominator, out=unknown, where=denominator > 0)
