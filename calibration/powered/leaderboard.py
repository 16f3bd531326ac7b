"""Leaderboards of predictions corrected by labels, with rank sets.

Ratings are prediction-powered win rates or Bradley-Terry strengths. Where the strengths have a
covariance, rank sets come from their differences, as for other leaderboards. Elsewhere they come
from intervals that hold for all models together (each at the level 1 - error / models): a model is
below those whose whole interval lies above its own. That is less sharp, and needs no correlation
of the estimates of different models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy
from numpy.typing import ArrayLike

from calibration.errors import InvalidArgument, Rng, as_generator
from calibration.estimate import Estimate
from calibration.intervals import DEFAULT_CONFIDENCE_LEVEL
from calibration.powered.labels import HumanLabels, labelled_sample
from calibration.powered.mean import AbstentionBounds, check_audits
from calibration.powered.strengths import PredictionPoweredStrengths, prediction_powered_strengths
from calibration.powered.win_rates import ModelWinRate, model_win_rates
from calibration.ranking import (
    Comparisons,
    RankSets,
    Spread,
    Support,
    count_groups,
    count_records,
    rank_sets,
    ranks,
    strength_shares,
    with_baseline,
)

PoweredMethod = Literal["bradley_terry", "win_rate"]


@dataclass(frozen=True, slots=True)
class PoweredRow:
    """One model's place.

    Attributes:
        model: Its name.
        rating: In the scale of the method; n is the number of its labelled pairs. Without a value
            where only bounds are known.
        human_only: The rating that labels alone give; None where they give none.
        strength: Bradley-Terry strength, summing to 1 over the models; None for win rates.
        win_rate: Prediction-powered win rate.
        rank: 1 is the best.
        rank_low: Best rank it may have; all sets hold together at the confidence level.
        rank_high: Worst rank it may have.
        n_predicted: Number of its pairs.
        wins: How many of these the predictions give it.
        losses: How many they give to the other.
        ties: How many are tied; those that are none of the three have no prediction.
    """

    model: str
    rating: Estimate
    human_only: Estimate | None
    strength: float | None
    win_rate: Estimate
    rank: int
    rank_low: int
    rank_high: int
    n_predicted: int
    wins: int
    losses: int
    ties: int


@dataclass(frozen=True, slots=True)
class PoweredLeaderboard:
    """Models by rank, best first.

    Attributes:
        rows: The models.
        n_labelled: Number of labelled pairs.
        n_labelled_groups: Number of groups with a labelled pair.
        n_predicted: Number of all pairs.
        n_abstained: How many of them have no prediction.
        are_abstentions_audited: Whether abstained pairs were labelled like others. If not, win
            rates are bounds: each unlabelled abstained pair as lost, and as won.
        prediction_weight: How much predictions count, for strengths; None for win rates, where
            every model has its own.
        effective_labels: How many labels alone would be worth as much, for strengths.
        rank_rule: What the rank sets come from.
    """

    rows: tuple[PoweredRow, ...]
    n_labelled: int
    n_labelled_groups: int
    n_predicted: int
    n_abstained: int
    are_abstentions_audited: bool
    prediction_weight: float | None
    effective_labels: float | None
    rank_rule: Literal["differences", "intervals"]


def rank_by_predictions(  # noqa: PLR0913  # what is estimated, how, and how surely
    predicted: Comparisons,
    labels: HumanLabels,
    *,
    method: PoweredMethod = "bradley_terry",
    baseline: str | None = None,
    confidence_level: float = DEFAULT_CONFIDENCE_LEVEL,
    rng: Rng = None,
) -> PoweredLeaderboard:
    """Rank models by predictions of all their pairs and labels of some.

    Args:
        predicted: Comparisons with predictions for scores, nan where the cascade abstained, as
            from `predicted_comparisons`.
        labels: What the left model got, for the same comparisons, and their groups.
        method: What the rating is.
        baseline: For win rates: against this model alone; its own is .5.
        confidence_level: Coverage of each interval, and of all rank sets together.
        rng: Source of chance where strengths rest on fewer than 50 labelled groups.

    Raises:
        InvalidArgument: The labels do not fit, a number is out of its range, the baseline is not
            among the models, or strengths are asked for and abstained pairs were not labelled
            like others.

    >>> from calibration.powered import predicted_comparisons
    >>> left, right = ["x"] * 60 + ["y"] * 60, ["y"] * 60 + ["x"] * 60
    >>> won = np.concatenate([np.arange(60) % 4 > 0, np.arange(60) % 4 == 0])
    >>> labels = HumanLabels(np.where(np.arange(120) % 3 == 0, won, np.nan))
    >>> predicted = predicted_comparisons(left, right, np.where(won, 0.9, 0.2))
    >>> board = rank_by_predictions(predicted, labels, rng=0)
    >>> [row.model for row in board.rows], board.n_labelled
    (['x', 'y'], 40)
    """
    if baseline is not None:
        predicted, labels = _against(predicted, labels, baseline, method)
    sample = labelled_sample(labels, len(predicted), predicted.weight)
    is_audited = _is_audited(predicted, labels)
    rates = _win_rates(predicted, labels, confidence_level, baseline, is_audited=is_audited)
    rated = rates
    if method == "bradley_terry":
        rated = _strengths(predicted, labels, confidence_level, as_generator(rng))
    rows = _rows(predicted, rated, rates)
    powered = rated.strengths
    return PoweredLeaderboard(
        rows,
        sample.n_labelled,
        sample.n_labelled_groups,
        len(predicted),
        int(np.isnan(predicted.score).sum()),
        is_audited,
        None if powered is None else powered.prediction_weight,
        None if powered is None else powered.effective_labels,
        "differences" if powered is not None and powered.interval == "sandwich" else "intervals",
    )


@dataclass(frozen=True, slots=True)
class _Rated:
    """Estimates by model at the level asked for, and ranks that hold for all of them together."""

    rating: tuple[Estimate, ...]
    human_only: tuple[Estimate | None, ...]
    sets: RankSets
    strengths: PredictionPoweredStrengths | None = None


def _against(
    predicted: Comparisons, labels: HumanLabels, baseline: str, method: PoweredMethod
) -> tuple[Comparisons, HumanLabels]:
    if method != "win_rate":
        raise InvalidArgument("a baseline is for the method win_rate")
    if baseline not in predicted.models:
        raise InvalidArgument(f"the baseline {baseline} is not among the models")
    kept = with_baseline(predicted, baseline)

    def part(values: ArrayLike | None) -> ArrayLike | None:
        return None if values is None else np.asarray(values)[kept]

    taken = HumanLabels(
        np.asarray(labels.value)[kept],
        part(labels.groups),
        part(labels.probability),
        part(labels.strata),
    )
    return predicted.take(kept), taken


def _is_audited(predicted: Comparisons, labels: HumanLabels) -> bool:
    sample = labelled_sample(labels, len(predicted), predicted.weight)
    try:
        check_audits(sample, np.isnan(predicted.score))
    except InvalidArgument:
        return False
    return True


def _win_rates(
    predicted: Comparisons,
    labels: HumanLabels,
    confidence_level: float,
    baseline: str | None,
    *,
    is_audited: bool,
) -> _Rated:
    level = shared_level(confidence_level, len(predicted.models))
    own, limits = (
        model_win_rates(predicted, labels, are_abstentions_audited=is_audited, confidence_level=one)
        for one in (confidence_level, level)
    )
    fixed = Estimate(0.5, None, None, confidence_level, 0)
    found, human_only = [], []
    for row in own:
        is_own = row.model == baseline
        found.append(fixed if is_own else _rate(row, confidence_level))
        human_only.append(fixed if is_own else _alone(row))
    sure = [
        Estimate(0.5, 0.5, 0.5, level, 0) if row.model == baseline else _rate(row, level)
        for row in limits
    ]
    return _Rated(tuple(found), tuple(human_only), ranks_of_intervals(sure))


def _rate(row: ModelWinRate, confidence_level: float) -> Estimate:
    if row.rate is None:
        return Estimate(None, None, None, confidence_level, row.n_labelled)
    if isinstance(row.rate, AbstentionBounds):
        return Estimate(None, row.rate.low, row.rate.high, confidence_level, row.n_labelled)
    return row.rate.estimate


def _alone(row: ModelWinRate) -> Estimate | None:
    if row.rate is None or isinstance(row.rate, AbstentionBounds):
        return None
    return row.rate.human_only


def _strengths(
    predicted: Comparisons,
    labels: HumanLabels,
    confidence_level: float,
    rng: np.random.Generator,
) -> _Rated:
    found = prediction_powered_strengths(
        predicted, labels, confidence_level=confidence_level, rng=rng
    )
    if found.interval == "sandwich":
        sets = ranks_of_differences(predicted, labels, found)
    else:
        level = shared_level(confidence_level, len(predicted.models))
        sure = prediction_powered_strengths(predicted, labels, confidence_level=level, rng=rng)
        sets = ranks_of_intervals([row.log_strength for row in sure.rows])
    return _Rated(
        tuple(row.log_strength for row in found.rows),
        tuple(row.human_only for row in found.rows),
        sets,
        found,
    )


def _rows(predicted: Comparisons, rated: _Rated, rates: _Rated) -> tuple[PoweredRow, ...]:
    value = np.array([_place(one) for one in rated.rating])
    asked = count_records(predicted).n
    record = count_records(predicted.take(~np.isnan(predicted.score)))
    rank, sets = ranks(value), rated.sets
    shares = strength_shares(value).tolist() if rated.strengths is not None else None
    return tuple(
        PoweredRow(
            predicted.models[model],
            rated.rating[model],
            rated.human_only[model],
            None if shares is None else shares[model],
            rates.rating[model],
            int(rank[model]),
            int(sets.low[model]),
            int(sets.high[model]),
            int(asked[model]),
            int(record.wins[model]),
            int(record.n[model] - record.wins[model] - record.ties[model]),
            int(record.ties[model]),
        )
        for model in np.argsort(rank, kind="stable").tolist()
    )


def _place(rating: Estimate) -> float:
    """Return the number to rank a model by: its value, else the middle of its bounds."""
    if rating.value is not None:
        return rating.value
    if rating.low is None or rating.high is None:
        return float("nan")
    return (rating.low + rating.high) / 2


def shared_level(confidence_level: float, n_models: int) -> float:
    """Return the level of each interval that makes all of them hold together (Bonferroni)."""
    return 1 - (1 - confidence_level) / max(n_models, 1)


def ranks_of_differences(
    predicted: Comparisons, labels: HumanLabels, found: PredictionPoweredStrengths
) -> RankSets:
    """Return rank sets from differences; unseen disagreements make each strength vary more."""
    level = found.rows[0].log_strength.confidence_level
    missed = found.missed / scipy.stats.norm.isf((1 - level) / 2)
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
    """Return rank sets from intervals that hold together; one without ends may lie anywhere."""
    low = np.array([-np.inf if one.low is None else one.low for one in limits])
    high = np.array([np.inf if one.high is None else one.high for one in limits])
    is_above = low[:, None] > high[None, :]
    return RankSets(1 + is_above.sum(axis=0), len(limits) - is_above.sum(axis=1))
