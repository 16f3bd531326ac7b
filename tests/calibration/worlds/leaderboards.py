"""A world of six models whose strengths are known: prompts of eight comparisons, and judges."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Literal, NamedTuple

import numpy as np
from scipy import special

from calibration.arrays import FloatArray, IntArray
from calibration.powered import HumanLabels
from calibration.ranking import Comparisons, PairLayout, fit_strengths

Judge = Literal["fair", "self_preferring", "useless", "contrary", "seldom_wrong"]

MODELS = tuple("abcdef")
STRENGTHS = np.array([1.2, 0.7, 0.2, -0.2, -0.6, -1.3])
FAVOURED = 3
PER_PROMPT = 8
_MEETINGS = np.array([(i, j) for i in range(6) for j in range(6) if i != j])


class Arena(NamedTuple):
    """Comparisons with predictions for scores, what people would say, and prompts."""

    predicted: Comparisons
    outcome: FloatArray
    prompt: IntArray

    def labels(self, n_prompts: int, rng: np.random.Generator) -> HumanLabels:
        """Labels of all comparisons of some prompts."""
        chosen = rng.choice(self.prompt[-1] + 1, n_prompts, replace=False)
        value = np.where(np.isin(self.prompt, chosen), self.outcome, np.nan)
        return HumanLabels(value, groups=self.prompt)

    def scattered_labels(self, n: int, rng: np.random.Generator) -> HumanLabels:
        """Labels of comparisons drawn one by one."""
        value = np.full(len(self.outcome), np.nan)
        rows = rng.choice(len(value), n, replace=False)
        value[rows] = self.outcome[rows]
        return HumanLabels(value, groups=self.prompt)


def draw_arena(judge: Judge, n_prompts: int, rng: np.random.Generator) -> Arena:
    """Each prompt suits some models; a tenth of the comparisons are tied."""
    prompt = np.repeat(np.arange(n_prompts), PER_PROMPT)
    left, right = _MEETINGS[rng.integers(0, len(_MEETINGS), len(prompt))].T
    suits = STRENGTHS + 0.8 * rng.normal(size=(n_prompts, 6))
    margin = suits[prompt, left] - suits[prompt, right] + rng.normal(size=len(prompt))
    outcome = (rng.uniform(size=len(prompt)) < special.expit(1.3 * margin)).astype(np.float64)
    outcome[rng.uniform(size=len(prompt)) < 0.1] = 0.5
    seen = margin + rng.normal(size=len(prompt))
    if judge == "self_preferring":
        seen = seen + 1.5 * (left == FAVOURED) - 1.5 * (right == FAVOURED)
    elif judge == "useless":
        seen = rng.normal(size=len(prompt))
    elif judge == "contrary":
        seen = -seen
    said = special.expit(1.5 * seen)
    if judge == "seldom_wrong":
        said = _favouring(outcome, left, right, rng)
    predicted = Comparisons(MODELS, left, right, said, np.ones(len(prompt)))
    return Arena(predicted, outcome, prompt)


def _favouring(
    outcome: FloatArray, left: IntArray, right: IntArray, rng: np.random.Generator
) -> FloatArray:
    """What people would say, but for a fifth of one model's comparisons, which it wins."""
    is_bent = (left == FAVOURED) | (right == FAVOURED)
    is_bent &= rng.uniform(size=len(outcome)) < 0.2
    return np.where(is_bent, left == FAVOURED, outcome)


@cache
def true_log_strengths() -> tuple[float, ...]:
    """The strengths that fit a very large sample of what people say."""
    arena = draw_arena("fair", 100_000, np.random.default_rng(7))
    layout = PairLayout.of(replace(arena.predicted, score=arena.outcome))
    return tuple(fit_strengths(layout.whole(), MODELS).log_strength[0].tolist())
