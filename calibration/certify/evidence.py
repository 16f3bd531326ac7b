"""The tests of a path: by exact counts, by betting, and by betting as labels arrive.

A gambler who stakes a fraction b on term Z gains the factor 1 - b Z. If E[Z] >= 0 and b was chosen
before Z, the wealth is a supermartingale, so it ever reaches 1/p with probability at most p (Ville);
p = 1 / the largest wealth is a p-value (Waudby-Smith and Ramdas 2024). Half of the stake follows the
terms seen so far, the other half is split over fixed fractions: the first is quick where the case is
clear, the second wins in the long run.

Losses of 0 and 1 on independent pairs are tested by exact binomial counts. Shares of annotators,
unequal label probabilities and groups of dependent pairs are tested by betting on
Z = sum over a group's answered pairs of (loss - target) / probability of being labelled.

At a node whose cascade has answered N pairs with K disagreements so far, the evidence against "the
risk is at least the target" is the likelihood ratio of all smaller risks, mixed evenly, to the
target: E = B(K + 1, N - K + 1) I_t(K + 1, N - K + 1) / (t t^K (1 - t)^(N - K)), where t is the target
and I the regularised incomplete beta function. Every factor of it has an expectation of at most 1
while the risk, given all pairs before, is at least t; so E is a nonnegative supermartingale and
p = 1 / the largest E so far is valid at every stopping time (Ville 1939). Shares of annotators and
label probabilities are tested by betting in the order of arrival, which is valid in the same way.

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

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple, Protocol

import numpy as np
import scipy

from calibration.arrays import BoolArray, FloatArray, IntArray
from calibration.binomial import (
    LARGEST_UNCONDITIONAL,
    p_value,
    unconditional_critical_errors,
    upper_bound,
)
from calibration.cascade import answered_loss, decide
from calibration.certify.paths import Path, break_points, scores
from calibration.sample import Sample, Scope, numbered

# No term may cost more than three quarters of what is at stake.
_LARGEST_BET = 0.75
_FIXED_BETS = _LARGEST_BET * np.array([0.2, 0.35, 0.55, 1.0])
_SHARES = np.array([0.5, 0.125, 0.125, 0.125, 0.125])
# One imagined term before the first: it lets the gambler bet at once.
_PRIOR_MEAN, _PRIOR_SQUARE = -0.1, 0.0625
# how finely a bound by betting is looked for, and where the search ends
_ODDS_STEP, _SMALLEST_RISK = 1.02**2, 1e-3


def mean_p_value(terms: FloatArray, largest_term: float) -> float:
    """Return the p-value of "the expected term is at least 0", for independent terms in order.

    Args:
        terms: Shape (n,), each at most `largest_term`.
        largest_term: Declared bound on a term, known without looking at the terms.

    Example:
        >>> mean_p_value(np.full(100, -0.1), largest_term=0.9) < 0.05
        True
    """
    if not terms.size:
        return 1.0
    return _p_value_of(_log_wealth(terms / largest_term))


def mixed_p_value(terms: FloatArray, largest_terms: FloatArray) -> float:
    """Return the p-value of "every one of some expected terms is at least 0", by even shares.

    Args:
        terms: Shape (gamblers, n), independent from column to column, in order.
        largest_terms: Declared bound on each gambler's terms, shape (gamblers,).

    Example:
        >>> mixed_p_value(np.full((2, 100), [[-0.1], [0.1]]), np.array([0.9, 0.9])) < 0.05
        True
    """
    if not terms.size:
        return 1.0
    logs = np.array([_log_wealth(row) for row in terms / largest_terms[:, None]])
    highest = logs.max(axis=0)
    return _p_value_of(highest + np.log(np.exp(logs - highest).mean(axis=0)))


def _log_wealth(scaled: FloatArray) -> FloatArray:
    factors = np.log1p(-_FIXED_BETS[:, None] * scaled)
    followed = np.log1p(-following_bets(scaled) * scaled)
    log_wealth = np.cumsum(np.vstack([followed, factors]), axis=1)
    highest = log_wealth.max(axis=0)
    return np.asarray(highest + np.log(_SHARES @ np.exp(log_wealth - highest)))


def _p_value_of(log_wealth: FloatArray) -> float:
    return float(np.exp(-max(0.0, float(log_wealth.max()))))


def following_bets(scaled: FloatArray) -> FloatArray:
    """Return growth-optimal bets to second order: -mean / mean square of the terms before each.

    Args:
        scaled: Terms over their declared bound, shape (n,).
    """
    before = np.arange(1.0, scaled.size + 1.0)
    total = _PRIOR_MEAN + np.cumsum(scaled) - scaled
    squares = _PRIOR_SQUARE + np.cumsum(scaled**2) - scaled**2
    bets: FloatArray = np.clip(-(total / before) / (squares / before), 0.0, _LARGEST_BET)
    return bets


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


def _counted_loss(
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


@dataclass(frozen=True, slots=True, eq=False)
class _NodeByNode:
    """A path whose nodes are tested one after the other.

    `p_value_of` takes a risk to be refuted, which pairs the risk is a share of and the loss of each,
    the latter two of shape (n,).
    """

    path: Path
    sample: Sample
    scope: Scope
    target_risk: float
    p_value_of: Callable[[float, BoolArray, FloatArray], float]

    def rejects(self, nodes: slice, level: float) -> BoolArray:
        passed = np.zeros(nodes.stop - nodes.start, dtype=np.bool_)
        for offset, node in enumerate(range(nodes.start, nodes.stop)):
            if self._p_value(node, self.target_risk) > level:
                break
            passed[offset] = True
        return passed

    def strength(self, node: int, level: float) -> Strength:
        return Strength(self._p_value(node, self.target_risk), self.target_risk)

    def largest_risk(self, nodes: slice, level: float) -> float:
        """Refute smaller and smaller risks, each at the whole level as long as all before were."""
        bound = self.target_risk
        while bound > _SMALLEST_RISK:
            risk = bound / (bound + _ODDS_STEP * (1.0 - bound))
            if any(self._p_value(node, risk) > level for node in range(nodes.start, nodes.stop)):
                break
            bound = risk
        return bound

    def _p_value(self, node: int, risk: float) -> float:
        return self.p_value_of(
            risk, *_counted_loss(self.sample, self.path.vector(node), self.scope)
        )


def _terms(
    sample: Sample, target_risk: float, is_counted: BoolArray, loss: FloatArray
) -> FloatArray:
    """Return what each pair adds to a bet: its loss above the target, times its stake; (n,)."""
    terms = np.where(is_counted, loss - target_risk, 0.0)
    return terms if sample.stakes is None else terms * sample.stakes


class Betting:
    """Tests by betting over independent groups; nodes are few and fixed by the pool."""

    is_coarse = True

    def __init__(
        self,
        sample: Sample,
        target_risk: float,
        largest_stake: float,
        rng: np.random.Generator,
        scope: Scope = "answered",
    ) -> None:
        """Fix the order in which groups are bet on.

        Args:
            sample: The pairs.
            target_risk: Risk to be refuted.
            largest_stake: Declared bound on a group's size times a pair's weight.
            rng: Draws the order.
            scope: What the risk is a share of.
        """
        self._sample = sample
        self._scope = scope
        self._target_risk = target_risk
        self._largest_stake = largest_stake
        self._order = rng.permutation(sample.n_groups)

    def along(self, path: Path, level: float) -> PathTest:
        """Return the tests of a path; betting needs no level in advance."""
        turn = numbered(self._order[self._sample.group[path.rows]])
        sample, stake = self._sample.rows(path.rows), self._largest_stake

        def p_value_of(risk: float, is_counted: BoolArray, loss: FloatArray) -> float:
            terms = _terms(sample, risk, is_counted, loss)
            totals = np.bincount(turn, terms, sample.n_groups).astype(np.float64)
            return mean_p_value(totals, (1.0 - risk) * stake)

        return _NodeByNode(path, sample, self._scope, self._target_risk, p_value_of)


class ArrivingPairs:
    """Anytime-valid tests of pairs in the order in which their labels came."""

    is_coarse = True

    def __init__(
        self,
        sample: Sample,
        target_risk: float,
        largest_stake: float | None = None,
        scope: Scope = "answered",
    ) -> None:
        """Bind the test.

        Args:
            sample: The pairs, one a group, in the order of arrival.
            target_risk: Risk to be refuted.
            largest_stake: Declared bound on a pair's weight where it is tested by betting; None for
                losses of 0 and 1 without weights.
            scope: What the risk is a share of.
        """
        self._sample = sample
        self._scope = scope
        self._target_risk = target_risk
        self._largest_stake = largest_stake

    def along(self, path: Path, level: float) -> PathTest:
        """Return the tests of a path; they need no level in advance."""
        sample, stake = self._sample.rows(path.rows), self._largest_stake

        def p_value_of(risk: float, is_counted: BoolArray, loss: FloatArray) -> float:
            if stake is None:
                return arrival_p_value(loss[is_counted], risk)
            return mean_p_value(_terms(sample, risk, is_counted, loss), (1.0 - risk) * stake)

        return _NodeByNode(path, sample, self._scope, self._target_risk, p_value_of)


def arrival_p_value(loss: FloatArray, target_risk: float) -> float:
    """Return the p-value of "the risk is at least the target" after any number of answered pairs.

    Args:
        loss: 0 or 1 for each answered pair, in the order of arrival, shape (n,).
        target_risk: Risk to be refuted, in (0, 1).
    """
    if not loss.size:
        return 1.0
    return float(np.exp(-max(0.0, float(log_evidence(loss, target_risk).max()))))


def log_evidence(loss: FloatArray, target_risk: float) -> FloatArray:
    """Return log E after each answered pair, shape (n,); -inf where E is below all numbers."""
    answered = np.arange(1.0, loss.size + 1.0)
    lost = np.cumsum(loss)
    kept = answered - lost
    # Where the incomplete beta function underflows the errors speak for the null: nothing replaces
    # the logarithm of 0, since any floor would be evidence out of nothing.
    with np.errstate(divide="ignore"):
        log_share = np.log(scipy.special.betainc(lost + 1.0, kept + 1.0, target_risk))
    log_mixed = scipy.special.betaln(lost + 1.0, kept + 1.0) + log_share - np.log(target_risk)
    log_target = lost * np.log(target_risk) + kept * np.log1p(-target_risk)
    return np.asarray(log_mixed - log_target, dtype=np.float64)


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
