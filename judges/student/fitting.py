"""Fitting the student's members: a penalised bilinear logit and a boosted forest each.

Labels are shares of votes, so a divided vote pulls towards one half; a pair's weight grows with the
square root of its votes. Members differ in which prompts they never saw, and on those the common
temperature is fitted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize, minimize_scalar

from calibration.arrays import BoolArray, FloatArray, IntArray
from judges.student.boosting import Forest, Growth, forest_sum, grow_forest
from judges.student.labelled_pairs import Sample
from judges.student.model import (
    Weights,
    mean_probability,
    probability_from_logit,
    scaled_context,
    scaled_difference,
)

SMALLEST_SCALE = 1e-6
Vector = np.ndarray[tuple[int], np.dtype[np.float64]]
Member = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that fixes a training run besides its data and its seed."""

    rounds: int = 2
    folds: int = 5
    linear_penalty: float = 30.0
    bilinear_penalty: float = 1000.0
    bilinear_steps: int = 60
    growth: Growth = field(default_factory=Growth)


@dataclass(frozen=True, slots=True)
class _Scaled:
    """Clipped differences x (n, d), contexts c (n, k), soft labels (n,) and weights (n,)."""

    x: FloatArray
    c: FloatArray
    label: FloatArray
    weight: FloatArray

    def rows(self, chosen: BoolArray) -> _Scaled:
        return _Scaled(self.x[chosen], self.c[chosen], self.label[chosen], self.weight[chosen])


def split_prompts(sample: Sample, folds: int, rng: np.random.Generator) -> IntArray:
    """Deal the prompts to folds, each combination of data sets evenly; one fold number a row.

    A prompt that occurs in several data sets has one fold in all of them.
    """
    sets_of: dict[str, set[str]] = {}
    for prompt, data_set in zip(sample.prompts.tolist(), sample.data_sets.tolist(), strict=True):
        sets_of.setdefault(prompt, set()).add(data_set)
    strata: dict[tuple[str, ...], list[str]] = {}
    for prompt in sorted(sets_of):
        strata.setdefault(tuple(sorted(sets_of[prompt])), []).append(prompt)
    dealt = [prompt for key in sorted(strata) for prompt in rng.permutation(strata[key]).tolist()]
    fold_of = {prompt: position % folds for position, prompt in enumerate(dealt)}
    return np.array([fold_of[prompt] for prompt in sample.prompts.tolist()])


def fit_ensemble(
    sample: Sample,
    recipe: Recipe,
    rng: np.random.Generator,
    progress: Callable[[str], None] = lambda line: None,
) -> Weights:
    """Train `rounds * folds` members, each on all prompts but one fold, and their temperature."""
    scale = _scales(sample)
    scaled = _scaled(sample, scale)
    unseen = np.zeros((recipe.rounds, len(scaled.label)))
    members: list[Member] = []
    for round_ in range(recipe.rounds):
        fold = split_prompts(sample, recipe.folds, rng)
        for held_out in range(recipe.folds):
            member = _fit_member(scaled.rows(fold != held_out), recipe, rng)
            unseen[round_, fold == held_out] = _logits(member, scaled.rows(fold == held_out))
            members.append(member)
            progress(f"member {len(members)} of {recipe.rounds * recipe.folds}")
    stacked = {name: np.stack([member[name] for member in members]) for name in members[0]}
    decided = sample.rows(sample.decided)
    temperature = fit_temperature(unseen.T[sample.decided], decided.prefers_a, decided.prompts)
    weights = Weights(**scale, **stacked, temperature=np.array(temperature))
    # What is tested is what the file will hold.
    return Weights.from_bytes(weights.to_bytes())


