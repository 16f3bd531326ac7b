"""Strengths of models at equal style, and their sandwich covariance.

The log-odds of a comparison are theta_left - theta_right + sum beta_j z_j, where z_j is how much
more of feature j the left answer has, in units of its root mean square over the comparisons. The
strengths theta then compare the models at equal length, equal numbers of headings and so on; the
coefficients beta say how much people or judges reward each feature. This is the style control that
Chatbot Arena made customary, except that z is not centred: a mean other than 0 would make the
result depend on which answer stands left. Ties are half-wins, or have Davidson's parameter.
Parameters are one vector: log-strengths, coefficients, log nu.

With U_g the sum of the score contributions of group g and H the information, the covariance is H^-1
(sum U_g U_g') H^-1, which holds whether or not the model is right, and however similar the rows of
one group are (Huber 1967; Liang and Zeger 1986). What is assumed: groups are independent draws from
one population, many of them, and none dominates. For few groups the covariance is multiplied by G /
(G - 1) x (n - 1) / (n - p), and quantiles are Student's with G - 1 degrees of freedom. A parameter
that only some of the groups tell about has as many degrees as those (`resting_on`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from calibration.arrays import BoolArray, FloatArray, IntArray
from calibration.errors import InvalidArgument
from calibration.estimate import Estimate
from calibration.ranking.bradley_terry import (
    LARGEST_LOG_STRENGTH,
    LARGEST_STEPS,
    STEP_TOLERANCE,
    Moments,
    check_connected,
    damping,
    moments,
)
from calibration.ranking.comparisons import Comparisons, PairLayout
from calibration.ranking.not_finite import (
    NoFiniteStrengths,
    only_ties,
    settled_by_features,
    too_far_apart,
    unopposed_ties,
)

# A direction in which the information falls below this share is one that nothing is known about.
_COLLINEAR = 1e-9
_BLOCK_CELLS = 4_000_000
_RUN_OFF = (
    LARGEST_LOG_STRENGTH / 2
)  # a feature that alone makes such log-odds has no effect in numbers
_ROUNDING = 1e-24  # a smaller variance is that of rounding


@dataclass(frozen=True, slots=True, eq=False)
class Covariates:
    """Features other than the models that may decide a comparison.

    Attributes:
        names: Names of the features.
        difference: Of each comparison and feature, left minus right, shape (n, features); must
            change its sign where left and right change places.
    """

    names: tuple[str, ...]
    difference: FloatArray

    @classmethod
    def between(cls, names: tuple[str, ...], left: ArrayLike, right: ArrayLike) -> Covariates:
        """Take relative differences, (left - right) / (left + right), of amounts that are not < 0.

        Lengths and counts of headings, list items or bold words come in such different sizes that
        only their ratio can matter equally everywhere; where both are 0 the difference is 0.

        Args:
            names: Names of the features.
            left: Amounts in the left answers, shape (n, features).
            right: Amounts in the right answers.

        Raises:
            InvalidArgument: Shapes differ, or an amount is negative or not finite.
        """
        ours, theirs = np.asarray(left, dtype=np.float64), np.asarray(right, dtype=np.float64)
        if ours.shape != theirs.shape or ours.shape[1:] != (len(names),):
            raise InvalidArgument("left and right must both have the shape (n, features)")
        if not (np.isfinite(ours) & np.isfinite(theirs) & (ours >= 0) & (theirs >= 0)).all():
            raise InvalidArgument("amounts must be finite and not negative")
        total = ours + theirs
        return cls(
            names, np.divide(ours - theirs, total, out=np.zeros_like(total), where=total > 0)
        )

    def take(self, rows: ArrayLike) -> Covariates:
        """Return the covariates of some of the comparisons (a mask or an index array)."""
        return replace(self, difference=self.difference[np.asarray(rows)])


@dataclass(frozen=True, slots=True, eq=False)
class ControlledFit:
    """Strengths and coefficients fitted together.

    Attributes:
        parameters: Log-strengths with mean 0, coefficients of the features that vary, log nu
            (meaningless unless fitted).
        varies: Which features vary, shape (features,); the others have no coefficient.
        scale: Root mean square of each feature's difference, what a coefficient is per.
        model: The likelihood that was maximised.
    """

    parameters: FloatArray
    varies: BoolArray
    scale: FloatArray
    model: ComparisonModel


def fit_controlled(
    comparisons: Comparisons, covariates: Covariates, *, has_tie_parameter: bool = False
) -> ControlledFit:
    """Fit strengths and coefficients jointly by maximum likelihood.

    Raises:
        InvalidArgument: The covariates do not belong to the comparisons, are not finite, or some
            feature cannot be told from the others or from the models.
        DisconnectedComparisons: Points won do not link all models.
        NoFiniteStrengths: Features or ties settle some results completely.
    """
    check_connected(PairLayout.of(comparisons).whole(), comparisons.models)
    difference = np.asarray(covariates.difference, dtype=np.float64)
    if difference.shape != (len(comparisons), len(covariates.names)):
        raise InvalidArgument("covariates must have the shape (comparisons, features)")
    if not np.isfinite(difference).all():
        raise InvalidArgument("covariates must be finite")
    scale = _root_mean_square(difference, comparisons.weight)
    varies = scale > 0
    names = np.array(covariates.names, dtype=object)[varies]
    model = ComparisonModel(
        comparisons,
        difference[:, varies] / scale[varies],
        has_tie_parameter=has_tie_parameter and bool(comparisons.weight[comparisons.is_tie].any()),
    )
    _check_identified(model, names)
    return ControlledFit(_newton(model, names), varies, scale, model)


def _root_mean_square(difference: FloatArray, weight: FloatArray) -> FloatArray:
    largest = np.abs(difference).max(axis=0)
    shrunk = difference / np.where(largest > 0, largest, 1.0)  # squares of it are numbers
    return np.asarray(largest * np.sqrt(weight @ shrunk**2 / weight.sum()))


def _check_identified(model: ComparisonModel, names: NDArray[np.object_]) -> None:
    """Refuse features that are, or together make, a difference of constants of the models."""
    m, weight = model.n_models, model.comparisons.weight
    start = moments(np.zeros(len(weight)), None)
    whole = model.information(start)[:-1, :-1]
    across = np.linalg.solve(whole[:m, :m], whole[:m, m:])
    left_over = (whole[m:, m:] - whole[m:, :m] @ across) / (weight.sum() / 4)
    sizes, directions = np.linalg.eigh(left_over)
    if sizes.size and sizes[0] < _COLLINEAR:
        part = np.abs(directions[:, 0])
        mixed = ", ".join(str(name) for name in names[part > 0.1 * part.max()])
        raise InvalidArgument(f"cannot be told from the models or from one another: {mixed}")


def _newton(model: ComparisonModel, names: NDArray[np.object_]) -> FloatArray:
    parameters = np.zeros(model.n_parameters)
    for _ in range(LARGEST_STEPS):  # pragma: no branch
        at = model.moments(parameters)
        step = np.asarray(np.linalg.solve(model.information(at), model.gradient(at)))
        reach = np.abs(model.log_odds(step)).max(keepdims=True) + abs(step[-1])
        parameters += step * damping(reach)
        parameters[: model.n_models] -= parameters[: model.n_models].mean()
        largest = max(np.abs(model.log_odds(parameters)).max(), abs(parameters[-1]))
        if reach[0] < STEP_TOLERANCE or largest > LARGEST_LOG_STRENGTH:
            break
    if largest > LARGEST_LOG_STRENGTH:
        raise _not_finite(model, parameters, names)
    return parameters


def _not_finite(
    model: ComparisonModel, parameters: FloatArray, names: NDArray[np.object_]
) -> NoFiniteStrengths:
    """Return the error that names what ran off."""
    played = model.comparisons
    effects = np.abs(model.covariates * parameters[model.n_models : -1])
    reach = effects.max(axis=0, initial=0.0)
    if model.has_tie_parameter and abs(parameters[-1]) > max(LARGEST_LOG_STRENGTH, *reach):
        return only_ties(int(played.is_tie.sum())) if played.is_tie.all() else unopposed_ties()
    if reach.size and reach.max() > _RUN_OFF:
        return settled_by_features(played, model.covariates, reach, [str(n) for n in names])
    return too_far_apart()


class ComparisonModel:
    """Expectations, information and score contributions at given parameters.

    Attributes:
        comparisons: n comparisons of m models.
        covariates: Shape (n, k), the sign turned where left and right change places.
        has_tie_parameter: Whether log nu is fitted; else its place in a vector means nothing.
    """

    def __init__(
        self, comparisons: Comparisons, covariates: FloatArray, *, has_tie_parameter: bool
    ) -> None:
        self.comparisons = comparisons
        self.covariates = covariates
        self.has_tie_parameter = has_tie_parameter
        self.n_models = len(comparisons.models)
        self.n_parameters = self.n_models + covariates.shape[1] + 1

    @property
    def n_free(self) -> int:
        """Number of parameters that comparisons determine: strengths only up to a constant."""
        free: int = self.n_parameters - 2 + int(self.has_tie_parameter)
        return free

    def log_odds(self, parameters: FloatArray) -> FloatArray:
        """Return the log-odds of the left model, shape (n,)."""
        played = self.comparisons
        strength = parameters[played.left] - parameters[played.right]
        return np.asarray(strength + self.covariates @ parameters[self.n_models : -1])

    def moments(self, parameters: FloatArray) -> Moments:
        """Return expectations of each comparison, each of shape (n,)."""
        log_tie = parameters[-1:] if self.has_tie_parameter else None
        return moments(self.log_odds(parameters), log_tie)

    def gradient(self, at: Moments) -> FloatArray:
        """Sum all score contributions, shape (parameters,)."""
        points = self._point_scores(at)
        ties = self._tie_scores(at).sum(keepdims=True)
        return np.concatenate([self._by_model(points), self.covariates.T @ points, ties])

    def scores_by_group(self, at: Moments, group: IntArray) -> scipy.sparse.csr_array[Any]:
        """Sum score contributions by group, for the groups that have a comparison of weight."""
        kept = np.flatnonzero(self.comparisons.weight > 0)
        present, row = np.unique(group[kept], return_inverse=True)
        points = self._point_scores(at)[kept]
        data = [points, -points, *(self.covariates[kept].T * points), self._tie_scores(at)[kept]]
        columns = [self.comparisons.left[kept], self.comparisons.right[kept]]
        columns += [np.full(len(kept), j) for j in range(self.n_models, self.n_parameters)]
        where = (np.tile(row, len(columns)), np.concatenate(columns))
        shape = (len(present), self.n_parameters)
        return scipy.sparse.coo_array((np.concatenate(data), where), shape=shape).tocsr()

    def _point_scores(self, at: Moments) -> FloatArray:
        return np.asarray(self.comparisons.weight * (self.comparisons.score - at.points))

    def _tie_scores(self, at: Moments) -> FloatArray:
        if not self.has_tie_parameter:
            return np.zeros(len(self.comparisons))
        return np.asarray(self.comparisons.weight * (self.comparisons.is_tie - at.tie))

    def information(self, at: Moments) -> FloatArray:
        """Return minus the Hessian of the log-likelihood, shape (parameters, parameters).

        Made regular along the direction that raises all strengths equally, which no comparison
        tells anything about, and for a log nu that is not fitted.
        """
        m, weight = self.n_models, self.comparisons.weight
        matrix = np.zeros((self.n_parameters, self.n_parameters))
        spread = weight * at.points_variance
        matrix[:m, :m] = self._between_models(spread)
        matrix[:m, :m] += float(spread.sum()) / m**2
        pull = np.column_stack([self.covariates * spread[:, None], weight * at.covariance])
        matrix[:m, m:] = np.column_stack([self._by_model(column) for column in pull.T])
        matrix[m:, :m] = matrix[:m, m:].T
        matrix[m:-1, m:] = self.covariates.T @ pull
        matrix[-1, m:-1] = matrix[m:-1, -1]
        matrix[-1, -1] = 1.0
        if self.has_tie_parameter:
            matrix[-1, -1] = (weight * at.tie * (1 - at.tie)).sum()
        return matrix

    def _between_models(self, spread: FloatArray) -> FloatArray:
        m, played = self.n_models, self.comparisons
        cells = np.bincount(played.left * m + played.right, spread, m * m).reshape(m, m)
        both = cells + cells.T
        return np.asarray(np.diag(both.sum(axis=1)) - both)

    def _by_model(self, amounts: FloatArray) -> FloatArray:
        played = self.comparisons
        of_left = np.bincount(played.left, amounts, self.n_models)
        return np.asarray(of_left - np.bincount(played.right, amounts, self.n_models))


@dataclass(frozen=True, slots=True, eq=False)
class Sandwich:
    """The precision of parameters.

    Attributes:
        covariance: Shape (parameters, parameters).
        n_groups: Number of groups that the parameters rest on.
        largest_share: The largest part that a single group has in the variance of each parameter,
            shape (parameters,). Near 1 the parameter rests on one group, and no formula can say
            how well it is known.
    """

    covariance: FloatArray
    n_groups: int
    largest_share: FloatArray

    def resting_on(self, n_groups: int) -> Sandwich:
        """Return the same covariance, known only as well as from this many groups."""
        return replace(self, n_groups=min(n_groups, self.n_groups))

    def estimate(self, parameter: int, value: float, confidence_level: float, n: int) -> Estimate:
        """Give one parameter its interval.

        An interval needs at least two groups, and groups that give different values by themselves:
        equal values show no spread to measure by.
        """
        variance = float(self.covariance[parameter, parameter])
        if self.n_groups < 2 or not variance > _ROUNDING:
            return Estimate(value, None, None, confidence_level, n)
        quantile = float(scipy.stats.t.isf((1 - confidence_level) / 2, self.n_groups - 1))
        reach = quantile * float(np.sqrt(variance))
        return Estimate(value, value - reach, value + reach, confidence_level, n)


def sandwich(
    scores: scipy.sparse.csr_array[Any], information: FloatArray, n_rows: int, n_free: int
) -> Sandwich:
    """Return the covariance of the solution of score equations.

    Args:
        scores: Score contributions summed by group, shape (groups, parameters); only groups that
            have a row.
        information: Minus the derivative of the sum of the scores, symmetric and regular, shape
            (parameters, parameters).
        n_rows: Number of rows that were summed.
        n_free: Number of parameters, without those that the rows do not determine.
    """
    n_groups = scores.shape[0]
    bread = np.asarray(np.linalg.inv(information), dtype=np.float64)
    plain = bread @ (scores.T @ scores).toarray() @ bread
    variance = np.diag(plain)
    largest = _largest_squares(scores, bread)
    share = np.divide(largest, variance, out=np.zeros_like(largest), where=variance > 0)
    factor = n_groups / max(n_groups - 1, 1) * (n_rows - 1) / max(n_rows - n_free, 1)
    return Sandwich(plain * factor, n_groups, share)


def _largest_squares(scores: scipy.sparse.csr_array[Any], bread: FloatArray) -> FloatArray:
    """Return the largest squared influence of any group on each parameter."""
    largest = np.zeros(len(bread))
    step = max(1, _BLOCK_CELLS // len(bread))
    for start in range(0, scores.shape[0], step):
        influence = np.asarray(scores[start : start + step] @ bread)
        largest = np.maximum(largest, (influence**2).max(axis=0))
    return largest
