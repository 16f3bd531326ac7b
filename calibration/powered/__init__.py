"""Prediction-powered estimates: many judge scores corrected by a few labels."""

from __future__ import annotations

from calibration.powered.labels import HumanLabels
from calibration.powered.leaderboard import (
    PoweredLeaderboard,
    PoweredMethod,
    PoweredRow,
    rank_by_predictions,
)
from calibration.powered.mean import checked_prediction

__all__ = [
    "HumanLabels",
    "PoweredLeaderboard",
    "PoweredMethod",
    "PoweredRow",
    "checked_prediction",
    "rank_by_predictions",
]
