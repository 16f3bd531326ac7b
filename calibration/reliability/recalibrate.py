"""Recalibration: maps from confidence to the probability of agreement with people.

Temperature scaling (Guo et al. 2017), Platt scaling (1999), beta calibration (Kull, Silva Filho,
Flach 2017) and isotonic regression (Zadrozny and Elkan 2002), each non-decreasing, so that an
ordering by confidence is kept or, at worst, tied, and never reversed.

A map must be fitted on other labels than those that certify thresholds on its output, and than
those that judge its calibration (`cross_fitted` does the latter). Where it was fitted it always
looks good, and a certificate on refitted confidences promises nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy
from numpy.typing import ArrayLike

from calibration.arrays import FloatArray
from calibration.cascade import rounded
from calibration.errors import InvalidArgument, Rng, as_generator
from calibration.reliability.maps import (
    IsotonicMap,
    LogisticMap,
    LogisticMethod,
    RecalibrationMap,
    logistic_terms,
    sureness,
)

Fit = Callable[[FloatArray, FloatArray], RecalibrationMap]

DEFAULT_FOLDS = 5
_IDENTITY = {"temperature": (1.0,), "platt": (1.0, 0.0), "beta": (1.0, 1.0, 0.0)}
_RIDGE = 1e-10
_MOST_STEPS = 200
_HALVINGS = 40
_SUFFICIENT_DECREASE = 1e-4
_CONVERGED = 1e-12


def fit_temperature(
    confidence: ArrayLike,
    correct: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    is_mirrored: bool = True,
    is_smoothed: bool = True,
) -> LogisticMap:
    """Fit logit(probability) = logit(confidence) / T, T > 0, by maximum likelihood.

    One parameter: the choice for a few dozen labels.

    Args:
        confidence: Shape (n,), in [0, 1], nan where the judge failed. With `is_mirrored` a number
            below one half is a preference for the other response: the row then counts as its
            mirror image, confidence 1 - p with agreement 1 - y.
        correct: Agreement in [0, 1] with what the confidence is for, nan where there is no label.
        weights: Non-negative weight of each row; None weighs all the same.
        is_mirrored: The map is for preferences: apply(1 - p) is 1 - apply(p) to the last bit and
            no verdict is turned around, so probabilities of verdicts are at least one half. Rows
            at exactly one half are no preference and are left out. False for plain confidences,
            such as those of judges with a tie as a third class, which may be right less often.
        is_smoothed: Replace agreement 1 by (W + 1) / (W + 2) and 0 by 1 / (V + 2), with the total
            weights W and V of right and wrong (Platt 1999). Without it the likelihood alone
            decides, but for a vanishing pull towards the identity, so that the answer is finite
            where it has no maximum.

    Raises:
        InvalidArgument: Shapes differ, numbers are out of range, or no row has both a confidence
            and a label.

    >>> confidence, right = np.tile([0.6, 0.9], 40), np.tile([1, 0, 0, 1, 1, 1, 0, 1], 10)
    >>> fitted = fit_temperature(confidence, right)
    >>> round(fitted.temperature, 1), fitted.apply([0.1, 0.5, 0.9]).round(2).tolist()
    (2.1, [0.26, 0.5, 0.74])
    """
    data = _training(confidence, correct, weights, is_mirrored)
    return _fit_logistic("temperature", data, is_mirrored, is_smoothed)


def fit_platt(
    confidence: ArrayLike,
    correct: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    is_mirrored: bool = True,
    is_smoothed: bool = True,
) -> LogisticMap:
    """Fit logit(probability) = a logit(confidence) + d, a >= 0, by maximum likelihood.

    A mirrored map also has d >= 0. Arguments and errors are those of `fit_temperature`.

    >>> fitted = fit_platt(np.tile([0.6, 0.9], 40), np.tile([1, 0, 0, 1, 1, 1, 0, 1], 10))
    >>> fitted.method, fitted.apply([0.6, 0.9]).round(2).tolist()
    ('platt', [0.55, 0.74])
    """
    data = _training(confidence, correct, weights, is_mirrored)
    return _fit_logistic("platt", data, is_mirrored, is_smoothed)


def fit_beta(
    confidence: ArrayLike,
    correct: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    is_mirrored: bool = True,
    is_smoothed: bool = True,
) -> LogisticMap:
    """Fit logit(probability) = a ln(2 c) - b ln(2 (1 - c)) + d, a and b >= 0, by likelihood.

    Platt's map is a = b. A mirrored map also has d >= 0. Arguments and errors are those of
    `fit_temperature`.

    >>> fitted = fit_beta(np.tile([0.6, 0.9], 40), np.tile([1, 0, 0, 1, 1, 1, 0, 1], 10))
    >>> fitted.method, fitted.apply([0.6, 0.9]).round(2).tolist()
    ('beta', [0.54, 0.74])
    """
    data = _training(confidence, correct, weights, is_mirrored)
    return _fit_logistic("beta", data, is_mirrored, is_smoothed)


def fit_isotonic(
    confidence: ArrayLike,
    correct: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    is_mirrored: bool = True,
) -> IsotonicMap:
    """Fit the non-decreasing function of least squared error, by pooling adjacent violators.

    Equal confidences are first pooled to their weighted mean, so that the order of rows does not
    matter. A mirrored map is cut at one half, which is the least-squares solution under that bound.
    Needs several hundred labels; with few, its ends are 0 and 1 by chance. Arguments and errors are
    those of `fit_temperature`.

    >>> fit_isotonic([0.6, 0.7, 0.8, 0.9], [0, 1, 0, 1], is_mirrored=False).probability
    (0.0, 0.5, 0.5, 1.0)
    """
    data = _training(confidence, correct, weights, is_mirrored)
    knots, place = np.unique(data.confidence, return_inverse=True)
    mass = np.bincount(place.reshape(-1), weights=data.weight)
    mean = np.bincount(place.reshape(-1), weights=data.weight * data.correct) / mass
    fitted = scipy.optimize.isotonic_regression(mean, weights=mass)
    value = np.clip(fitted.x, 0.5 if is_mirrored else 0.0, 1.0)
    edge = np.zeros(knots.size, dtype=np.bool_)
    edge[fitted.blocks[:-1]] = edge[fitted.blocks[1:] - 1] = True
    return IsotonicMap(tuple(knots[edge].tolist()), tuple(value[edge].tolist()), is_mirrored)


def cross_fitted(  # noqa: PLR0913  # columns, what to do with them, and how they are divided
    confidence: ArrayLike,
    correct: ArrayLike,
    groups: ArrayLike,
    fit: Fit,
    rng: Rng = None,
    *,
    n_folds: int = DEFAULT_FOLDS,
) -> FloatArray:
    """Recalibrate every row by a map that saw neither its label nor one of its group.

    Good for measuring how well a kind of map calibrates. The folds' maps differ, so only within a
    fold is the ordering kept; and the rows are not independent of each other's labels, so no
    certificate may rest on them.

    Args:
        confidence: Shape (n,), nan where the judge failed.
        correct: Agreement, shape (n,), nan where there is no label: such rows are recalibrated too.
        groups: Name or number of each row's group, shape (n,); whole groups are set aside.
        fit: One of the fits above, or a function of confidence and correctness that calls one.
        rng: Draws the folds.
        n_folds: Number of folds; at most one a group is made.

    Returns:
        Recalibrated confidences, shape (n,), nan where the confidence is.

    Raises:
        InvalidArgument: Shapes differ, there are fewer than two groups or folds, or the rows
            outside a fold cannot be fitted on.

    >>> confidence, right = np.linspace(0.6, 0.9, 40), np.arange(40) % 3 > 0
    >>> made = cross_fitted(confidence, right, np.arange(40) // 2, fit_temperature, rng=0)
    >>> made.shape
    (40,)
    """
    scores, agreement = _columns(confidence, correct)
    names, member = np.unique(np.asarray(groups), return_inverse=True)
    if member.shape != scores.shape:
        raise InvalidArgument("groups must name the group of each row")
    folds = min(n_folds, names.size)
    if folds < 2:
        raise InvalidArgument("cross-fitting needs at least two groups and two folds")
    fold = (as_generator(rng).permutation(names.size) % folds)[member]
    result = np.full(scores.shape, np.nan)
    for k in range(folds):
        aside = fold == k
        result[aside] = fit(scores[~aside], agreement[~aside]).apply(scores[aside])
    return result


class _Training(NamedTuple):
    """Rows to fit on: confidences from one half on if mirrored, agreement and weight; (rows,)."""

    confidence: FloatArray
    correct: FloatArray
    weight: FloatArray


def _training(
    confidence: ArrayLike, correct: ArrayLike, weights: ArrayLike | None, is_mirrored: bool
) -> _Training:
    scores, agreement = _columns(confidence, correct)
    weight = np.ones(scores.shape) if weights is None else np.asarray(weights, dtype=np.float64)
    if weight.shape != scores.shape or not np.all((weight >= 0) & np.isfinite(weight)):
        raise InvalidArgument("weights must be one finite, non-negative number for each row")
    used = ~np.isnan(scores) & ~np.isnan(agreement) & (weight > 0)
    if is_mirrored:
        agreement = np.where(scores < 0.5, 1.0 - agreement, agreement)
        used &= sureness(scores) != 0.5
    if not used.any():
        raise InvalidArgument("no row has both a confidence and a label to fit on")
    kept = sureness(scores[used]) if is_mirrored else rounded(scores[used])
    return _Training(kept, agreement[used], weight[used])


def _columns(confidence: ArrayLike, correct: ArrayLike) -> tuple[FloatArray, FloatArray]:
    scores = np.asarray(confidence, dtype=np.float64)
    agreement = np.asarray(correct, dtype=np.float64)
    if scores.ndim != 1 or scores.shape != agreement.shape:
        raise InvalidArgument("confidence and correct must be vectors of one length")
    for name, values in (("confidence", scores), ("correct", agreement)):
        if np.any((values < 0) | (values > 1)):
            raise InvalidArgument(f"{name} must lie in [0, 1] (nan where there is none)")
    return scores, agreement


def _fit_logistic(
    method: LogisticMethod, data: _Training, is_mirrored: bool, is_smoothed: bool
) -> LogisticMap:
    up, down = logistic_terms(data.confidence)
    constant = np.ones(up.size)
    columns = {
        "temperature": (up + down,),
        "platt": (up + down, constant),
        "beta": (up, down, constant),
    }[method]
    start = np.array(_IDENTITY[method])
    lower = np.zeros(start.size)
    if not is_mirrored and method != "temperature":
        lower[-1] = -np.inf
    target = _smoothed(data) if is_smoothed else data.correct
    found = _minimise(np.column_stack(columns), target, data.weight, start, lower)
    slopes = found if method == "temperature" else found[:-1]
    intercept = 0.0 if method == "temperature" else float(found[-1])
    return LogisticMap(method, float(slopes[0]), float(slopes[-1]), intercept, is_mirrored)


def _smoothed(data: _Training) -> FloatArray:
    right = float(data.weight @ data.correct)
    wrong = float(data.weight.sum()) - right
    high, low = (right + 1) / (right + 2), 1 / (wrong + 2)
    return low + data.correct * (high - low)


def _minimise(
    design: FloatArray, target: FloatArray, weight: FloatArray, start: FloatArray, lower: FloatArray
) -> FloatArray:
    """Minimise the mean log loss above `lower`, by projected Newton (Bertsekas 1982)."""
    share = weight / weight.sum()

    def loss(coefficients: FloatArray) -> float:
        logit = design @ coefficients
        pull = _RIDGE / 2 * float(((coefficients - start) ** 2).sum())
        return float(share @ (np.logaddexp(0.0, logit) - target * logit)) + pull

    here, moved, steps = start, np.inf, 0
    while moved > _CONVERGED * (1 + float(np.abs(here).max())) and steps < _MOST_STEPS:
        probability = scipy.special.expit(design @ here)
        gradient = design.T @ (share * (probability - target)) + _RIDGE * (here - start)
        curvature = (design.T * (share * probability * (1 - probability))) @ design
        free = (here > lower) | (gradient < 0)
        step = np.zeros(here.size)
        ridge = _RIDGE * np.eye(int(free.sum()))
        step[free] = np.linalg.solve(curvature[np.ix_(free, free)] + ridge, gradient[free])
        following = _descend(loss, here, step, gradient, lower)
        moved, here, steps = float(np.abs(following - here).max()), following, steps + 1
    return here


def _descend(
    loss: Callable[[FloatArray], float],
    here: FloatArray,
    step: FloatArray,
    gradient: FloatArray,
    lower: FloatArray,
) -> FloatArray:
    """Go down along the projected step, halving it until the loss falls far enough."""
    current = loss(here)

    def is_enough(there: FloatArray) -> bool:
        promised = float(gradient @ (here - there))
        return loss(there) <= current - _SUFFICIENT_DECREASE * promised

    shortened = (
        np.asarray(np.maximum(here - step / 2**halvings, lower)) for halvings in range(_HALVINGS)
    )
    return next(filter(is_enough, shortened), here)
