"""Fit the ensemble: gradient boosting and a bilinear model.

All nodes of a tree level share one test, so a tree of depth k has k tests and 2^k leaves and a
forest is three arrays (Prokhorenkova et al. 2018). The logistic loss takes soft labels and weights, and the judgement of a teacher (`Targets`).
Each pair is given in both orders, so that the antisymmetric part is learned.

Labels are shares of votes, so a divided vote pulls towards one half. The weight of a pair grows with
the square root of its number of votes. Members differ in the prompts held out from them; the common
temperature is fitted on those.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy
from numpy.typing import NDArray

from calibration.arrays import BoolArray, FloatArray, IntArray
from judges.student.model import (
    Weights,
    mean_probability,
    probability_from_logit,
    scaled_context,
    scaled_difference,
)
from judges.student.training.data import Sample

NEVER = float(np.finfo(np.float32).max)


@dataclass(frozen=True, slots=True)
class Targets:
    """What the logits of n pairs are drawn to: people's labels, and a teacher.

    The loss of a pair with logit z is, with s = 1 / (1 + exp(-z)) and its softened twin s_T of z / T,

        weight * CE(label, s) + soft_weight * T^2 * KL(softened || s_T),

    the distillation loss of Hinton, Vinyals and Dean (2015). T^2 keeps the slopes of the second term
    as large as those of the first, whatever T is.

    Attributes:
        label: (n,) soft labels in [0, 1].
        weight: (n,) weights of the labels; 0 where a pair has none.
        softened: (n,) the teacher's probabilities at temperature T.
        soft_weight: (n,) weights of the teacher; 0 where it said nothing.
        temperature: T.
    """

    label: FloatArray
    weight: FloatArray
    softened: FloatArray
    soft_weight: FloatArray
    temperature: float = 1.0

    @classmethod
    def of_labels(cls, label: FloatArray, weight: FloatArray) -> Targets:
        """Return targets without a teacher."""
        return cls(label, weight, np.full(len(label), 0.5), np.zeros(len(label)))

    def rows(self, chosen: BoolArray) -> Targets:
        """Return the targets of the pairs where `chosen` is true."""
        return Targets(
            self.label[chosen],
            self.weight[chosen],
            self.softened[chosen],
            self.soft_weight[chosen],
            self.temperature,
        )

    def in_both_orders(self) -> Targets:
        """Return the targets of all pairs, then of their mirror images, each at half the weight."""
        return Targets(
            np.concatenate([self.label, 1 - self.label]),
            np.concatenate([self.weight, self.weight]) / 2,
            np.concatenate([self.softened, 1 - self.softened]),
            np.concatenate([self.soft_weight, self.soft_weight]) / 2,
            self.temperature,
        )

    def misfit(self, z: FloatArray) -> float:
        """Return the loss, less the entropy of the teacher, which no student changes."""
        t = self.temperature
        soft = np.logaddexp(0, z / t) - self.softened * z / t
        hard = self.weight * (np.logaddexp(0, z) - self.label * z)
        return float((hard + self.soft_weight * t * t * soft).sum())

    def residual(self, z: FloatArray) -> FloatArray:
        """Return the slope of the loss in the logit of each pair."""
        t, p = self.temperature, probability_from_logit(z)
        soft = self.soft_weight * t * (probability_from_logit(z / t) - self.softened)
        slope: FloatArray = self.weight * (p - self.label) + soft
        return slope

    def slopes(self, z: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the negative slope and the curvature of the loss in the logit of each pair."""
        t = self.temperature
        p, soft = 1 / (1 + np.exp(-z)), 1 / (1 + np.exp(-z / t))
        pull = self.weight * (self.label - p) + self.soft_weight * t * (self.softened - soft)
        curvature = self.weight * p * (1 - p) + self.soft_weight * soft * (1 - soft)
        return pull, curvature


@dataclass(frozen=True, slots=True)
class Growth:
    """Hyperparameters of a forest."""

    trees: int = 200
    depth: int = 3
    learning_rate: float = 0.08
    feature_share: float = 0.1
    row_share: float = 0.6
    leaf_penalty: float = 10.0
    bins: int = 32


@dataclass(frozen=True, slots=True)
class Forest:
    """Trees as arrays: feature (t, k), threshold (t, k), leaf (t, 2^k)."""

    feature: IntArray
    threshold: FloatArray
    leaf: FloatArray


def forest_sum(forest: Forest, rows: FloatArray) -> FloatArray:
    """Return the sum of the trees' leaf values for each row of features."""
    place = (rows[:, forest.feature] > forest.threshold) @ (1 << np.arange(forest.feature.shape[1]))
    values: FloatArray = forest.leaf[np.arange(len(forest.leaf)), place].sum(axis=1)
    return values


