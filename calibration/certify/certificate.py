"""What a certificate is: thresholds, the evidence for them, and the promise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from calibration.arrays import FloatArray, IntArray
from calibration.certify.columns import Decisions, Heard, Rule
from calibration.certify.panel import Panel
from calibration.certify.traffic import Reweighting
from calibration.errors import InvalidArgument
from calibration.estimate import Estimate
from calibration.sample import Scope
from calibration.stack import Columns


@dataclass(frozen=True, slots=True, eq=False)
class TestedPath:
    """The test of one path of threshold vectors, and how far its walk came.

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
        columns: What its thresholds are compared with.
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
    columns: Columns = "raw"


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

    Not certified means that no judge answers: every threshold is +inf and the coverage is 0. The one
    exception is a method that is no valid test: it keeps its thresholds, for comparison, and
    says `is_valid` False and `is_certified` False.

    Attributes:
        thresholds: Shape (k,); +inf: this judge never answers.
        is_certified: The thresholds passed a valid test; with slices, those of some slice did.
        is_valid: The method keeps its promise.
        target_risk: Largest risk promised: of the verdicts given, or with scope "dataset" the largest
            share of all pairs that are given a wrong verdict.
        failure_probability: Probability, over the calibration pairs, that the promise is broken.
        risk_upper_bound: For tests by counts the Clopper-Pearson bound of the deployed thresholds
            at the level that their path may spend, never above `target_risk` when certified; the
            target itself where the test was by betting or randomised; 1 when nothing is certified,
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
        columns: What the thresholds are compared with: "raw" confidences, those of "stacked"
            evidence, or those of a "learned" stack.
        clip: Clip of the probabilities behind stacked or learned columns; None for raw ones.
        weights: Shape (k, 2), weights of a learned stack; None for other columns.
        learning: Labelled pairs that learned the weights and tested nothing.
        max_shift: Declared factor by which any kind of pair may become more frequent or rarer.
        shift_margin: Factor up to which the promise is shown to survive such a change; at least
            `max_shift`. None where nothing is certified.
        traffic: How the labelled pairs stand for other traffic; None where they stand for themselves.
        scope: What the promised risk is a share of: "answered" pairs, or all of a "dataset".
        saved_labels: Share of later pairs that people need not label, with its interval; None where
            nothing is certified, and with scope "answered".
        methods: The methods that were declared together, of which `method` answers most; empty where
            only one was asked for.
        panel: The votes behind a promise about a panel, and what it assumes; None where the promise
            is about the labels that were given.
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
    columns: Columns = "raw"
    clip: float | None = None
    weights: FloatArray | None = None
    learning: int = 0
    max_shift: float = 1.0
    shift_margin: float | None = None
    traffic: Reweighting | None = None
    scope: Scope = "answered"
    saved_labels: Estimate | None = None
    panel: Panel | None = None
    methods: tuple[str, ...] = ()

    @property
    def max_error(self) -> float | None:
        """Largest share of all pairs given a wrong verdict; None with scope "answered"."""
        return self.target_risk if self.scope == "dataset" else None

    @property
    def rule(self) -> Rule:
        """The thresholds and what they are compared with."""
        return Rule(self.columns, self.thresholds)

    @property
    def has_slices(self) -> bool:
        """Whether it was made slice by slice."""
        return any(part.slice is not None for part in self.certificates)

    def in_force(self, slices: ArrayLike | None, n: int) -> list[tuple[Certificate, IntArray]]:
        """Return the certificate in force for each of n pairs, with its rows.

        Pairs of a slice that the certificate does not know have none.

        Raises:
            InvalidArgument: Slices are missing, are not expected, or have another shape.
        """
        if not self.has_slices:
            if slices is not None:
                raise InvalidArgument("this certificate was made without slices")
            return [(self, np.arange(n))]
        if slices is None:
            raise InvalidArgument("this certificate was made with slices: give each pair's slice")
        names = np.asarray(slices).astype(str)
        if names.shape != (n,):
            raise InvalidArgument(f"slices must have shape ({n},), not {names.shape}")
        return [
            (part, np.flatnonzero(names == part.slice))
            for part in self.certificates
            if part.slice is not None and part.target_risk == self.target_risk
        ]

    def decide(
        self, p_a: ArrayLike, p_tie: ArrayLike | None = None, slices: ArrayLike | None = None
    ) -> Decisions:
        """Decide pairs by what the judges prefer.

        Args:
            p_a: Shape (n, k), probability that a is better; nan where a judge failed. What a judge
                that need not be asked would say is not read.
            p_tie: Shape (n, k), probability of a tie, set aside first.
            slices: Slice of each pair, shape (n,), for a certificate with slices; pairs of an
                unknown slice are abstained.

        Raises:
            InvalidArgument: Shapes do not match, or slices are missing or not expected.

        Example:
            >>> from calibration import certify_preferences
            >>> chance = np.random.default_rng(0)
            >>> people = chance.integers(0, 2, 300)
            >>> p_a = np.where(chance.uniform(size=300) < 0.9, people, 1 - people) * 0.8 + 0.1
            >>> found = certify_preferences(p_a[:, None], people, target_risk=0.2, rng=0)
            >>> found.decide([[0.9], [0.1], [np.nan]]).label
            array([ 1,  0, -1])
        """
        shares = np.asarray(p_a, dtype=np.float64)
        n_judges = self.thresholds.size
        if shares.ndim != 2 or shares.shape[1] != n_judges:
            raise InvalidArgument(f"p_a must have shape (pairs, {n_judges}), not {shares.shape}")
        decided = Decisions.none(len(shares), n_judges)
        for part, rows in self.in_force(slices, len(shares)):
            tie = None if p_tie is None else np.asarray(p_tie)[rows]
            heard = Heard(part.columns, n_judges, part.weights)
            decided.put(rows, heard.decisions(shares[rows], tie, part.thresholds))
        return decided

    def at_target(self, target_risk: float) -> FloatArray:
        """Return thresholds for a target chosen afterwards, from bounds that hold for all targets.

        Args:
            target_risk: Any risk, also one chosen after looking at the certificate.

        Returns:
            Shape (k,): of the bounded thresholds within the target those that answer most; all +inf
            where none is within it, or where the certificate has no such bounds.

        Example:
            >>> from calibration.certify import certify_cascade
            >>> sure = np.full((300, 1), 0.9)
            >>> right = np.arange(300)[:, None] % 20 > 0
            >>> found = certify_cascade(sure, right, target_risk=0.2, method="simultaneous", rng=0)
            >>> found.at_target(0.1), found.at_target(0.01)
            (array([0.9]), array([inf]))
        """
        within = [bound for bound in self.bounds if bound.upper_bound <= target_risk]
        if not within:
            return np.full(self.thresholds.size, np.inf)
        return max(within, key=lambda bound: bound.coverage).thresholds
