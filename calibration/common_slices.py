"""One threshold vector that keeps its promise in every slice: an intersection-union test.

"Some slice has a risk of at least the target" is refuted at a level where every slice's own test
refutes it at that level (Berger 1982): a slice for which it is true passes its test with at most
that probability, and without it nothing passes. No part of the level is spent on the number of
slices, unless they may turn up one by one while the test is looked at: then each look may be at
another hypothesis, and every slice has a part of the level that no later slice changes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from calibration.arrays import BoolArray, FloatArray, IntArray
from calibration.evidence import Evidence, PathTest
from calibration.paths import Path


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
        """The tests of a path that may spend `level` in all."""
        slices = self._slice[path.rows]
        parts = [replace(path, rows=path.rows[slices == name]) for name in self._names]
        tests = tuple(self._evidence.along(part, level) for part in parts)
        return _CommonPathTest(tests, self._shares)


def shares_as_they_come(slice_of_row: IntArray) -> FloatArray:
    """Share of the level of each slice, shape (slices,): 1/2, 1/6, 1/12, .. in order of appearance.

    They add up to less than 1 and never change when another slice turns up.

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

    def p_value(self, node: int) -> float:
        p_values = np.array([part.p_value(node) for part in self.parts])
        return float(np.minimum(p_values / self.shares, 1.0).max())

    def risk_upper_bound(self, node: int, level: float) -> float:
        return max(part.risk_upper_bound(node, level) for part in self.parts)
