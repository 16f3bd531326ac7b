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

_BLOCK_CELLS = 4_000_000
_EQUAL = 1e-9
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
    n_models = len(values)
    kept = draws[np.isfinite(draws).all(axis=1)]
    if n_groups < 2 or len(kept) < 2 or not np.isfinite(values).all():
        return trivial_rank_sets(n_models)
    is_above = _surely_above(values, kept, n_groups, confidence_level)
    return RankSets(1 + is_above.sum(axis=0), n_models - is_above.sum(axis=1))


def _surely_above(
    values: FloatArray, draws: FloatArray, n_groups: int, confidence_level: float
) -> BoolArray:
    """Which model (row) is above which (column), by stepping down over the ordered pairs."""
    difference = np.subtract.outer(values, values)
    error = np.sqrt(_difference_variances(draws))
    varies = error > _EQUAL * np.maximum(1.0, np.abs(difference))
    n_pairs = len(values) * (len(values) - 1) / 2
    is_enough = n_pairs * 2.0 ** (1 - n_groups) <= 1 - confidence_level
    unanimous = ~varies & is_enough & (difference > _EQUAL)
    is_above = np.zeros_like(varies)
    for _ in range(_LARGEST_STEPS_DOWN):  # pragma: no branch
        largest = _largest_deviations(draws, error, np.nonzero(varies & ~is_above))
        critical = _student_critical(float(np.quantile(largest, confidence_level)), n_groups)
        found = varies & (difference > critical * error)
        if not (found & ~is_above).any():
            break
        is_above |= found
    return np.asarray(is_above | unanimous, dtype=np.bool_)


def _student_critical(normal: float, n_groups: int) -> float:
    student = float(stats.t.isf(special.ndtr(-normal), n_groups - 1))
    return student * float(np.sqrt(n_groups / (n_groups - 1)))


def _difference_variances(draws: FloatArray) -> FloatArray:
    covariance = np.atleast_2d(np.cov(draws, rowvar=False))
    own = np.diag(covariance)
    return np.asarray(np.maximum(own[:, None] + own[None, :] - 2 * covariance, 0))


def _largest_deviations(
    draws: FloatArray, error: FloatArray, ordered_pairs: tuple[NDArray[np.intp], ...]
) -> FloatArray:
    """Largest studentised deviation of any difference in each resample, shape (resamples,)."""
    first, second = ordered_pairs
    if len(first) == 0:
        return np.zeros(len(draws))
    deviation = draws - draws.mean(axis=0)
    largest = np.empty(len(draws))
    step = max(1, _BLOCK_CELLS // len(first))
    for start in range(0, len(draws), step):
        block = deviation[start : start + step]
        studentised = (block[:, first] - block[:, second]) / error[first, second]
        largest[start : start + step] = studentised.max(axis=1)
    return largest
