"""Judges whose verdicts come in groups, with the truth about their figures known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from calibration.arrays import BoolArray, FloatArray, IntArray

POPULATION_PAIRS = 300_000


@dataclass(frozen=True)
class Sample:
    """Verdicts of one judge: group, confidence in [.5, 1], and agreement with people."""

    group: IntArray
    confidence: FloatArray
    correct: BoolArray


@dataclass(frozen=True)
class World:
    """A judge and how its verdicts come.

    Attributes:
        sharpness: What its true logits are multiplied by; 1 is calibrated, more is overconfident.
        group_size: Mean number of pairs of one prompt; from 1 to twice as many less one.
        decimals: Decimals of the confidences; None for no ties.
        hidden: How much the difficulty of a prompt moves agreement beyond the confidence.
        ease: Smallest of its true logits: how seldom it errs.
    """

    sharpness: float = 1.0
    group_size: int = 1
    decimals: int | None = None
    hidden: float = 0.0
    ease: float = 0.0

    def draw(self, groups: int, rng: np.random.Generator) -> Sample:
        sizes = rng.integers(1, 2 * self.group_size, groups)
        group = np.repeat(np.arange(groups), sizes)
        difficulty = rng.normal(size=groups)[group]
        logit = self.ease + np.abs(0.7 * difficulty + 1.5 * rng.normal(size=group.size))
        confidence = special.expit(self.sharpness * logit)
        if self.decimals is not None:
            confidence = np.round(confidence, self.decimals)
        correct = rng.random(group.size) < special.expit(logit - self.hidden * difficulty)
        return Sample(group, confidence, correct)

    def population(self) -> Sample:
        return self.draw(POPULATION_PAIRS // self.group_size, np.random.default_rng(99))
