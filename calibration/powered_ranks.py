"""Rank sets of models whose ratings are corrected by labels; all sets of a leaderboard hold together.

Those of strengths come from their differences, as for other leaderboards, where the strengths have
a covariance. Elsewhere they come from intervals that hold for all models together (each at the
level 1 - error / models): a model is below those whose whole interval lies above its own. That is
less sharp, and needs nothing about how estimates of different models go together.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import stats

from calibration.comparisons import Comparisons
from calibration.estimate import Estimate
from calibration.human_labels import HumanLabels, labelled_sample
from calibration.prediction_powered_strengths import PredictionPoweredStrengths
from calibration.rank_sets import RankSets, Spread, rank_sets
from calibration.records import Support, count_groups


def shared_level(confidence_level: float, n_models: int) -> float:
    """Level of each interval that makes all of them hold together (Bonferroni)."""
    return 1 - (1 - confidence_level) / max(n_models, 1)


def ranks_of_differences(
    predicted: Comparisons, labels: HumanLabels, found: PredictionPoweredStrengths
) -> RankSets:
    """What was not seen makes each strength, and so each difference, vary the more."""
    level = found.rows[0].log_strength.confidence_level
    missed = found.missed / stats.norm.isf((1 - level) / 2)
    # always the same simulation: a stored leaderboard can be made again
    spread = Spread.of_covariance(
        found.covariance + np.diag(missed**2), np.random.default_rng(len(missed))
    )
    sample = labelled_sample(labels, len(predicted), predicted.weight)
    own = predicted.take(sample.is_labelled)
    group = sample.group[sample.is_labelled]
    groups = count_groups(own, group, int(sample.group.max()) + 1)
    support = Support(groups, np.zeros(len(groups), dtype=np.bool_), level)
    values = np.array([row.log_strength.value for row in found.rows], dtype=np.float64)
    return rank_sets(values, spread, support)


def ranks_of_intervals(limits: Sequence[Estimate]) -> RankSets:
    """Rank sets from intervals that hold together; one without ends may lie anywhere."""
    low = np.array([-np.inf if one.low is None else one.low for one in limits])
    high = np.array([np.inf if one.high is None else one.high for one in limits])
    is_above = low[:, None] > high[None, :]
    return RankSets(1 + is_above.sum(axis=0), len(limits) - is_above.sum(axis=1))
