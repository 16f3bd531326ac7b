"""Bradley-Terry strengths from few human labels and many predictions of judges.

The score equations of the likelihood are powered by predictions like a mean (PPI++: Angelopoulos,
Duchi, Zrnic 2023): with d the vector that is +1 at the left and -1 at the right model and s(theta)
the expected share of the left one,

    mean_N l (f - s(theta)) d + mean_n ((y - s(theta)) - l (f - s(theta))) d = 0.

For l in [0, 1] that is the score of a likelihood with the games l / N + (1 - l) / n and the points
l f / N + (y - l f) / n: concave, and solved like any other. A tie is half a win for each side, and
f may be any share. A judge that favours its own answers moves the strengths that it alone would
give, never these.

The assumptions are those of `calibration.powered.mean`, and that the groups are many, or
are resampled. That P(left wins) follows the Bradley-Terry form is not needed for the intervals:
without it they are for the strengths that fit best to all comparisons.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import scipy

from calibration.arrays import FloatArray
from calibration.errors import Rng
from calibration.estimate import Estimate
from calibration.intervals import (
    DEFAULT_CONFIDENCE_LEVEL,
    ClusterBootstrap,
    Groups,
    estimate_from_draws,
)
from calibration.powered.labels import HumanLabels, LabelledSample, labelled_sample
from calibration.powered.mean import NO_PREFERENCE, MeanOptions, check_audits
from calibration.powered.scores import PoweredScores, Precision
from calibration.ranking import Comparisons, NoFiniteStrengths

# With fewer labelled groups the sandwich is too narrow, and groups are resampled instead.
ENOUGH_GROUPS = 50
_ROUNDS = 2


@dataclass(frozen=True, slots=True)
class ModelStrength:
    """One model's strength.

    Attributes:
        model: Name of the model.
        log_strength: Natural logarithm of the strength, mean 0 over the models; n is the number of
            the model's labelled comparisons.
        human_only: The same from labels alone; None where these give no finite strengths.
        n_predicted: Number of the model's comparisons, labelled or not.
    """

    model: str
    log_strength: Estimate
    human_only: Estimate | None
    n_predicted: int


@dataclass(frozen=True, slots=True, eq=False)
class PredictionPoweredStrengths:
    """Strengths of all models, and what they rest on.

    Attributes:
        rows: One entry a model, in the order of the comparisons' `models`.
        covariance: Sandwich covariance of the log-strengths, without what was not seen, shape
            (models, models).
        missed: What disagreements that were not seen may add to each side of an interval, shape
            (models,).
        draws: Log-strengths in every resample, shape (resamples, models); no rows where intervals
            come from the sandwich.
        interval: Where the intervals come from.
        prediction_weight: l.
        effective_labels: How many labels alone would give strengths of the same mean variance;
            None where labels alone give none.
        n_labelled: Number of labelled comparisons.
        n_predicted: Number of all comparisons.
        n_abstained: How many of them have no prediction and count as 1/2.
        n_groups: Number of groups.
        n_labelled_groups: How many of them have a labelled comparison.
    """

    rows: tuple[ModelStrength, ...]
    covariance: FloatArray
    missed: FloatArray
    draws: FloatArray
    interval: Literal["sandwich", "bootstrap"]
    prediction_weight: float
    effective_labels: float | None
    n_labelled: int
    n_predicted: int
    n_abstained: int
    n_groups: int
    n_labelled_groups: int


def prediction_powered_strengths(
    predicted: Comparisons,
    labels: HumanLabels,
    *,
    prediction_weight: float | None = None,
    confidence_level: float = DEFAULT_CONFIDENCE_LEVEL,
    rng: Rng = None,
) -> PredictionPoweredStrengths:
    """Estimate log-strengths with an interval for each model.

    The covariance is H^-1 (sum_g U_g U_g') H^-1 with U_g what group g adds to the score equations
    and H their derivative; quantiles are Student's. Below 50 labelled groups the intervals come
    from resampling groups instead. Where few labels contradict their predictions a rate of such
    groups of -ln(1 - level) / n may have been missed (the rule of three): what they would move is
    added to both sides as the square root of the sum of squares. l is tuned to the smallest mean
    variance of the log-strengths.

    Args:
        predicted: Comparisons with predictions for scores, as from `predicted_comparisons`; nan,
            an abstention, counts as 1/2, which is right if abstained comparisons were labelled by
            the same chances as others. If they were not, only win rates can be bounded.
        labels: What the left model got, for the same comparisons. Strata become probabilities.
        prediction_weight: l in [0, 1], fixed before the labels were seen; None tunes it.
        confidence_level: Coverage of the intervals, each for its model alone.
        rng: Source of chance for resampling below 50 labelled groups.

    Raises:
        InvalidArgument: The labels do not fit, a number lies outside its range, or abstained
            comparisons were clearly not labelled.
        DisconnectedComparisons: Strengths are not finite: some models are not linked to the others
            by points.
        NoFiniteStrengths: They are not finite although all are linked.

    >>> left, right = ["x"] * 60 + ["y"] * 60, ["y"] * 60 + ["x"] * 60
    >>> won = np.concatenate([np.arange(60) % 4 > 0, np.arange(60) % 4 == 0])
    >>> labels = HumanLabels(np.where(np.arange(120) % 3 == 0, won, np.nan))
    >>> predicted = Comparisons.between(left, right, np.where(won, 0.9, 0.2))
    >>> found = prediction_powered_strengths(predicted, labels, rng=0)
    >>> found.interval, found.rows[0].log_strength.value > 0
    ('bootstrap', True)
    """
    options = MeanOptions.checked(prediction_weight, confidence_level)
    declared = labelled_sample(labels, len(predicted), predicted.weight)
    is_abstained = np.isnan(predicted.score)
    check_audits(declared, is_abstained)
    sample = declared.without_strata()
    filled = replace(predicted, score=np.where(is_abstained, NO_PREFERENCE, predicted.score))
    equations = PoweredScores(filled, sample)
    bootstrap = _bootstrap(sample, confidence_level, rng)
    weight = _weight(equations, options.prediction_weight)
    n_fitted = len(predicted.models) - 1 + (prediction_weight is None and weight > 0)
    powered = _Fit.of(equations, weight, n_fitted, bootstrap)
    alone = _human_only(equations, bootstrap)
    rows = tuple(
        _row(equations, model, powered, alone, options.confidence_level)
        for model in range(len(predicted.models))
    )
    return PredictionPoweredStrengths(
        rows,
        powered.precision.covariance,
        powered.missed(options.confidence_level),
        powered.draws,
        "sandwich" if bootstrap is None else "bootstrap",
        weight,
        _effective_labels(sample.n_labelled, powered, alone),
        sample.n_labelled,
        len(predicted),
        int(is_abstained.sum()),
        sample.n_groups,
        sample.n_labelled_groups,
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Fit:
    """Strengths at one weight of the predictions, their precision and their resamples.

    `labelled` is the bootstrap as far as it has labels.
    """

    log_strength: FloatArray
    precision: Precision
    draws: FloatArray
    labelled: ClusterBootstrap | None

    @classmethod
    def of(
        cls,
        equations: PoweredScores,
        weight: float,
        n_fitted: int,
        bootstrap: ClusterBootstrap | None,
    ) -> _Fit:
        fitted = equations.fit(weight)
        draws = np.empty((0, len(fitted)))
        if bootstrap is not None:
            draws = equations.resampled(bootstrap, weight, fitted)
        precision = equations.precision(weight, fitted, n_fitted)
        # An interval is as wide as the number of labelled groups demands.
        labelled = None if bootstrap is None else bootstrap.take(equations.sample.is_labelled)
        return cls(fitted, precision, draws, labelled)

    def missed(self, confidence_level: float) -> FloatArray:
        """Return what may have been missed, by the rule of three, shape (models,)."""
        return np.asarray(-np.log(1 - confidence_level) * self.precision.unseen)

    def estimate(self, model: int, n: int, confidence_level: float) -> Estimate:
        value = float(self.log_strength[model])
        missed = self.missed(confidence_level)[model]
        if self.labelled is not None:
            drawn = estimate_from_draws(value, self.draws[:, model], n, self.labelled)
            return _stretched(drawn, float(missed))
        quantile = scipy.stats.t.isf((1 - confidence_level) / 2, self.precision.degrees_of_freedom)
        half = float(quantile * np.sqrt(self.precision.covariance[model, model]))
        found = Estimate(value, value - half, value + half, confidence_level, n)
        return _stretched(found, float(missed))


def _stretched(found: Estimate, missed: float) -> Estimate:
    """Both distances from the value to the ends, with one more that is independent of them."""
    if found.value is None or found.low is None or found.high is None:
        return found
    low = found.value - float(np.hypot(found.value - found.low, missed))
    high = found.value + float(np.hypot(found.high - found.value, missed))
    return replace(found, low=low, high=high)


def _bootstrap(
    sample: LabelledSample, confidence_level: float, rng: Rng
) -> ClusterBootstrap | None:
    if sample.n_labelled_groups >= ENOUGH_GROUPS:
        return None
    return ClusterBootstrap.over(Groups.of(sample.group, confidence_level), rng)


def _weight(equations: PoweredScores, prediction_weight: float | None) -> float:
    """Tune the weight: first at equal strengths, then at the strengths that it gives."""
    if prediction_weight is not None:
        return prediction_weight
    at = np.zeros(equations.n_models)
    for _ in range(_ROUNDS):
        weight = equations.least_variance_weight(at)
        at = equations.fit(weight)
    return equations.least_variance_weight(at)


def _human_only(equations: PoweredScores, bootstrap: ClusterBootstrap | None) -> _Fit | None:
    try:
        return _Fit.of(equations, 0.0, equations.n_models - 1, bootstrap)
    except NoFiniteStrengths:
        return None


def _row(
    equations: PoweredScores,
    model: int,
    powered: _Fit,
    alone: _Fit | None,
    confidence_level: float,
) -> ModelStrength:
    played = equations.predicted
    is_own = (played.left == model) | (played.right == model)
    n = int((is_own & equations.sample.is_labelled).sum())
    return ModelStrength(
        played.models[model],
        powered.estimate(model, n, confidence_level),
        None if alone is None else alone.estimate(model, n, confidence_level),
        int(is_own.sum()),
    )


def _effective_labels(n: int, powered: _Fit, alone: _Fit | None) -> float | None:
    spread = powered.precision.spread
    if alone is None or not spread > 0:
        return None
    return n * alone.precision.spread / spread
