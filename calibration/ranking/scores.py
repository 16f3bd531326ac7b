"""Rating and win rate of every model, in the sample and in resamples.

One pass over the resamples serves all statistics of a leaderboard. No loop is over comparisons:
sums by group times multiplicities is a sparse matrix product, and where groups of one comparison
each differ in the result alone, how often each result is drawn is multinomial.

Each function maps pair totals of many resamples to values of shape (resamples, models); a tie is
half a point for each side. nan marks a model without a comparison in a resample.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import scipy

from calibration.arrays import FloatArray
from calibration.estimate import Estimate
from calibration.intervals import DEFAULT_CONFIDENCE_LEVEL, ClusterBootstrap
from calibration.ranking.bradley_terry import Strengths, fit_resamples, fit_strengths
from calibration.ranking.comparisons import Comparisons, PairLayout, PairTotals
from calibration.ranking.elo import EloOptions, RankingOptions, elo_ratings
from calibration.ranking.style import (
    ComparisonModel,
    ControlledFit,
    Covariates,
    Sandwich,
    fit_controlled,
    sandwich,
)

_BLOCK_CELLS = 4_000_000
_AT_ONCE = 32  # this many resamples of all sums stay in a processor's cache
Statistic = Callable[[PairTotals], FloatArray]
# With fewer groups, or one that dominates, "auto" leaves the sandwich for the bootstrap.
FEWEST_GROUPS = 50
LARGEST_SHARE = 0.25


@dataclass(frozen=True, slots=True, eq=False)
class Resampled:
    """Values of all models: (models,) in the sample, (resamples, models) in the resamples.

    There are 0 resamples without a bootstrap, or where the intervals are analytic.
    """

    value: FloatArray
    draws: FloatArray

    @property
    def n_undefined(self) -> int:
        """Number of resamples in which some model has no value."""
        return int((~np.isfinite(self.draws).all(axis=1)).sum())


@dataclass(frozen=True, slots=True)
class Coefficient:
    """The effect of one feature.

    Attributes:
        name: Name of the feature.
        estimate: Change of the log-odds of a win for a difference of one `scale`; n is the number
            of comparisons. No value where the feature never differs.
        scale: Root mean square of the feature's differences.
    """

    name: str
    estimate: Estimate
    scale: float


@dataclass(frozen=True, slots=True, eq=False)
class ModelScores:
    """Ratings and win rates.

    Attributes:
        rating: In the scale of the method.
        win_rate: Points per comparison.
        strengths: Of the sample, for Bradley-Terry alone.
        errors: Covariance of the ratings, then of what was fitted with them, where their
            intervals are analytic.
        coefficients: One for each covariate.
    """

    rating: Resampled
    win_rate: Resampled
    strengths: Strengths | None = None
    errors: Sandwich | None = None
    coefficients: tuple[Coefficient, ...] = ()


def score_models(
    comparisons: Comparisons,
    options: RankingOptions,
    bootstrap: ClusterBootstrap | None,
    covariates: Covariates | None = None,
) -> ModelScores:
    """Rate the models by the chosen method.

    Raises:
        DisconnectedComparisons: Bradley-Terry strengths are not finite.
        NoFiniteStrengths: Davidson's tie parameter, or a coefficient, is not finite.
    """
    layout = PairLayout.of(comparisons)
    share: Statistic = win_rates
    if options.baseline is not None:
        baseline = comparisons.models.index(options.baseline)
        share = partial(win_rates_against, baseline=baseline)
    match options.method:
        case "bradley_terry" if covariates is not None:
            return _controlled(comparisons, covariates, options, layout, bootstrap)
        case "bradley_terry":
            return _by_strength(comparisons, options, layout, bootstrap)
        case "elo":
            (win_rate,) = _resampled([share], layout, bootstrap)
            return ModelScores(_by_elo(comparisons, options.elo, bootstrap), win_rate)
        case "average_win_rate":
            rate: Statistic = average_win_rates
        case "counting":
            rate = points
        case _:
            rate = share
    rating, win_rate = _resampled([rate, share], layout, bootstrap)
    return ModelScores(rating, win_rate)


def _by_strength(
    comparisons: Comparisons,
    options: RankingOptions,
    layout: PairLayout,
    bootstrap: ClusterBootstrap | None,
) -> ModelScores:
    with_ties = options.ties == "davidson"
    fitted = fit_strengths(layout.whole(), comparisons.models, has_tie_parameter=with_ties)
    value = fitted.log_strength[0]
    if bootstrap is not None and options.intervals != "bootstrap":
        model = ComparisonModel(
            comparisons,
            np.zeros((len(comparisons), 0)),
            has_tie_parameter=bool(np.isfinite(fitted.log_tie[0])),
        )
        errors = _errors(model, np.append(value, fitted.log_tie[0]), bootstrap)
        if options.intervals == "sandwich" or _is_trusted(errors, len(value)):
            (win_rate,) = _resampled([win_rates], layout, bootstrap)
            return ModelScores(_without_draws(value), win_rate, fitted, errors)

    def refit(totals: PairTotals) -> FloatArray:
        return fit_resamples(totals, fitted, has_tie_parameter=with_ties).log_strength

    rating, win_rate = _resampled([refit, win_rates], layout, bootstrap)
    return ModelScores(Resampled(value, rating.draws), win_rate, fitted)


def _controlled(
    comparisons: Comparisons,
    covariates: Covariates,
    options: RankingOptions,
    layout: PairLayout,
    bootstrap: ClusterBootstrap | None,
) -> ModelScores:
    fit = fit_controlled(comparisons, covariates, has_tie_parameter=options.ties == "davidson")
    errors = None if bootstrap is None else _errors(fit.model, fit.parameters, bootstrap)
    value = fit.parameters[: len(comparisons.models)]
    log_tie = fit.parameters[-1] if fit.model.has_tie_parameter else -np.inf
    (win_rate,) = _resampled([win_rates], layout, bootstrap)
    return ModelScores(
        _without_draws(value),
        win_rate,
        Strengths(value[None], np.array([log_tie])),
        errors,
        _coefficients(covariates.names, fit, errors, bootstrap),
    )


def _coefficients(
    names: Sequence[str],
    fit: ControlledFit,
    errors: Sandwich | None,
    bootstrap: ClusterBootstrap | None,
) -> tuple[Coefficient, ...]:
    level = DEFAULT_CONFIDENCE_LEVEL if bootstrap is None else bootstrap.confidence_level
    n, place = len(fit.model.comparisons), fit.model.n_models
    made = []
    for name, varies, scale in zip(names, fit.varies, fit.scale.tolist(), strict=True):
        estimate = Estimate(None, None, None, level, n)
        if varies:
            value = float(fit.parameters[place])
            estimate = Estimate(value, None, None, level, n)
            if errors is not None:
                estimate = errors.estimate(place, value, level, n)
            place += 1
        made.append(Coefficient(name, estimate, scale))
    return tuple(made)


def _errors(
    model: ComparisonModel, parameters: FloatArray, bootstrap: ClusterBootstrap
) -> Sandwich:
    at = model.moments(parameters)
    scores = model.scores_by_group(at, bootstrap.group)
    n_counted = int((model.comparisons.weight > 0).sum())
    return sandwich(scores, model.information(at), n_counted, model.n_free)


def _is_trusted(errors: Sandwich, n_models: int) -> bool:
    is_spread = float(errors.largest_share[:n_models].max()) <= LARGEST_SHARE
    return errors.n_groups >= FEWEST_GROUPS and is_spread


def _by_elo(
    comparisons: Comparisons, constants: EloOptions, bootstrap: ClusterBootstrap | None
) -> Resampled:
    value = elo_ratings(comparisons, constants)[0]
    if bootstrap is None:
        return _without_draws(value)
    blocks = (
        drawn[:, bootstrap.group].astype(np.float64)
        for drawn in bootstrap.multiplicities(len(comparisons))
    )
    draws = [elo_ratings(comparisons, constants, played) for played in blocks]
    return Resampled(value, np.concatenate(draws))


def _resampled(
    statistics: Sequence[Statistic], layout: PairLayout, bootstrap: ClusterBootstrap | None
) -> list[Resampled]:
    """Compute every statistic in the sample and, in one pass over them, in the resamples."""
    whole = layout.whole()
    values = [statistic(whole)[0] for statistic in statistics]
    if bootstrap is None:
        return [_without_draws(value) for value in values]
    blocks = [
        [statistic(totals) for statistic in statistics]
        for totals in resampled_totals(layout, bootstrap)
    ]
    return [
        Resampled(value, np.concatenate(draws))
        for value, draws in zip(values, zip(*blocks, strict=True), strict=True)
    ]


def _without_draws(value: FloatArray) -> Resampled:
    return Resampled(value, np.empty((0, len(value))))


def resampled_totals(layout: PairLayout, bootstrap: ClusterBootstrap) -> Iterator[PairTotals]:
    """Yield blocks of resamples of the pair totals of the bootstrap's comparisons."""
    by_group = layout.by_group(bootstrap.group, bootstrap.n_groups)
    blocks = _multinomial if _is_one_result_a_group(by_group) else _products
    for sums in blocks(by_group, bootstrap):
        yield layout.totals(sums)


