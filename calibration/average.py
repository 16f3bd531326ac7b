"""A threshold whose risk is bounded on average only, by conformal selection.

Verdicts are given on a pool of pairs. One threshold t is shared by all judges. Let V(t) count the
calibration pairs on which the cascade was wrong at some threshold of at least t, and M(t) the pool's
pairs that it answers at t. Of the n calibration pairs and the m of the pool, the smallest t with

    m (1 + V(t)) / ((n + 1) M(t)) <= target

keeps the expected share of wrong verdicts among those given on the pool at or below the target: a
pool's pair that was ever wrong down to t is exchangeable with the calibration pairs, and counting
"ever wrong" makes V monotone although verdicts may change hands as t falls, which the argument for
selection by conformal p-values needs (Jin and Candes 2023, after Benjamini and Hochberg 1995).
"""

from __future__ import annotations

import numpy as np

from calibration.arrays import FloatArray
from calibration.sample import Sample


def average_threshold(sample: Sample, pool: FloatArray, target_risk: float) -> float | None:
    """Smallest shared threshold that the rule allows; None where it allows none.

    The mean is over calibration pairs and pool together, all of them exchangeable.

    Args:
        sample: Pairs with losses of 0 and 1, one a group.
        pool: Confidences of the pairs to be answered, shape (m, k), -inf where a judge failed.
        target_risk: Largest expected share of wrong verdicts.
    """
    largest = np.sort(pool.max(axis=1, initial=-np.inf))
    largest = largest[largest > -np.inf]
    if not largest.size:
        return None
    thresholds, below = np.unique(largest, return_index=True)
    answered = largest.size - below
    ever_wrong = np.sort(_highest_wrong_threshold(sample))
    wrong = ever_wrong.size - np.searchsorted(ever_wrong, thresholds, side="left")
    estimate = len(pool) * (1.0 + wrong) / ((sample.n + 1.0) * answered)
    allowed = np.flatnonzero(estimate <= target_risk)
    return float(thresholds[allowed[0]]) if allowed.size else None


def _highest_wrong_threshold(sample: Sample) -> FloatArray:
    """Highest shared threshold at which each pair's verdict is wrong, shape (n,); -inf if none.

    Judge i answers from its own confidence down to the largest confidence before it, so it is wrong
    first at its own confidence.
    """
    surest_before = np.maximum.accumulate(sample.confidence, axis=1)
    surest_before = np.concatenate([np.full((sample.n, 1), -np.inf), surest_before[:, :-1]], axis=1)
    is_wrong = (sample.confidence > surest_before) & (sample.loss > 0)
    highest: FloatArray = np.where(is_wrong, sample.confidence, -np.inf).max(axis=1)
    return highest
