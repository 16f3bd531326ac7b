"""Gradient boosting of small oblivious trees: all nodes of one level ask the same question.

A tree of depth k is k questions and 2^k leaves, so a forest is three arrays and reading it is one
lookup (Prokhorenkova et al. 2018 use such trees). The logistic loss has soft labels and weights; each
pair is given in both orders, so that what is learned is the antisymmetric part.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from calibration.arrays import FloatArray, IntArray

NEVER = float(np.finfo(np.float32).max)


@dataclass(frozen=True, slots=True)
class Growth:
    """How a forest grows."""

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
    """Return the sum of the trees' leaves for each row of features."""
    place = (rows[:, forest.feature] > forest.threshold) @ (1 << np.arange(forest.feature.shape[1]))
    values: FloatArray = forest.leaf[np.arange(len(forest.leaf)), place].sum(axis=1)
    return values


def grow_forest(
    rows: FloatArray,
    label: FloatArray,
    weight: FloatArray,
    growth: Growth,
    rng: np.random.Generator,
) -> Forest:
    """Fit a forest to soft labels (n,) in [0, 1] with weights (n,) from rows (n, features)."""
    edges = _edges(rows, growth.bins)
    binned = np.stack([np.searchsorted(e, column) for e, column in zip(edges, rows.T, strict=True)])
    score = np.zeros(len(label))
    trees = []
    for _ in range(growth.trees):
        p = 1 / (1 + np.exp(-score))
        drawn = rng.random(len(label)) < growth.row_share
        pull, curvature = weight * (label - p) * drawn, weight * p * (1 - p) * drawn
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
    # Half way between two values, so that no rounding of a feature can cross a threshold; and what
    # the weights file keeps, 32 bits, must be what was trained.
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