def fit_temperature(logits: FloatArray, prefers_a: BoolArray, prompts: NDArray[np.str_]) -> float:
    """Return the temperature of least log loss of the mean probability; logits are (n, members).

    A prompt counts by the square root of its pairs: a few prompts with a hundred pairs each would
    else decide alone how sure the student is of everything.
    """
    _, index, pairs = np.unique(prompts, return_inverse=True, return_counts=True)
    weight = 1 / np.sqrt(pairs[index])

    def loss(log_temperature: float) -> float:
        p = mean_probability(probability_from_logit(logits / np.exp(log_temperature)))
        right = np.where(prefers_a, p, 1 - p)
        return float(-(weight * np.log(np.maximum(right, 1e-12))).sum() / weight.sum())

    return float(np.exp(minimize_scalar(loss, bounds=(-2.0, 2.0), method="bounded").x))


def _scales(sample: Sample) -> dict[str, NDArray[Any]]:
    difference = sample.features_a - sample.features_b
    scales = {
        "difference_scale": np.maximum(np.sqrt((difference**2).mean(axis=0)), SMALLEST_SCALE),
        "context_mean": sample.context.mean(axis=0),
        "context_scale": np.maximum(sample.context.std(axis=0), SMALLEST_SCALE),
    }
    return {name: scale.astype(np.float32).astype(np.float64) for name, scale in scales.items()}


def _scaled(sample: Sample, scale: dict[str, NDArray[Any]]) -> _Scaled:
    return _Scaled(
        x=scaled_difference(sample.features_a, sample.features_b, scale["difference_scale"]),
        c=scaled_context(sample.context, scale["context_mean"], scale["context_scale"]),
        label=sample.share_a,
        weight=np.sqrt(sample.votes) / np.sqrt(sample.votes).mean(),
    )


def _fit_member(data: _Scaled, recipe: Recipe, rng: np.random.Generator) -> Member:
    linear, bilinear = _fit_bilinear(data, recipe)
    forest = grow_forest(
        np.vstack([np.hstack([data.x, data.c]), np.hstack([-data.x, data.c])]),
        np.concatenate([data.label, 1 - data.label]),
        np.concatenate([data.weight, data.weight]) / 2,
        recipe.growth,
        rng,
    )
    # A member is the mean of its two logits.
    return {
        "linear": linear / 2,
        "bilinear": bilinear / 2,
        "tree_feature": forest.feature,
        "tree_threshold": forest.threshold,
        "tree_leaf": forest.leaf / 2,
    }


def _logits(member: Member, data: _Scaled) -> FloatArray:
    slope = member["linear"] + np.einsum("nc,dc->nd", data.c, member["bilinear"])
    forest = Forest(member["tree_feature"], member["tree_threshold"], member["tree_leaf"])
    forward = forest_sum(forest, np.hstack([data.x, data.c]))
    backward = forest_sum(forest, np.hstack([-data.x, data.c]))
    logits: FloatArray = (slope * data.x).sum(axis=1) + (forward - backward) / 2
    return logits


def _fit_bilinear(data: _Scaled, recipe: Recipe) -> tuple[FloatArray, FloatArray]:
    rows, width = data.x.shape
    crossed = (data.x[:, :, None] * data.c[:, None, :]).reshape(rows, -1)
    design = np.hstack([data.x, crossed])
    penalty = np.full(design.shape[1], recipe.bilinear_penalty)
    penalty[:width] = recipe.linear_penalty

    def loss(w: Vector) -> float:
        z = design @ w
        misfit = (data.weight * (np.logaddexp(0, z) - data.label * z)).sum()
        return float(misfit + (penalty * w * w).sum() / 2)

    def slope(w: Vector) -> Vector:
        residual = data.weight * (probability_from_logit(design @ w) - data.label)
        gradient: Vector = design.T @ residual + penalty * w
        return gradient

    start: Vector = np.zeros(design.shape[1])
    found = minimize(
        loss, start, jac=slope, method="L-BFGS-B", options={"maxiter": recipe.bilinear_steps}
    )
    return found.x[:width], found.x[width:].reshape(width, -1)
