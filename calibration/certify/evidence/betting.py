"""Tests by betting: over independent groups, and as labels arrive.

A gambler who stakes a fraction b on term Z gains the factor 1 - b Z. If E[Z] >= 0 and b was chosen
before Z, the wealth is a supermartingale, so it ever reaches 1/p with probability at most p (Ville);
p = 1 / the largest wealth is a p-value (Waudby-Smith and Ramdas 2024). Half of the stake follows the
terms seen so far, the other half is split over fixed fractions: the first is quick where the case is
clear, the second wins in the long run. Here Z is the sum over a group's answered pairs of
(loss - target) / probability of being labelled.

At a node whose cascade has answered N pairs with K disagreements so far, the evidence against "the
risk is at least the target" is the likelihood ratio of all smaller risks, mixed evenly, to the
target: E = B(K + 1, N - K + 1) I_t(K + 1, N - K + 1) / (t t^K (1 - t)^(N - K)), where t is the target
and I the regularised incomplete beta function. Every factor of it has an expectation of at most 1
while the risk, given all pairs before, is at least t; so E is a nonnegative supermartingale and
p = 1 / the largest E so far is valid at every stopping time (Ville 1939). Shares of annotators and
label probabilities are tested by betting in the order of arrival, which is valid in the same way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import scipy

from calibration.arrays import BoolArray, FloatArray
from calibration.certify.evidence.path_tests import PathTest, Strength, counted_loss
from calibration.certify.paths import Path
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
        return self.p_value_of(risk, *counted_loss(self.sample, self.path.vector(node), self.scope))


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
