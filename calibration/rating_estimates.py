"""The intervals of ratings and win rates: each from the groups that stand behind it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from calibration.arrays import BoolArray, FloatArray, IntArray
from calibration.binomial import wilson_interval
from calibration.comparisons import Comparisons
from calibration.estimate import Estimate
from calibration.model_scores import ModelScores, Resampled
from calibration.ranking_options import RankingOptions
from calibration.records import Support, count_groups, with_baseline
from calibration.resampling import (
    DEFAULT_CONFIDENCE_LEVEL,
    LARGEST_UNDEFINED_SHARE,
    ClusterBootstrap,
    expanded_tail,
)

SHARES = ("win_rate", "average_win_rate")
_ROUNDING = 1e-12


def find_support(
    comparisons: Comparisons,
    options: RankingOptions,
    scores: ModelScores,
    bootstrap: ClusterBootstrap,
) -> Support:
    """Find how many groups stand behind each model, and for which models they are unanimous.

    With a baseline only the comparisons with it count; its own rate of .5 is no estimate.
    """
    counted = with_baseline(comparisons, options.baseline)
    own = comparisons if options.baseline is None else comparisons.take(counted)
    groups = count_groups(own, bootstrap.group[counted], bootstrap.n_groups)
    is_unanimous = _never_changes(scores.win_rate)
    if options.baseline is not None:
        is_unanimous[comparisons.models.index(options.baseline)] = False
    return Support(groups, is_unanimous, bootstrap.confidence_level)


def _never_changes(scores: Resampled) -> BoolArray:
    """Which models have their value of the sample in all resamples that have one."""
    moved = np.abs(scores.draws - scores.value) > _ROUNDING  # never true of nan
    return np.asarray(np.isfinite(scores.value) & ~moved.any(axis=0), dtype=np.bool_)


@dataclass(frozen=True, slots=True)
class RatingEstimates:
    """Makes estimates of the scores of each model.

    An interval is as wide as the groups demand in which the model itself was compared: all of them
    move a strength or an Elo rating, but those of its own decide how well it is known.

    Attributes:
        options: How the models were ranked.
        scores: Their scores.
        n: Number of comparisons of each model.
        support: The groups behind each model; None for values without intervals.
    """

    options: RankingOptions
    scores: ModelScores
    n: IntArray
    support: Support | None

    @property
    def confidence_level(self) -> float:
        """Coverage of the intervals."""
        level = DEFAULT_CONFIDENCE_LEVEL if self.support is None else self.support.confidence_level
        return float(level)

    def rating(self, model: int) -> Estimate:
        """The rating of one model.

        There is no interval for strengths, Elo ratings and points from unanimous groups: none of
        these has a scale on which so many equal trials could be placed.
        """
        if self.options.method in SHARES:
            return self._share(self.scores.rating, model)
        value, n = float(self.scores.rating.value[model]), int(self.n[model])
        if self.support is None or self.support.is_unanimous[model]:
            return Estimate(value, None, None, self.confidence_level, n)
        groups = int(self.support.groups[model])
        if self.scores.errors is not None:
            errors = self.scores.errors.resting_on(groups)
            return errors.estimate(model, value, self.confidence_level, n)
        return self._from_draws(value, self.scores.rating.draws[:, model], n, groups)

    def win_rate(self, model: int) -> Estimate:
        """The win rate of one model."""
        return self._share(self.scores.win_rate, model)

    def _share(self, scores: Resampled, model: int) -> Estimate:
        value, n = float(scores.value[model]), int(self.n[model])
        if not np.isfinite(value):
            return Estimate(None, None, None, self.confidence_level, n)
        if self.support is None:
            return Estimate(value, None, None, self.confidence_level, n)
        groups = int(self.support.groups[model])
        if self.support.is_unanimous[model] and (groups > 1 or value in (0.0, 1.0)):
            # one trial a group: equal resamples would give an interval of no width
            low, high = wilson_interval(groups * value, groups, self.confidence_level)
            return Estimate(value, float(low), float(high), self.confidence_level, n)
        return self._from_draws(value, scores.draws[:, model], n, groups)

    def _from_draws(self, value: float, draws: FloatArray, n: int, n_groups: int) -> Estimate:
        """Percentile interval as in `ClusterBootstrap.interval`, the groups being counted already."""
        defined = draws[np.isfinite(draws)]
        needed = max(1.0, (1 - LARGEST_UNDEFINED_SHARE) * len(draws))
        if n_groups < 2 or defined.size < needed:
            return Estimate(value, None, None, self.confidence_level, n)
        tail = expanded_tail(n_groups, 1 - self.confidence_level)
        low, high = np.quantile(defined, [tail, 1 - tail])
        return Estimate(value, float(low), float(high), self.confidence_level, n)