def _is_one_result_a_group(by_group: scipy.sparse.csr_array[Any]) -> bool:
    is_single = bool((np.diff(by_group.indptr) <= 1).all())
    return is_single and by_group.nnz > 0 and bool((by_group.data == by_group.data[0]).all())


def _multinomial(
    by_group: scipy.sparse.csr_array[Any], bootstrap: ClusterBootstrap
) -> Iterator[FloatArray]:
    """Draw how often each result occurs; groups without a comparison are one more outcome."""
    n_groups, n_sums = by_group.shape
    met, sizes = np.unique(by_group.indices, return_counts=True)
    chances = np.append(sizes, n_groups - by_group.nnz) / n_groups
    rng = np.random.default_rng(bootstrap.seed)
    step = max(1, _BLOCK_CELLS // n_sums)
    for start in range(0, bootstrap.n_resamples, step):
        size = min(step, bootstrap.n_resamples - start)
        sums = np.zeros((size, n_sums))
        sums[:, met] = rng.multinomial(n_groups, chances, size=size)[:, :-1]
        yield sums * by_group.data[0]


def _products(
    by_group: scipy.sparse.csr_array[Any], bootstrap: ClusterBootstrap
) -> Iterator[FloatArray]:
    n_sums = by_group.shape[1]
    by_sum = by_group.T
    for drawn in bootstrap.multiplicities(n_sums):
        sums = np.empty((len(drawn), n_sums))
        for start in range(0, len(drawn), _AT_ONCE):
            some = drawn[start : start + _AT_ONCE]
            sums[start : start + _AT_ONCE] = (by_sum @ some.T.astype(np.float64)).T
        yield sums


def points(totals: PairTotals) -> FloatArray:
    """Return the points of each model: wins plus half the ties."""
    return totals.by_model(totals.first_points, totals.second_points)


def win_rates(totals: PairTotals) -> FloatArray:
    """Return the points of each model over the weight of its comparisons."""
    return _ratio(points(totals), totals.by_model(totals.games, totals.games))


def average_win_rates(totals: PairTotals) -> FloatArray:
    """Return the mean, over the opponents a model met, of its win rate against each."""
    met = (totals.games > 0).astype(np.float64)
    of_first = np.nan_to_num(_ratio(totals.first_points, totals.games))
    of_second = np.nan_to_num(_ratio(totals.second_points, totals.games))
    return _ratio(totals.by_model(of_first, of_second), totals.by_model(met, met))


def win_rates_against(totals: PairTotals, baseline: int) -> FloatArray:
    """Return the win rate of each model against the baseline, which itself gets .5."""
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
