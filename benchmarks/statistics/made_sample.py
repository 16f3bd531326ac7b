"""Labelled pairs drawn for the benchmarks of certification: three judges, better and better."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from calibration.arrays import FloatArray

TARGET_RISK = 0.15
FAILURE_PROBABILITY = 0.1
COSTS = (1.0, 5.0, 100.0)
_SHARPNESS = (1.5, 2.5, 4.0)
_POOL_SIZE = 300


@dataclass(frozen=True, slots=True, eq=False)
class MadeSample:
    """Labelled pairs and some without labels.

    Attributes:
        confidence: Shape (n, 3), in [.5, 1].
        correct: 0/1, shape (n, 3).
        pool: Confidences of other pairs, shape (300, 3).
    """

    confidence: FloatArray
    correct: FloatArray
    pool: FloatArray


def made_sample(n: int, rng: np.random.Generator) -> MadeSample:
    """Draw pairs whose confidences are probabilities: right with the confidence's own rate."""
    confidence = _confidence(n, rng)
    luck = rng.uniform(size=(n, 1))  # shared: what is hard for one judge is hard for all
    correct = (luck < confidence).astype(np.float64)
    return MadeSample(confidence, correct, _confidence(_POOL_SIZE, rng))


def _confidence(n: int, rng: np.random.Generator) -> FloatArray:
    log_odds = np.abs(rng.normal(0.0, _SHARPNESS, size=(n, len(_SHARPNESS))))
    made: FloatArray = np.round(1.0 / (1.0 + np.exp(-log_odds)), 12)
    return made
