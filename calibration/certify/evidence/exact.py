"""Exact binomial tests; every break point of a path may be a node."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import scipy

from calibration.arrays import BoolArray, FloatArray, IntArray
from calibration.binomial import (
    LARGEST_UNCONDITIONAL,
    p_value,
    unconditional_critical_errors,
    upper_bound,
)
from calibration.certify.evidence.path_tests import Counts, PathTest, Strength, path_counts
from calibration.certify.paths import Path
from calibration.sample import Sample, Scope


class ExactCounts:
    """Exact binomial tests; every break point may be a node."""

    is_coarse = False

    def __init__(
        self,
        sample: Sample,
        target_risk: float,
        uniform: float | None = None,
        scope: Scope = "answered",
    ) -> None:
        """Bind the test.

        Args:
            sample: The pairs, one a group, with losses of 0 and 1.
            target_risk: Risk to be refuted.
            uniform: A number drawn from U(0, 1) before the losses were read: the test is then
                randomised, so that its size is the level itself.
            scope: What the risk is a share of.
        """
        self._sample = sample
        self._target_risk = target_risk
        self._uniform = uniform
        self._scope = scope
        self._counted: dict[Path, Counts] = {}

    def against(self, target_risk: float) -> ExactCounts:
        """Return the tests of another risk on the same pairs, which are not counted again."""
        other = ExactCounts(self._sample, target_risk, self._uniform, self._scope)
        other._counted = self._counted
        return other

    def along(self, path: Path, level: float) -> PathTest:
        """Return the tests of a path that may spend `level` in all."""
        if path not in self._counted:
            self._counted[path] = path_counts(path, self._sample)
        counts, n = self._counted[path], path.rows.size
        if self._scope == "dataset":
            counts = replace(counts, answered=np.full_like(counts.answered, n))
        if self._uniform is not None:
            return _RandomizedPathTest(counts, self._target_risk, self._uniform)
        # only a random number of trials leaves slack to be spent
        is_plain = self._scope == "dataset" or n > LARGEST_UNCONDITIONAL
        return _ExactPathTest(counts, None if is_plain else n, self._target_risk, level)


@dataclass(frozen=True, slots=True, eq=False)
class _ExactPathTest:
    counts: Counts
    n: int | None
    target_risk: float
    total_level: float

    def rejects(self, nodes: slice, level: float) -> BoolArray:
        answered, lost = self.counts.answered[nodes], self.counts.lost[nodes]
        level = min(level, self.total_level)
        if self.n is None:
            return _conditional_rejects(answered, lost, self.target_risk, level)
        table = unconditional_critical_errors(self.n, self.target_risk, level).critical
        # A smaller level may never allow what the whole level does not: the flow relies on it.
        whole = unconditional_critical_errors(self.n, self.target_risk, self.total_level).critical
        return np.asarray(lost <= np.minimum(table, whole)[answered])

    def strength(self, node: int, level: float) -> Strength:
        lost, answered = self.counts.lost[node], self.counts.answered[node]
        # The counts enlarged for the target prove the target and nothing below it.
        bound = min(float(upper_bound(lost, answered, level)), self.target_risk)
        return Strength(float(p_value(lost, answered, self.target_risk)), bound)

    def largest_risk(self, nodes: slice, level: float) -> float:
        return _largest_bound(self.counts, nodes, level, self.target_risk)


@dataclass(frozen=True, slots=True, eq=False)
class _RandomizedPathTest:
    """P(K' < K) + U P(K' = K) for K' ~ Bin(N, target): uniform where the risk is the target.

    Each node's p-value is valid by itself, whatever number all of them share, and a walk needs no
    more than that.
    """

    counts: Counts
    target_risk: float
    uniform: float

    def rejects(self, nodes: slice, level: float) -> BoolArray:
        return self._p_values(nodes) <= level

    def strength(self, node: int, level: float) -> Strength:
        return Strength(float(self._p_values(slice(node, node + 1))[0]), self.target_risk)

    def largest_risk(self, nodes: slice, level: float) -> float:
        return _largest_bound(self.counts, nodes, level, self.target_risk)

    def _p_values(self, nodes: slice) -> FloatArray:
        answered, lost = self.counts.answered[nodes], self.counts.lost[nodes]
        up_to = p_value(lost, answered, self.target_risk)
        below = np.where(
            lost > 0, p_value(np.maximum(lost - 1, 0), answered, self.target_risk), 0.0
        )
        # a cascade that answers nothing has shown nothing
        return np.where(answered > 0, below + self.uniform * (up_to - below), 1.0)


def _largest_bound(counts: Counts, nodes: slice, level: float, target_risk: float) -> float:
    bounds = upper_bound(counts.lost[nodes], counts.answered[nodes], level)
    return min(float(bounds.max()), target_risk)


def _conditional_rejects(
    answered: IntArray, lost: FloatArray, target_risk: float, level: float
) -> BoolArray:
    """Exact test; nodes that Chernoff's bound already settles are spared the beta function."""
    rate = lost / np.maximum(answered, 1)
    divergence = scipy.special.rel_entr(rate, target_risk) + scipy.special.rel_entr(
        1 - rate, 1 - target_risk
    )
    passes = np.asarray((rate < target_risk) & (answered * divergence >= -np.log(level)))
    unsettled = np.flatnonzero(~passes)
    passes[unsettled] = p_value(lost[unsettled], answered[unsettled], target_risk) <= level
    return passes
