"""The intervals of ratings and win rates: each from the groups that stand behind it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from calibration.binomial import wilson_interval
from calibration.comparisons import Comparisons
from calibration.estimate import Estimate
from calibration.model_scores import ModelScores, Resampled
from calibration.ranking_options import RankingOptions
from calibration.records import count_groups, count_present
from calibration.resampling import (
    DEFAULT_CONFIDENCE_LEVEL,
    LARGEST_UNDEFINED_SHARE,
    ClusterBootstrap,
    expanded_tail,
)

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

_SHARES = ("win_rate", "average_win_rate")


@dataclass(frozen=True, slots=True)
class RatingEstimates:
    """Makes estimates of the scores of each model.

    A share rests on the groups of the model's own comparisons; a strength, an Elo rating or points
    on all groups, because every comparison moves them all.

    Attributes:
        options: How the models were ranked.
        scores: Their scores.
        n: Number of comparisons of each model.
        confidence_level: Coverage of the intervals.
        n_groups: Number of groups; None for values without intervals.
        n_own_groups: Number of groups that each model has comparisons in, shape (models,).
    """

    options: RankingOptions
    scores: ModelScores
    n: IntArray
    confidence_level: float = DEFAULT_CONFIDENCE_LEVEL
    n_groups: int | None = None
    n_own_groups: IntArray | None = None

    def with_groups(
        self, bootstrap: ClusterBootstrap, counted: Comparisons, kept: BoolArray
    ) -> RatingEstimates:
        """Add intervals.

        Args:
            bootstrap: The groups of all comparisons.
            counted: The comparisons that count for the win rates.
            kept: Which of all comparisons they are.
        """
        return replace(
            self,
            confidence_level=bootstrap.confidence_level,
            n_groups=count_present(bootstrap.group, bootstrap.n_groups),
            n_own_groups=count_groups(counted, bootstrap.group[kept], bootstrap.n_groups),
        )

    def rating(self, model: int) -> Estimate:
        """The rating of one model."""
        if self.options.method in _SHARES:
            return self._share(self.scores.rating, model)
        value, n = float(self.scores.rating.value[model]), int(self.n[model])
        if self.n_groups is not None and self.scores.errors is not None:
            return self.scores.errors.estimate(model, value, self.confidence_level, n)
        return self._from_draws(value, self.scores.rating.draws[:, model], n, self.n_groups)

    def win_rate(self, model: int) -> Estimate:
        """The win rate of one model."""
        return self._share(self.scores.win_rate, model)

    def _share(self, scores: Resampled, model: int) -> Estimate:
        value, n = float(scores.value[model]), int(self.n[model])
        if not np.isfinite(value):
            return Estimate(None, None, None, self.confidence_level, n)
        groups = None if self.n_own_groups is None else int(self.n_own_groups[model])
        if groups is not None and value in (0.0, 1.0):
            # the same in all resamples, which would give an interval of no width
            low, high = wilson_interval(groups * int(value), groups, self.confidence_level)
            return Estimate(value, float(low), float(high), self.confidence_level, n)
        return self._from_draws(value, scores.draws[:, model], n, groups)

    def _from_draws(
        self, value: float, draws: FloatArray, n: int, n_groups: int | None
    ) -> Estimate:
        """Percentile interval as in `ClusterBootstrap.interval`, the groups being counted already."""
        defined = draws[np.isfinite(draws)]
        needed = max(1.0, (1 - LARGEST_UNDEFINED_SHARE) * len(draws))
        if n_groups is None or n_groups < 2 or defined.size < needed:
            return Estimate(value, None, None, self.confidence_level, n)
        tail = expanded_tail(n_groups, 1 - self.confidence_level)
        low, high = np.quantile(defined, [tail, 1 - tail])
        return Estimate(value, float(low), float(high), self.confidence_level, n)
