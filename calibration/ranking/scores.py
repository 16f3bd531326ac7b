"""The rating and the win rate of every model, and what their intervals are made from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from calibration import win_rates
from calibration.arrays import FloatArray
from calibration.bradley_terry import Strengths, fit_resamples, fit_strengths
from calibration.comparison_model import ComparisonModel
from calibration.comparisons import Comparisons, PairLayout, PairTotals
from calibration.elo import EloOptions, elo_ratings
from calibration.estimate import Estimate
from calibration.pair_draws import resampled_totals
from calibration.ranking_options import RankingOptions
from calibration.resampling import DEFAULT_CONFIDENCE_LEVEL, ClusterBootstrap
from calibration.sandwich import Sandwich, sandwich
from calibration.style_control import ControlledFit, Covariates, fit_controlled

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


def _without_draws(value: FloatArray) -> Resampled:
    return Resampled(value, np.empty((0, len(value))))


@dataclass(frozen=True, slots=True)
class Coefficient:
    """How much one feature matters.

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
    share: Statistic = win_rates.win_rates
    if options.baseline is not None:
        baseline = comparisons.models.index(options.baseline)
        share = partial(win_rates.win_rates_against, baseline=baseline)
    match options.method:
        case "bradley_terry" if covariates is not None:
            return _controlled(comparisons, covariates, options, layout, bootstrap)
        case "bradley_terry":
            return _by_strength(comparisons, options, layout, bootstrap)
        case "elo":
            (win_rate,) = _resampled([share], layout, bootstrap)
            return ModelScores(_by_elo(comparisons, options.elo, bootstrap), win_rate)
        case "average_win_rate":
            rate: Statistic = win_rates.average_win_rates
        case "counting":
            rate = win_rates.points
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
            (win_rate,) = _resampled([win_rates.win_rates], layout, bootstrap)
            return ModelScores(_without_draws(value), win_rate, fitted, errors)

    def refit(totals: PairTotals) -> FloatArray:
        return fit_resamples(totals, fitted, has_tie_parameter=with_ties).log_strength

    rating, win_rate = _resampled([refit, win_rates.win_rates], layout, bootstrap)
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
    (win_rate,) = _resampled([win_rates.win_rates], layout, bootstrap)
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
    """Every statistic in the sample and, in one pass over them, in the resamples."""
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
