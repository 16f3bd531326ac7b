"""Prediction-powered estimates: many judge scores corrected by a few labels."""

from __future__ import annotations

from calibration.powered.labels import HumanLabels
from calibration.powered.leaderboard import (
    PoweredLeaderboard,
    PoweredMethod,
    PoweredRow,
    rank_by_predictions,
)
from calibration.powered.mean import (
    AbstentionBounds,
    Ends,
    PredictionPowered,
    audited_win_rate,
    checked_prediction,
    prediction_powered_mean,
    win_rate_bounds,
)
from calibration.powered.strengths import (
    ModelStrength,
    PredictionPoweredStrengths,
    prediction_powered_strengths,
)
from calibration.powered.win_rates import ModelWinRate, model_win_rates, predicted_comparisons

__all__ = [
    "AbstentionBounds",
    "Ends",
    "HumanLabels",
    "ModelStrength",
    "ModelWinRate",
    "PoweredLeaderboard",
    "PoweredMethod",
    "PoweredRow",
    "PredictionPowered",
    "PredictionPoweredStrengths",
    "audited_win_rate",
    "checked_prediction",
    "model_win_rates",
    "predicted_comparisons",
    "prediction_powered_mean",
    "prediction_powered_strengths",
    "rank_by_predictions",
    "win_rate_bounds",
]
