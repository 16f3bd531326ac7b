"""What a certification found: thresholds, the evidence for them, and the promise in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from calibration.arrays import FloatArray

Promise = Literal[
    "pair",
    "pair_of_random_group",
    "first_of_random_group",
    "weighted_pair",
    "weighted_single_pair",
]

# methods that control no failure probability, so that nothing can hold together with one
WITHOUT_PROBABILITY = ("average", "published_code")

_PROMISED_ON = {
    "pair": "",
    "pair_of_random_group": " (for one pair drawn at random from a group drawn at random)",
    "first_of_random_group": " (for the pair of a group drawn at random that is labelled first)",
    "weighted_pair": " (for pairs as they come before the choice which of them to label)",
    "weighted_single_pair": " (for pairs as they come before the choice which of them to label, each "
    "taken to be the only one of its group)",
}


@dataclass(frozen=True, slots=True, eq=False)
class TestedPath:
    """What one path of threshold vectors was tested with, and how far the walk came.

    Attributes:
        name: The path.
        share: Part of the failure probability that belongs to it.
        nodes: Threshold vectors on it.
        tested: Those that were tested before the walk stopped.
        thresholds: The last that passed, shape (k,); None where none did.
        answered: Pairs it answers among those that tested the path.
        disagreements: Their summed disagreement.
        p_value: Its p-value; 1 where none passed.
        level: Level it was tested at; 0 where none passed.
    """

    name: str
    share: float
    nodes: int
    tested: int
    thresholds: FloatArray | None
    answered: int
    disagreements: float
    p_value: float
    level: float


class RiskBound(NamedTuple):
    """An upper bound on the risk of some thresholds; all bounds of a certificate hold together.

    Attributes:
        thresholds: Shape (k,).
        answered: Tested pairs answered.
        disagreements: Those that disagree with people.
        coverage: Share of the tested pairs answered.
        upper_bound: The bound; 1 where nothing was answered.
    """

    thresholds: FloatArray
    answered: int
    disagreements: float
    coverage: float
    upper_bound: float


@dataclass(frozen=True, slots=True, eq=False)
class Certificate:
    """Thresholds of a cascade and what they were certified on.

    Not certified means that nobody answers: every threshold is +inf and the coverage is 0. The one
    exception is a method that is no valid test: it keeps its thresholds, for comparison, and
    says `is_valid` False and `is_certified` False.

    Attributes:
        thresholds: Shape (k,); +inf: this judge never answers.
        is_certified: The thresholds passed a valid test; with slices, those of some slice did.
        is_valid: The method keeps its promise.
        target_risk: Largest risk promised.
        failure_probability: Probability, over the calibration pairs, that the promise is broken.
        risk_upper_bound: For tests by counts the Clopper-Pearson bound of the deployed thresholds at the level that
            their path may spend, never above `target_risk` when certified; the target itself where the test was by betting or randomised; 1 when nothing is certified,
            and where only the average is bounded. It says how clearly the test was passed: what is
            promised is the target.
        coverage: Share of the tested pairs that are answered.
        agreement: Share of the answered that agree with people; None where none is answered.
        n: Number of pairs that tested the deployed path.
        groups: Number of groups among them.
        answered: Number of tested pairs answered.
        disagreements: Their summed disagreement, a whole number unless labels are soft.
        composition: Share of the tested pairs that each judge answers, shape (k,).
        cost_per_pair: Mean cost of a pair, in the units of the costs given.
        relative_cost: Cost over that of asking the last judge on everything; None if that is 0.
        set_aside: Labelled pairs that gave only their confidences, to fix where the test starts.
        dropped: Labelled pairs dropped because another pair of their group was drawn.
        method: The method asked for.
        path: The path whose test passed; None when nothing is certified.
        p_value: Conditional p-value of the deployed thresholds; 1 when nothing is certified. The
            counts in use may allow slightly more than the level where their own slack permits.
        level: Level at which they were tested; 0 when nothing is certified.
        nodes_tested: Number of threshold vectors tested, over all paths.
        claim: The promise in words.
        slice: The slice the certificate is for, as text; None for all pairs.
        certificates: Those of the slices, or of the further targets of a menu.
        paths: What was tested, path by path.
        bounds: Bounds that hold for every target at once; only with method "simultaneous".
        uniform: The number drawn before the labels were read that a randomised test used.
    """

    thresholds: FloatArray
    is_certified: bool
    is_valid: bool
    target_risk: float
    failure_probability: float
    risk_upper_bound: float
    coverage: float
    agreement: float | None
    n: int
    groups: int
    answered: int
    disagreements: float
    composition: FloatArray
    cost_per_pair: float
    relative_cost: float | None
    set_aside: int
    dropped: int
    method: str
    path: str | None
    p_value: float
    level: float
    nodes_tested: int
    claim: str
    slice: str | None = None
    certificates: tuple[Certificate, ...] = ()
    paths: tuple[TestedPath, ...] = ()
    bounds: tuple[RiskBound, ...] = ()
    uniform: float | None = None

    def at_target(self, target_risk: float) -> FloatArray:
        """Thresholds for a target chosen afterwards, from bounds that hold for all targets at once.

        Args:
            target_risk: Any risk, also one chosen after looking at the certificate.

        Returns:
            Shape (k,): of the bounded thresholds within the target those that answer most; all +inf
            where none is within it, or where the certificate has no such bounds.
        """
        within = [bound for bound in self.bounds if bound.upper_bound <= target_risk]
        if not within:
            return np.full(self.thresholds.size, np.inf)
        return max(within, key=lambda bound: bound.coverage).thresholds


def claim_certified(
    target_risk: float, failure_probability: float, promise: Promise, addition: str = ""
) -> str:
    """The promise of thresholds that passed; an addition is a sentence of the method's own."""
    return (
        f"With probability at least {1 - failure_probability:.4g} over the draw of the calibration "
        f"pairs, at least {1 - target_risk:.4g} of the verdicts that this cascade gives agree with "
        f"people{_PROMISED_ON[promise]}. It holds for the whole cascade and for new pairs that come "
        f"as the calibration pairs did, not for any subset of them.{addition and ' ' + addition}"
    )


def claim_average(target_risk: float, promise: Promise) -> str:
    """What is promised by thresholds whose risk is bounded in the mean only."""
    return (
        f"On average over the draw of the calibration pairs and of the pool, at least "
        f"{1 - target_risk:.4g} of the verdicts that this cascade gives on the pool agree with "
        f"people{_PROMISED_ON[promise]}. No probability is promised: the share of one draw may well "
        "be lower."
    )


def claim_in_menu(claim: str, n_targets: int, method: str, failure_probability: float) -> str:
    """A claim among those of several targets that were declared together."""
    if method in WITHOUT_PROBABILITY:
        return f"{claim} It is one of {n_targets} targets, each of them by itself."
    return (
        f"{claim} It is one of {n_targets} targets declared together: with probability at least "
        f"{1 - failure_probability:.4g} what is promised for all of them holds, whichever is used."
    )


def claim_nothing(target_risk: float, failure_probability: float) -> str:
    """What is said when no thresholds passed."""
    return (
        f"An agreement of {1 - target_risk:.4g} could not be certified at failure probability "
        f"{failure_probability:.4g}: the cascade abstains on every pair."
    )


def claim_not_valid(target_risk: float) -> str:
    """What is said of thresholds from a rule that is no valid test."""
    return (
        f"No promise: the rule that chose these thresholds aims at an agreement of "
        f"{1 - target_risk:.4g} but does not control how often it misses it."
    )
