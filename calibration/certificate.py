"""What a certification found: thresholds, the evidence for them, and the promise in words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from calibration.sample import FloatArray

Promise = Literal["pair", "pair_of_random_group", "weighted_pair"]

_PROMISED_ON = {
    "pair": "",
    "pair_of_random_group": " (for one pair drawn at random from a group drawn at random)",
    "weighted_pair": " (for pairs as they come before the choice which of them to label)",
}


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
        risk_upper_bound: Clopper-Pearson bound of the deployed thresholds at the nominal level of
            the counts they were tested with, never above `target_risk` when certified; the
            target itself where the test was by betting; 1 when nothing is certified. It says how
            clearly the test was passed: what is promised is the target.
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


def claim_certified(target_risk: float, failure_probability: float, promise: Promise) -> str:
    """The promise of thresholds that passed."""
    return (
        f"With probability at least {1 - failure_probability:.4g} over the draw of the calibration "
        f"pairs, at least {1 - target_risk:.4g} of the verdicts that this cascade gives agree with "
        f"people{_PROMISED_ON[promise]}. It holds for the whole cascade and for new pairs that come "
        "as the calibration pairs did, not for any subset of them."
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