def grow_forest(
    rows: FloatArray, targets: Targets, growth: Growth, rng: np.random.Generator
) -> Forest:
    """Fit a forest to the targets of n rows of features, shape (n, features)."""
    edges = _edges(rows, growth.bins)
    binned = np.stack([np.searchsorted(e, column) for e, column in zip(edges, rows.T, strict=True)])
    score = np.zeros(len(rows))
    trees = []
    for _ in range(growth.trees):
        drawn = rng.random(len(rows)) < growth.row_share
        pull, curvature = (slope * drawn for slope in targets.slopes(score))
        offered = rng.permutation(len(edges))[: round(growth.feature_share * len(edges))]
        questions, place = _questions(binned, offered, pull, curvature, growth)
        leaves = 1 << growth.depth
        value = np.bincount(place, pull, leaves) / (
            np.bincount(place, curvature, leaves) + growth.leaf_penalty
        )
        value *= growth.learning_rate
        score += value[place]
        trees.append((questions, value))
    return _forest(trees, edges)


def _edges(rows: FloatArray, bins: int) -> list[FloatArray]:
    return [_column_edges(np.unique(column), column, bins) for column in rows.T]


def _column_edges(distinct: FloatArray, column: FloatArray, bins: int) -> FloatArray:
    quantiles = np.quantile(column, np.linspace(0, 1, bins + 1)[1:-1], method="lower")
    at = np.unique(np.searchsorted(distinct, quantiles))
    at = at[at < len(distinct) - 1]
    # Use the midpoint of two values, so that rounding a feature cannot cross a threshold. Round it
    # to 32 bits, so that training uses the same thresholds as the weights file.
    middle = (distinct[at] + distinct[at + 1]) / 2
    return np.unique(middle.astype(np.float32)).astype(np.float64)


def _questions(
    binned: IntArray, offered: IntArray, pull: FloatArray, curvature: FloatArray, growth: Growth
) -> tuple[list[tuple[int, int]], IntArray]:
    place = np.zeros(binned.shape[1], dtype=np.int64)
    questions = []
    for level in range(growth.depth):
        feature, cut = _best_question(binned[offered], place, 1 << level, (pull, curvature), growth)
        questions.append((int(offered[feature]), cut))
        place += (binned[offered[feature]] > cut).astype(np.int64) << level
    return questions, place


def _best_question(
    binned: IntArray,
    place: IntArray,
    leaves: int,
    slopes: tuple[FloatArray, FloatArray],
    growth: Growth,
) -> tuple[int, int]:
    features, bins = len(binned), growth.bins
    base = (np.arange(features) * leaves * bins)[:, None]
    cell = (base + place * bins + binned).ravel()
    below, curved_below = (
        np.bincount(cell, np.tile(slope, features), features * leaves * bins)
        .reshape(features, leaves, bins)
        .cumsum(axis=2)
        for slope in slopes
    )
    above, curved_above = below[:, :, -1:] - below, curved_below[:, :, -1:] - curved_below
    gain = below**2 / (curved_below + growth.leaf_penalty)
    gain += above**2 / (curved_above + growth.leaf_penalty)
    feature, cut = np.unravel_index(np.argmax(gain.sum(axis=1)), (features, bins))
    return int(feature), int(cut)


def _forest(
    trees: list[tuple[list[tuple[int, int]], FloatArray]], edges: list[FloatArray]
) -> Forest:
    def threshold(feature: int, cut: int) -> float:
        return float(edges[feature][cut]) if cut < len(edges[feature]) else NEVER

    return Forest(
        feature=np.array([[feature for feature, _ in questions] for questions, _ in trees]),
        threshold=np.array([[threshold(*q) for q in questions] for questions, _ in trees]),
        leaf=np.array([value for _, value in trees]),
    )


SMALLEST_SCALE = 1e-6
Vector = np.ndarray[tuple[int], np.dtype[np.float64]]
Member = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Recipe:
    """All settings of a training run besides data and seed."""

    rounds: int = 2
    folds: int = 5
    linear_penalty: float = 30.0
    bilinear_penalty: float = 1000.0
    bilinear_steps: int = 60
    growth: Growth = field(default_factory=Growth)


@dataclass(frozen=True, slots=True)
class _Scaled:
    """Clipped differences x (n, d), contexts c (n, k) and targets of n pairs."""

    x: FloatArray
    c: FloatArray
    targets: Targets

    def rows(self, chosen: BoolArray) -> _Scaled:
        return _Scaled(self.x[chosen], self.c[chosen], self.targets.rows(chosen))


@dataclass(frozen=True, slots=True)
class Fitted:
    """An ensemble, and p_a (n,) of every pair by those members that never saw its prompt."""

    weights: Weights
    unseen: FloatArray


