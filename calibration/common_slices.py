"""One threshold vector that keeps its promise in every slice: an intersection-union test.

"Some slice has a risk of at least the target" is refuted at a level where every slice's own test
refutes it at that level (Berger 1982): a slice for which it is true passes its test with at most
that probability, and without it nothing passes. No part of the level is spent on the number of
slices.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from calibration.evidence import Evidence, PathTest
from calibration.paths import Path
from calibration.sample import BoolArray, IntArray


class InEverySlice:
    """A test that passes where the same test passes in each slice alone."""

    def __init__(self, evidence: Evidence, slice_of_row: IntArray) -> None:
        """Bind the test.

        Args:
            evidence: The test to be applied in each slice.
            slice_of_row: Slice of each pair of its sample, shape (n,).
        """
        self.is_coarse = evidence.is_coarse
        self._evidence = evidence
        self._slice = slice_of_row
        self._names = np.unique(slice_of_row)

    def along(self, path: Path, level: float) -> PathTest:
        """The tests of a path that may spend `level` in all."""
        slices = self._slice[path.rows]
        parts = [replace(path, rows=path.rows[slices == name]) for name in self._names]
        return _CommonPathTest(tuple(self._evidence.along(part, level) for part in parts))


@dataclass(frozen=True, slots=True, eq=False)
class _CommonPathTest:
    parts: tuple[PathTest, ...]

    def rejects(self, nodes: slice, level: float) -> BoolArray:
        passed = [part.rejects(nodes, level) for part in self.parts]
        return np.asarray(np.logical_and.reduce(passed))

    def p_value(self, node: int) -> float:
        return max(part.p_value(node) for part in self.parts)

    def risk_upper_bound(self, node: int, level: float) -> float:
        return max(part.risk_upper_bound(node, level) for part in self.parts)
