"""The rating and the win rate of every model, in a sample of comparisons and in its resamples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from calibration import win_rates
from calibration.bradley_terry import Strengths, fit_resamples, fit_strengths
from calibration.comparisons import Comparisons, PairLayout, PairTotals
from calibration.elo import EloOptions, elo_ratings
from calibration.resampling import ClusterBootstrap

FloatArray = NDArray[np.float64]
Statistic = Callable[[PairTotals], FloatArray]

Method = Literal["bradley_terry", "win_rate", "average_win_rate", "counting", "elo"]
TieRule = Literal["half", "exclude", "davidson"]


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
    """

    method: Method = "bradley_terry"
    ties: TieRule = "half"
    baseline: str | None = None
    elo: EloOptions = field(default_factory=EloOptions)


@dataclass(frozen=True, slots=True, eq=False)
class Resampled:
    """Values of all models: (models,) in the sample, (resamples, models) in the resamples."""

    value: FloatArray
    draws: FloatArray | None

    @property
    def n_undefined(self) -> int:
        """Number of resamples in which some model has no value."""
        return 0 if self.draws is None else int((~np.isfinite(self.draws).all(axis=1)).sum())


@dataclass(frozen=True, slots=True, eq=False)
class ModelScores:
    """Ratings and win rates; `strengths` of the sample for Bradley-Terry alone."""

    rating: Resampled
    win_rate: Resampled
    strengths: Strengths | None


def score_models(
    comparisons: Comparisons, options: RankingOptions, bootstrap: ClusterBootstrap | None
) -> ModelScores:
    """Rate the models by the chosen method.

    Raises:
        DisconnectedComparisons: Bradley-Terry strengths are not finite.
        NoFiniteStrengths: Davidson's tie parameter is not finite.
    """
    layout = PairLayout.of(comparisons)
    share: Statistic = win_rates.win_rates
    if options.baseline is not None:
        baseline = comparisons.models.index(options.baseline)
        share = partial(win_rates.win_rates_against, baseline=baseline)
    win_rate = _resampled(layout, share, bootstrap)
    match options.method:
        case "bradley_terry":
            return _by_strength(comparisons, layout, win_rate, options, bootstrap)
        case "average_win_rate":
            rating = _resampled(layout, win_rates.average_win_rates, bootstrap)
        case "counting":
            rating = _resampled(layout, win_rates.points, bootstrap)
        case "elo":
            rating = _by_elo(comparisons, options.elo, bootstrap)
        case _:
            rating = win_rate
    return ModelScores(rating, win_rate, None)


def _by_strength(
    comparisons: Comparisons,
    layout: PairLayout,
    win_rate: Resampled,
    options: RankingOptions,
    bootstrap: ClusterBootstrap | None,
) -> ModelScores:
    with_ties = options.ties == "davidson"
    fitted = fit_strengths(layout.whole(), comparisons.models, has_tie_parameter=with_ties)

    def refit(totals: PairTotals) -> FloatArray:
        return fit_resamples(totals, fitted, has_tie_parameter=with_ties).log_strength

    draws = None if bootstrap is None else _draws(layout, refit, bootstrap)
    return ModelScores(Resampled(fitted.log_strength[0], draws), win_rate, fitted)


def _by_elo(
    comparisons: Comparisons, constants: EloOptions, bootstrap: ClusterBootstrap | None
) -> Resampled:
    value = elo_ratings(comparisons, constants)[0]
    if bootstrap is None:
        return Resampled(value, None)
    blocks = (
        drawn[:, bootstrap.group].astype(np.float64)
        for drawn in bootstrap.multiplicities(len(comparisons))
    )
    draws = [elo_ratings(comparisons, constants, played) for played in blocks]
    return Resampled(value, np.concatenate(draws))


def _resampled(
    layout: PairLayout, statistic: Statistic, bootstrap: ClusterBootstrap | None
) -> Resampled:
    value = statistic(layout.whole())[0]
    return Resampled(value, None if bootstrap is None else _draws(layout, statistic, bootstrap))


def _draws(layout: PairLayout, statistic: Statistic, bootstrap: ClusterBootstrap) -> FloatArray:
    blocks = bootstrap.totals(layout.parts)
    return np.concatenate([statistic(layout.totals(sums)) for sums in blocks])
