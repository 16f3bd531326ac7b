"""What a test of a path is: its pairs and losses, its nodes, and the same test in every slice.

Where the promise is on a whole data set, a pair without a verdict counts as one that is not wrong:
of n pairs Bin(n, q) are given a wrong verdict, whatever share is answered, and the same tests
refute that q is at least the target.

"Some slice has a risk of at least the target" is refuted at a level where every slice's own test
refutes it at that level (Berger 1982): a slice for which it is true passes its test with at most
that probability, and without it nothing passes. No part of the level is spent on the number of
slices, unless they may turn up one by one while the test is looked at: then each look may be at
another hypothesis, and every slice has a part of the level that no later slice changes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import numpy as np

from calibration.arrays import BoolArray, FloatArray, IntArray
from calibration.cascade import answered_loss, decide
from calibration.certify.paths import Path, break_points, scores
from calibration.sample import Sample, Scope


@dataclass(frozen=True, slots=True, eq=False)
class Counts:
    """Answered pairs and their summed loss at every node of a path, shape (u,) each."""

    answered: IntArray
    lost: FloatArray


def path_counts(path: Path, sample: Sample) -> Counts:
    """Count answered pairs and their loss at every node of a path, on the rows that test it."""
    tested = sample.rows(path.rows)
    if path.thresholds.shape[1] == 1:
        columns = path.is_on_path
        margins = None if path.margins is None else path.margins[columns]
        shared = scores(tested.confidence[:, columns], margins)
        return shared_counts(shared, tested.loss[:, columns], path.thresholds[:, 0])
    losses = [_answered_loss(tested, path.vector(node)) for node in range(len(path.thresholds))]
    answered = np.array([is_answered.sum() for is_answered, _ in losses], dtype=np.int64)
    return Counts(answered, np.array([loss.sum() for _, loss in losses]))


def shared_counts(confidence: FloatArray, loss: FloatArray, nodes: FloatArray) -> Counts:
    """Count what a cascade answers and loses whose judges share one of some thresholds.

    Args:
        confidence: Shape (n, k), -inf where a judge failed.
        loss: Shape (n, k).
        nodes: Thresholds in falling order, shape (u,).

    Example:
        >>> confidence = np.array([[0.9, 0.8], [0.6, 0.7]])
        >>> loss = np.array([[0.0, 1.0], [1.0, 1.0]])
        >>> shared_counts(confidence, loss, nodes=np.array([0.9, 0.7]))
        Counts(answered=array([1, 2]), lost=array([0., 1.]))
    """
    changes = break_points(confidence, loss)
    first_node = np.searchsorted(-nodes, -changes.threshold, side="left")
    size = nodes.size + 1
    more_answered = np.bincount(first_node, changes.more_answered, size)[:-1]
    more_lost = np.bincount(first_node, changes.more_lost, size)[:-1]
    return Counts(np.rint(np.cumsum(more_answered)).astype(np.int64), np.cumsum(more_lost))


def _answered_loss(sample: Sample, thresholds: FloatArray) -> tuple[BoolArray, FloatArray]:
    return answered_loss(decide(sample.confidence, thresholds), sample.loss)


def counted_loss(
    sample: Sample, thresholds: FloatArray, scope: Scope
) -> tuple[BoolArray, FloatArray]:
    """Return which pairs the risk is a share of, and the loss of each; shape (n,)."""
    is_answered, loss = _answered_loss(sample, thresholds)
    return (is_answered if scope == "answered" else np.ones_like(is_answered)), loss


class Strength(NamedTuple):
    """The strength of a node's evidence: its conditional p-value, and a bound on its risk.

    The bound is never above the target.
    """

    p_value: float
    risk_upper_bound: float


class PathTest(Protocol):
    """Tests of the nodes of one path."""

    def rejects(self, nodes: slice, level: float) -> BoolArray:
        """Mark the nodes that pass at a level; any node after the first that fails may be False."""
        ...

    def strength(self, node: int, level: float) -> Strength:
        """Return how clearly a node passed that was tested at this level."""
        ...

    def largest_risk(self, nodes: slice, level: float) -> float:
        """Bound the largest risk over nodes that were fixed beforehand, at most the target.

        The largest of their bounds is valid at the level of one: at the node with the largest risk
        its own bound holds with probability 1 - level.
        """
        ...


class Evidence(Protocol):
    """A kind of test, bound to its pairs and target."""

    is_coarse: bool

    def along(self, path: Path, level: float) -> PathTest:
        """Return the tests of a path that may spend `level` in all."""
        ...


class InEverySlice:
    """A test that passes where the same test passes in each slice alone."""

    def __init__(
        self, evidence: Evidence, slice_of_row: IntArray, *, is_arriving: bool = False
    ) -> None:
        """Bind the test.

        Args:
            evidence: The test to be applied in each slice.
            slice_of_row: Slice of each pair of its sample, shape (n,).
            is_arriving: The pairs are in the order of arrival and the test may be stopped at will.
        """
        self.is_coarse = evidence.is_coarse
        self._evidence = evidence
        self._slice = slice_of_row
        self._names = np.unique(slice_of_row)
        shares = shares_as_they_come(slice_of_row)
        self._shares = shares if is_arriving else np.ones_like(shares)

    def along(self, path: Path, level: float) -> PathTest:
        """Return the tests of a path that may spend `level` in all."""
        slices = self._slice[path.rows]
        parts = [replace(path, rows=path.rows[slices == name]) for name in self._names]
        tests = tuple(self._evidence.along(part, level) for part in parts)
        return _CommonPathTest(tests, self._shares)


def shares_as_they_come(slice_of_row: IntArray) -> FloatArray:
    """Return each slice's share of the level, in order of appearance: 1/2, 1/6, 1/12, ..

    They add up to less than 1 and never change when another slice turns up; shape (slices,).

    Args:
        slice_of_row: Slice of each pair in the order of arrival, shape (n,).
    """
    _, first = np.unique(slice_of_row, return_index=True)
    place = 1.0 + first.argsort().argsort()
    return np.asarray(1.0 / (place * (place + 1.0)), dtype=np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class _CommonPathTest:
    parts: tuple[PathTest, ...]
    shares: FloatArray

    def rejects(self, nodes: slice, level: float) -> BoolArray:
        # without a slice there is nothing that could pass
        passed = [np.full(nodes.stop - nodes.start, bool(self.parts))] + [
            part.rejects(nodes, level * share)
            for part, share in zip(self.parts, self.shares.tolist(), strict=True)
        ]
        return np.asarray(np.logical_and.reduce(passed))

    def strength(self, node: int, level: float) -> Strength:
        parts = [part.strength(node, level) for part in self.parts]
        p_values = np.array([part.p_value for part in parts])
        largest = float(np.minimum(p_values / self.shares, 1.0).max())
        return Strength(largest, max(part.risk_upper_bound for part in parts))

    def largest_risk(self, nodes: slice, level: float) -> float:
        shares = self.shares.tolist()
        parts = zip(self.parts, shares, strict=True)
        return max(part.largest_risk(nodes, level * share) for part, share in parts)
