"""Tests that may be looked at after every label, and stopped at any time.

At a node whose cascade has answered N pairs with K disagreements so far, the evidence against "the
risk is at least the target" is the likelihood ratio of all smaller risks, mixed evenly, to the
target: E = B(K + 1, N - K + 1) I_t(K + 1, N - K + 1) / (t t^K (1 - t)^(N - K)), where t is the target
and I the regularised incomplete beta function. Every factor of it has an expectation of at most 1
while the risk, given all pairs before, is at least t; so E is a nonnegative supermartingale and
p = 1 / the largest E so far is valid at every stopping time (Ville 1939). Shares of annotators and
label probabilities are tested by betting in the order of arrival, which is valid in the same way.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from calibration.arrays import BoolArray, FloatArray
from calibration.betting import mean_p_value
from calibration.evidence import PathTest
from calibration.paths import Path, answered_loss
from calibration.sample import Sample


class ArrivingPairs:
    """Anytime-valid tests of pairs in the order in which their labels came."""

    is_coarse = True

    def __init__(
        self, sample: Sample, target_risk: float, largest_stake: float | None = None
    ) -> None:
        """Bind the test.

        Args:
            sample: The pairs, one a group, in the order of arrival.
            target_risk: Risk to be refuted.
            largest_stake: Declared bound on a pair's weight where it is tested by betting; None for
                losses of 0 and 1 without weights.
        """
        self._sample = sample
        self._target_risk = target_risk
        self._largest_stake = largest_stake

    def along(self, path: Path, level: float) -> PathTest:
        """The tests of a path; they need no level in advance."""
        tested = self._sample.rows(path.rows)
        return _ArrivingPathTest(path, tested, self._target_risk, self._largest_stake)


@dataclass(frozen=True, slots=True, eq=False)
class _ArrivingPathTest:
    path: Path
    sample: Sample
    target_risk: float
    largest_stake: float | None

    def rejects(self, nodes: slice, level: float) -> BoolArray:
        passed = np.zeros(nodes.stop - nodes.start, dtype=np.bool_)
        for offset, node in enumerate(range(nodes.start, nodes.stop)):
            if self.p_value(node) > level:
                break
            passed[offset] = True
        return passed

    def p_value(self, node: int) -> float:
        is_answered, loss = answered_loss(self.sample, self.path.vector(node))
        if self.largest_stake is None:
            return arrival_p_value(loss[is_answered], self.target_risk)
        terms = np.where(is_answered, loss - self.target_risk, 0.0)
        stakes = self.sample.stakes
        if stakes is not None:
            terms = terms * stakes
        return mean_p_value(terms, (1.0 - self.target_risk) * self.largest_stake)

    def risk_upper_bound(self, node: int, level: float) -> float:
        return self.target_risk


def arrival_p_value(loss: FloatArray, target_risk: float) -> float:
    """P-value of "the risk is at least the target" after any number of answered pairs.

    Args:
        loss: 0 or 1 for each answered pair, in the order of arrival, shape (n,).
        target_risk: Risk to be refuted, in (0, 1).
    """
    if not loss.size:
        return 1.0
    return float(np.exp(-max(0.0, float(log_evidence(loss, target_risk).max()))))


def log_evidence(loss: FloatArray, target_risk: float) -> FloatArray:
    """Logarithm of E after each answered pair, shape (n,); -inf where it is below all numbers."""
    answered = np.arange(1.0, loss.size + 1.0)
    lost = np.cumsum(loss)
    kept = answered - lost
    # Where the incomplete beta function underflows the errors speak for the null: nothing replaces
    # the logarithm of 0, since any floor would be evidence out of nothing.
    with np.errstate(divide="ignore"):
        log_share = np.log(special.betainc(lost + 1.0, kept + 1.0, target_risk))
    log_mixed = special.betaln(lost + 1.0, kept + 1.0) + log_share - np.log(target_risk)
    log_target = lost * np.log(target_risk) + kept * np.log1p(-target_risk)
    return np.asarray(log_mixed - log_target, dtype=np.float64)
