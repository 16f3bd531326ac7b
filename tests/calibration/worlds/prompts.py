"""Comparisons that come in prompts: each prompt favours some models, and the truth is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from calibration.arrays import FloatArray, IntArray
from calibration.ranking import Comparisons, PairLayout, fit_strengths


@dataclass(frozen=True)
class PromptSample:
    comparisons: Comparisons
    prompt: IntArray


@dataclass(frozen=True, eq=False)
class PromptWorld:
    """Models with log-strengths `strength`, shifted in every prompt by N(0, spread^2)."""

    strength: FloatArray
    spread: float
    per_prompt: int = 8

    @property
    def models(self) -> tuple[str, ...]:
        return tuple(f"m{i:02d}" for i in range(len(self.strength)))

    def truth(self) -> FloatArray:
        """What infinitely many comparisons would be fitted with: the strengths of mean results."""
        at, weight = np.polynomial.hermite_e.hermegauss(61)
        first, second = np.triu_indices(len(self.strength), 1)
        apart = (self.strength[first] - self.strength[second])[:, None]
        chance = special.expit(apart + at * self.spread * np.sqrt(2)) @ (weight / weight.sum())
        played = Comparisons(self.models, first, second, chance, np.ones(len(first)))
        fitted = fit_strengths(PairLayout.of(played).whole(), self.models).log_strength[0]
        return np.asarray(fitted)

    def draw(self, n_prompts: int, rng: np.random.Generator) -> PromptSample:
        n, m = n_prompts * self.per_prompt, len(self.strength)
        left = rng.integers(0, m, n)
        right = (left + rng.integers(1, m, n)) % m
        prompt = np.repeat(np.arange(n_prompts), self.per_prompt)
        shifted = self.strength + self.spread * rng.normal(size=(n_prompts, m))
        apart = shifted[prompt, left] - shifted[prompt, right]
        score = (rng.random(n) < special.expit(apart)).astype(float)
        return PromptSample(Comparisons(self.models, left, right, score, np.ones(n)), prompt)