def split_prompts(sample: Sample, folds: int, rng: np.random.Generator) -> IntArray:
    """Assign prompts to folds, balanced over combinations of data sets; return a fold per row.

    A prompt that occurs in several data sets has the same fold in all of them.
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
    """Train `rounds * folds` members, each on all prompts but one fold, and fit the temperature."""
    outcome = np.where(sample.decided, sample.prefers_a, np.nan)
    return fit_targets(sample, label_targets(sample), outcome, recipe, rng, progress).weights


def fit_targets(  # noqa: PLR0913 - what is learned, by which measure, how, and by which chance
    sample: Sample,
    targets: Targets,
    outcome: FloatArray,
    recipe: Recipe,
    rng: np.random.Generator,
    progress: Callable[[str], None] = lambda line: None,
) -> Fitted:
    """Train an ensemble on targets; `outcome` (n,) fits the temperature, nan where there is none.

    An outcome is 1 where a is better, 0 where b is, or a share between.
    """
    scale = _scales(sample)
    scaled = _Scaled(
        scaled_difference(sample.features_a, sample.features_b, scale["difference_scale"]),
        scaled_context(sample.context, scale["context_mean"], scale["context_scale"]),
        targets,
    )
    unseen = np.zeros((recipe.rounds, len(sample.prompts)))
    members: list[Member] = []
    for round_ in range(recipe.rounds):
        fold = split_prompts(sample, recipe.folds, rng)
        for held_out in range(recipe.folds):
            member = _fit_member(scaled.rows(fold != held_out), recipe, rng)
            unseen[round_, fold == held_out] = _logits(member, scaled.rows(fold == held_out))
            members.append(member)
            progress(f"member {len(members)} of {recipe.rounds * recipe.folds}")
    stacked = {name: np.stack([member[name] for member in members]) for name in members[0]}
    known = np.isfinite(outcome)
    temperature = fit_temperature(unseen.T[known], outcome[known], sample.prompts[known])
    weights = Weights(**scale, **stacked, temperature=np.array(temperature))
    # Round to the precision of the weights file, so that tests use the shipped values.
    return Fitted(
        Weights.from_bytes(weights.to_bytes()),
        mean_probability(probability_from_logit(unseen.T / temperature)),
    )


def label_targets(sample: Sample) -> Targets:
    """Return the votes of people as targets; a pair without votes has no weight."""
    weight = np.sqrt(sample.votes)
    return Targets.of_labels(sample.share_a, weight / max(weight.mean(), SMALLEST_SCALE))


def fit_temperature(logits: FloatArray, outcome: NDArray[Any], prompts: NDArray[np.str_]) -> float:
    """Return the temperature with the least log loss of the mean p; logits are (n, members).

    An outcome (n,) is true or 1 where a is better, 0 where b is, or a share between. A prompt is
    weighted by the square root of its number of pairs. Otherwise, a few prompts with a hundred
    pairs each would dominate the fit.
    """
    _, index, pairs = np.unique(prompts, return_inverse=True, return_counts=True)
    weight = 1 / np.sqrt(pairs[index])
    share = outcome.astype(np.float64)

    def loss(log_temperature: float) -> float:
        p = mean_probability(probability_from_logit(logits / np.exp(log_temperature)))
        likely = share * np.log(np.maximum(p, 1e-12)) + (1 - share) * np.log(
            np.maximum(1 - p, 1e-12)
        )
        return float(-(weight * likely).sum() / weight.sum())

    return float(
        np.exp(scipy.optimize.minimize_scalar(loss, bounds=(-2.0, 2.0), method="bounded").x)
    )


def _scales(sample: Sample) -> dict[str, NDArray[Any]]:
    difference = sample.features_a - sample.features_b
    scales = {
        "difference_scale": np.maximum(np.sqrt((difference**2).mean(axis=0)), SMALLEST_SCALE),
        "context_mean": sample.context.mean(axis=0),
        "context_scale": np.maximum(sample.context.std(axis=0), SMALLEST_SCALE),
    }
    return {name: scale.astype(np.float32).astype(np.float64) for name, scale in scales.items()}


def _fit_member(data: _Scaled, recipe: Recipe, rng: np.random.Generator) -> Member:
    linear, bilinear = _fit_bilinear(data, recipe)
    forest = grow_forest(
        np.vstack([np.hstack([data.x, data.c]), np.hstack([-data.x, data.c])]),
        data.targets.in_both_orders(),
        recipe.growth,
        rng,
    )
    # Each member's logit is the mean of its bilinear and its forest logit.
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
        return float(data.targets.misfit(z) + (penalty * w * w).sum() / 2)

    def slope(w: Vector) -> Vector:
        gradient: Vector = design.T @ data.targets.residual(design @ w) + penalty * w
        return gradient

    start: Vector = np.zeros(design.shape[1])
    found = scipy.optimize.minimize(
        loss, start, jac=slope, method="L-BFGS-B", options={"maxiter": recipe.bilinear_steps}
    )
    return found.x[:width], found.x[width:].reshape(width, -1)
