"""Bradley-Terry by evalica, the baseline of the leaderboards: a fit in compiled code."""

from __future__ import annotations

from collections.abc import Callable

import evalica
import numpy as np

from benchmarks.statistics.made_comparisons import MadeComparisons
from calibration.ranking import Leaderboard

NAME = "evalica.bradley_terry, one fit"
# evalica stops at its default tolerance of 1e-6, long after the order is settled.
_TOLERANCE = 1e-3


def evalica_fit(made: MadeComparisons) -> Callable[[], dict[str, float]]:
    """Prepare outcomes in evalica's own form; the call returns log-strengths with mean 0."""
    outcomes = {1.0: evalica.Winner.X, 0.5: evalica.Winner.Draw, 0.0: evalica.Winner.Y}
    winners = [outcomes[score] for score in made.score]

    def fit() -> dict[str, float]:
        scores = evalica.bradley_terry(made.left, made.right, winners).scores
        log_strength = np.log(scores.to_numpy())
        log_strength -= log_strength.mean()
        return dict(zip(scores.index.tolist(), log_strength.tolist(), strict=True))

    return fit


def same_ratings(leaderboard: Leaderboard, log_strengths: dict[str, float]) -> bool:
    """The ratings of a leaderboard are these log-strengths."""
    ratings = {row.model: row.rating.value for row in leaderboard.rows}
    return ratings.keys() == log_strengths.keys() and all(
        value is not None and abs(value - log_strengths[model]) < _TOLERANCE
        for model, value in ratings.items()
    )
