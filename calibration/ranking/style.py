"""Strengths at equal style: Bradley-Terry with covariates such as the difference in length.

The log-odds of a comparison are theta_left - theta_right + sum beta_j z_j, where z_j is how much
more of feature j the left answer has, in units of its root mean square over the comparisons. The
strengths theta then compare the models at equal length, equal numbers of headings and so on; the
coefficients beta say how much people or judges reward each feature. This is the style control that
Chatbot Arena made customary, except that z is not centred: a mean other than 0 would make the
result depend on which answer stands left.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calibration.arrays import BoolArray, FloatArray
from calibration.bradley_terry import (
    LARGEST_LOG_STRENGTH,
    LARGEST_STEPS,
    STEP_TOLERANCE,
    NoFiniteStrengths,
    damping,
)
from calibration.comparison_model import ComparisonModel
from calibration.comparisons import Comparisons, PairLayout
from calibration.connectivity import check_connected
from calibration.davidson import moments
from calibration.errors import InvalidArgument

# A direction in which the information falls below this share is one that nothing is known about.
_COLLINEAR = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Covariates:
    """What else than the models may decide a comparison.

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
        """The covariates of some of the comparisons (a mask or an index array)."""
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
    return ControlledFit(_newton(model), varies, scale, model)


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


def _newton(model: ComparisonModel) -> FloatArray:
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
        raise NoFiniteStrengths("strengths are not finite: the results fit best at infinity")
    return parameters
