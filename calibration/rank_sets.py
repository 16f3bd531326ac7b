"""Which ranks each model may have, at one confidence level for all models together.

Models are compared pair by pair with the bootstrap maximum of studentised differences, stepping
down as pairs are told apart (Mogstad, Romano, Shaikh, Wilhelm 2024): with the stated confidence no
pair is put in the wrong order, so all rank sets hold at once.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]

_EQUAL = 1e-9
_SIMULATED = 4_000
_LARGEST_STEPS_DOWN = 10  # stopping early is valid, only less sharp


class RankSets(NamedTuple):
    """Best and worst rank each model may have, shape (models,); 1 is the best."""

    low: IntArray
    high: IntArray


def ranks(values: FloatArray) -> IntArray:
    """Rank 1 for the largest value; values that differ only by rounding share the better rank."""
    margin = _EQUAL * np.maximum(1.0, np.abs(values))
    known = np.where(np.isnan(values), -np.inf, values)
    above = known[None, :] > (known + np.nan_to_num(margin))[:, None]
    return np.asarray(1 + above.sum(axis=1), dtype=np.int64)


def trivial_rank_sets(n_models: int) -> RankSets:
    """Every model may have every rank: what is known without an interval."""
    return RankSets(np.ones(n_models, dtype=np.int64), np.full(n_models, n_models))


def rank_sets(
    values: FloatArray, draws: FloatArray, n_groups: int, confidence_level: float
) -> RankSets:
    """Simultaneous rank sets from the values of all models in every resample.

    A model is surely above another if their difference exceeds the critical value times its
    bootstrap standard error. Spread and critical value are taken to Student's distribution with
    n_groups - 1 degrees of freedom, as for the intervals of single values. Where a difference is
    the same in all resamples the groups are unanimous: then only their number is evidence, by the
    sign test, at the level of one pair out of all.

    Args:
        values: Values of the models in the sample, shape (models,).
        draws: Values in every resample, shape (resamples, models); rows with nan are left out.
        n_groups: Number of groups that were resampled.
        confidence_level: Probability that all statements hold.

    Returns:
        The sets; 1 to the number of models where nothing can be told.
    """
    kept = draws[np.isfinite(draws).all(axis=1)]
    if n_groups < 2 or len(kept) < 2 or not np.isfinite(values).all():
        return trivial_rank_sets(len(values))
    error = _difference_errors(np.atleast_2d(np.cov(kept, rowvar=False)))
    is_above = _surely_above(values, kept - kept.mean(axis=0), error, n_groups, confidence_level)
    return _sets(is_above)


def rank_sets_from_covariance(
    values: FloatArray,
    covariance: FloatArray,
    n_groups: int,
    confidence_level: float,
    rng: np.random.Generator,
) -> RankSets:
    """Simultaneous rank sets from values whose joint distribution is about normal.

    As `rank_sets`, with the distribution of the largest difference simulated.

    Args:
        values: Values of the models, shape (models,).
        covariance: Their covariance, taken over `n_groups` groups, shape (models, models).
        n_groups: Number of independent groups behind the covariance.
        confidence_level: Probability that all statements hold.
        rng: Source of chance of the simulation.
    """
    if n_groups < 2:
        return trivial_rank_sets(len(values))
    spread, directions = np.linalg.eigh(covariance)
    root = directions * np.sqrt(np.maximum(spread, 0))
    deviations = rng.normal(size=(_SIMULATED, len(values))) @ root.T
    # the test inflates by G / (G - 1) what a bootstrap makes too small: not the covariance
    error = _difference_errors(covariance) * np.sqrt((n_groups - 1) / n_groups)
    deviations *= np.sqrt((n_groups - 1) / n_groups)
    return _sets(_surely_above(values, deviations, error, n_groups, confidence_level))


def _sets(is_above: BoolArray) -> RankSets:
    return RankSets(1 + is_above.sum(axis=0), len(is_above) - is_above.sum(axis=1))


def _surely_above(
    values: FloatArray,
    deviations: FloatArray,
    error: FloatArray,
    n_groups: int,
    confidence_level: float,
) -> BoolArray:
    """Which model (row) is above which (column), by stepping down over the ordered pairs."""
    difference = np.subtract.outer(values, values)
    varies = error > _EQUAL * np.maximum(1.0, np.abs(difference))
    n_pairs = len(values) * (len(values) - 1) / 2
    is_enough = n_pairs * 2.0 ** (1 - n_groups) <= 1 - confidence_level
    unanimous = ~varies & is_enough & (difference > _EQUAL)
    is_above = np.zeros_like(varies)
    for _ in range(_LARGEST_STEPS_DOWN):  # pragma: no branch
        largest = _largest_deviations(deviations, error, varies & ~is_above)
        critical = _student_critical(float(np.quantile(largest, confidence_level)), n_groups)
        found = varies & (difference > critical * error)
        if not (found & ~is_above).any():
            break
        is_above |= found
    return np.asarray(is_above | unanimous, dtype=np.bool_)


def _student_critical(normal: float, n_groups: int) -> float:
    student = float(stats.t.isf(special.ndtr(-normal), n_groups - 1))
    return student * float(np.sqrt(n_groups / (n_groups - 1)))


def _difference_errors(covariance: FloatArray) -> FloatArray:
    own = np.diag(covariance)
    return np.sqrt(np.maximum(own[:, None] + own[None, :] - 2 * covariance, 0))


def _largest_deviations(
    deviations: FloatArray, error: FloatArray, is_asked: BoolArray
) -> FloatArray:
    """Largest studentised deviation of the differences asked for, or 0, shape (resamples,).

    Of at least one pair a deviation is as often above 0 as below: the 0 changes no upper quantile.
    """
    per_error = np.divide(1.0, error, out=np.zeros_like(error), where=is_asked)
    largest = np.zeros(len(deviations))
    for model in np.flatnonzero(is_asked.any(axis=1)):
        studentised = (deviations[:, model, None] - deviations) * per_error[model]
        largest = np.maximum(largest, studentised.max(axis=1))
    return largest
