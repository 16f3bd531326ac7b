"""Comparisons of models drawn from known strengths, as names and outcomes in plain lists."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

_SPREAD = 0.7
_TIE_SHARE = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class MadeComparisons:
    """Who met whom: left and right names, and what the left one got (1, .5 or 0)."""

    left: list[str]
    right: list[str]
    score: list[float]


def made_comparisons(n: int, n_models: int, rng: np.random.Generator) -> MadeComparisons:
    """Draw opponents at random; a tenth of the comparisons are ties."""
    names = np.array([f"model-{i:03d}" for i in range(n_models)])
    strength = rng.normal(0.0, _SPREAD, n_models)
    left = rng.integers(0, n_models, n)
    right = (left + rng.integers(1, n_models, n)) % n_models
    chance = 1.0 / (1.0 + np.exp(strength[right] - strength[left]))
    score = (rng.uniform(size=n) < chance).astype(np.float64)
    score[rng.uniform(size=n) < _TIE_SHARE] = 0.5
    return MadeComparisons(names[left].tolist(), names[right].tolist(), score.tolist())
