"""Procedures as others have published them, without what this library adds to them."""

from __future__ import annotations

import numpy as np

from calibration.arrays import FloatArray
from calibration.binomial import p_value
from calibration.cascade import ABSTAINED, decide
from calibration.certify.learned import pareto_thresholds
from calibration.sample import checked_sample


def published_pareto_testing(
    confidence: FloatArray,
    correct: FloatArray,
    target_risk: float,
    level: float,
    rng: np.random.Generator,
) -> FloatArray:
    """Pareto testing with ordinary binomial p-values (Laufer-Goldshtein and others 2023), (k,).

    One half of the labels orders the front of a grid, the other half tests along it until the first
    failure; the method `pareto_testing` of this library has larger critical counts.
    """
    n, k = confidence.shape
    order = rng.permutation(n)
    learning, testing = order[: n // 2], order[n // 2 :]
    training = checked_sample(confidence[learning], correct[learning], None, None, None)
    passed: FloatArray = np.full(k, np.inf)
    for thresholds in pareto_thresholds(training, np.ones(k), target_risk):
        tier = decide(confidence[testing], thresholds)
        answered = tier != ABSTAINED
        lost = (1 - correct[testing][answered, tier[answered]]).sum()
        if p_value(np.array([lost]), np.array([answered.sum()]), target_risk)[0] > level:
            break
        passed = thresholds
    return passed
