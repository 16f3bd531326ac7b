"""Bounds on the risk of a few cascades that hold together, so that any target may be chosen later.

The cascades are fixed by a pool, without the calibration pairs: all judges at one threshold, at
coverages from a tenth up, and the last judge alone. Each gets an exact upper bound at an equal part
of the failure probability (Bonferroni), so that with the rest of it every bound holds.
"""

from __future__ import annotations

import numpy as np

from calibration.arrays import BoolArray, FloatArray
from calibration.binomial import upper_bound
from calibration.certificate import RiskBound
from calibration.paths import answered_loss, thresholds_at
from calibration.sample import Sample

_SHARED_COVERAGES = np.linspace(0.2, 1.0, 9)
_LAST_COVERAGES = np.linspace(0.2, 1.0, 5)


def risk_bounds(
    sample: Sample, pool: FloatArray, failure_probability: float
) -> tuple[RiskBound, ...]:
    """Upper bounds that hold together with probability at least 1 - failure_probability.

    Args:
        sample: Pairs with losses of 0 and 1, one a group.
        pool: Confidences of other pairs, shape (m, k).
        failure_probability: Probability that some bound fails.
    """
    k = sample.n_judges
    vectors = _vectors(pool, np.ones(k, dtype=np.bool_), _SHARED_COVERAGES)
    if k > 1:
        vectors |= _vectors(pool, np.arange(k) == k - 1, _LAST_COVERAGES)
    level = failure_probability / max(len(vectors), 1)
    return tuple(_bound(sample, np.array(vector), level) for vector in vectors)


def _vectors(
    pool: FloatArray, is_on: BoolArray, coverages: FloatArray
) -> dict[tuple[float, ...], None]:
    """Threshold vectors in their order, each once."""
    levels = thresholds_at(pool[:, is_on], coverages)
    return dict.fromkeys(tuple(np.where(is_on, level, np.inf).tolist()) for level in levels)


def _bound(sample: Sample, thresholds: FloatArray, level: float) -> RiskBound:
    is_answered, loss = answered_loss(sample, thresholds)
    answered, lost = int(is_answered.sum()), int(loss.sum())
    coverage = answered / sample.n if sample.n else 0.0
    return RiskBound(
        thresholds, answered, lost, coverage, float(upper_bound(lost, answered, level))
    )
