"""The certificate: thresholds, the evidence for them, and the promise in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from calibration.arrays import BoolArray, FloatArray, IntArray
from calibration.cascade import CascadeCost, answered_loss
from calibration.certify.claims import panel_words, promise_words, saved_words, shift_words
from calibration.certify.columns import Decisions, Heard, Rule
from calibration.certify.panel import Assumption, Panel
from calibration.certify.prepare import Prepared, Request
from calibration.certify.traffic import Reweighting
from calibration.errors import InvalidArgument
from calibration.estimate import Estimate
from calibration.intervals import estimate_share, jackknife_ratio
from calibration.sample import Sample, Scope
from calibration.stack import Columns

# Coverages this near to each other count as the same, and the cheaper cascade is deployed.
_SAME_COVERAGE = 0.01


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


class Passed(NamedTuple):
    """The path on which thresholds passed, and the strength and level of the test."""

    path: str
    p_value: float
    level: float
    risk_upper_bound: float


def issue(
    prepared: Prepared,
    request: Request,
    thresholds: FloatArray,
    passed: Passed | None,
    tested: Sample | None = None,
) -> Certificate:
    """Return the certificate of some thresholds, with their figures on the pairs that tested them.

    Args:
        prepared: What the test worked on.
        request: What was to be certified.
        thresholds: One for each column of the sample, shape (c,).
        passed: How they passed; None where nothing is certified.
        tested: The pairs that tested them; all of them by default.
    """
    tested = prepared.sample if tested is None else tested
    rule = request.layout.rule(thresholds)
    thresholds = rule.thresholds
    thresholds.flags.writeable = False
    said = promise_words(prepared, request, is_certified=passed is not None)
    path, p_value, level, bound = (None, 1.0, 0.0, 1.0) if passed is None else passed
    whole = Certificate(
        thresholds=thresholds,
        is_certified=passed is not None,
        is_valid=request.method != "published_code",
        target_risk=request.target_risk,
        failure_probability=request.failure_probability,
        risk_upper_bound=bound,
        set_aside=prepared.set_aside,
        dropped=prepared.dropped,
        method=request.method,
        path=path,
        p_value=p_value,
        level=level,
        nodes_tested=0,
        claim=said,
        uniform=prepared.uniform,
        columns=rule.columns,
        max_shift=request.max_shift,
        shift_margin=None if passed is None else request.max_shift,
        scope=request.scope,
        panel=None if request.panel is None else request.panel.figures,
        **_figures(tested, rule, request),
    )
    if passed is None:
        whole = replace(whole, saved_labels=None)
    whole = replace(whole, claim=whole.claim + saved_words(whole.saved_labels))
    if not request.is_common or tested.slice is None:
        return whole
    return replace(whole, certificates=_slices_of(whole, tested, request))


def abstaining(prepared: Prepared, request: Request) -> Certificate:
    """Return the certificate of a test that nothing passed."""
    return issue(prepared, request, np.full(prepared.sample.n_judges, np.inf), None)


def with_margin(certificate: Certificate, margin: float, *, is_joint: bool) -> Certificate:
    """Return the certificate, and those of its slices, with the shift that they survive.

    Args:
        certificate: Made without a margin.
        margin: The shift.
        is_joint: The certificate and the margin hold together at the failure probability.
    """
    parts = tuple(replace(part, shift_margin=margin) for part in certificate.certificates)
    said = f"{certificate.claim}{shift_words(margin, certificate.max_shift, is_joint=is_joint)}"
    return replace(certificate, shift_margin=margin, claim=said, certificates=parts)


def with_assumption(certificate: Certificate, assumption: Assumption) -> Certificate:
    """Return a certificate about a panel, and those of its slices, with what it assumes of noise."""
    parts = tuple(with_assumption(part, assumption) for part in certificate.certificates)
    figures = certificate.panel
    if figures is None or not certificate.is_certified:
        return certificate
    figures = replace(figures, assumption=assumption)
    said = f"{certificate.claim}{panel_words(figures, is_promised=True)}"
    return replace(certificate, panel=figures, claim=said, certificates=parts)


def with_tests(
    certificate: Certificate,
    nodes_tested: int,
    paths: tuple[TestedPath, ...] = (),
    bounds: tuple[RiskBound, ...] = (),
) -> Certificate:
    """Return the certificate, and those of its slices, with all that was tested."""
    tests: dict[str, Any] = {"nodes_tested": nodes_tested, "paths": paths, "bounds": bounds}
    parts = tuple(replace(part, **tests) for part in certificate.certificates)
    return replace(certificate, certificates=parts, **tests)


def decided_at_cost(sample: Sample, rule: Rule, request: Request) -> tuple[IntArray, CascadeCost]:
    """Return the column of a sample that answers each pair, -1 where none does, and the cost."""
    judge, column = request.layout.decided(sample.confidence, rule)
    return column, request.layout.cost(judge, rule, request.costs, sample.weight)


def best_covered(certified: Sequence[Certificate], sample: Sample, request: Request) -> int:
    """Return which certificate covers most of the whole sample; of near ones the cheapest."""
    figures = [_coverage_and_cost(one, sample, request) for one in certified]
    most = max(coverage for coverage, _ in figures)
    near = [i for i, (coverage, _) in enumerate(figures) if coverage >= most - _SAME_COVERAGE]
    return min(near, key=lambda i: (figures[i][1], -figures[i][0]))


def _coverage_and_cost(
    certificate: Certificate, sample: Sample, request: Request
) -> tuple[float, float]:
    """Return a certificate's coverage and cost on the whole sample, not on what tested it."""
    if certificate.n == sample.n:
        return certificate.coverage, certificate.cost_per_pair
    _, cost = decided_at_cost(sample, certificate.rule, request)
    return float(cost.composition.sum()), cost.per_pair


def _figures(tested: Sample, rule: Rule, request: Request) -> dict[str, Any]:
    answered_by, cost = decided_at_cost(tested, rule, request)
    is_answered, loss = answered_loss(answered_by, tested.loss)
    weight = (np.ones(tested.n) if tested.stakes is None else tested.stakes) * is_answered
    return {
        "coverage": float(cost.composition.sum()),
        "agreement": 1.0 - float(weight @ loss / weight.sum()) if is_answered.any() else None,
        "n": tested.n,
        "groups": tested.n_groups,
        "answered": int(is_answered.sum()),
        "disagreements": float(loss.sum()),
        "composition": cost.composition,
        "cost_per_pair": cost.per_pair,
        "relative_cost": cost.relative,
        "saved_labels": _saved_labels(is_answered, tested) if request.scope == "dataset" else None,
    }


def _saved_labels(is_answered: BoolArray, tested: Sample) -> Estimate:
    """Estimate the share of pairs that people need not label."""
    if tested.weight is None:
        groups = None if tested.n_groups == tested.n else tested.group
        return estimate_share(is_answered, groups=groups)
    found = jackknife_ratio(tested.weight * is_answered, tested.weight, tested.group)
    return replace(found, n=tested.n)


def _slices_of(whole: Certificate, tested: Sample, request: Request) -> tuple[Certificate, ...]:
    """Return the same certificate with each slice's figures; its name is the slice's number."""
    assert tested.slice is not None
    return tuple(
        replace(
            whole,
            slice=str(number),
            **_figures(tested.rows(tested.slice == number), whole.rule, request),
        )
        for number in np.unique(tested.slice).tolist()
    )


def best_of(found: Sequence[Certificate], failure_probability: float) -> Certificate:
    """Return the best of several certificates that hold together, made by methods declared together.

    Of those that are certified the one with the highest coverage, of near ones the cheapest; the
    first where none is.

    Args:
        found: Each at an equal part of the failure probability.
        failure_probability: That of all together.
    """
    certified = [one for one in found if one.is_certified] or [found[0]]
    most = max(one.coverage for one in certified)
    near = [one for one in certified if one.coverage >= most - _SAME_COVERAGE]
    best = min(near, key=lambda one: (one.cost_per_pair, -one.coverage))
    methods = tuple(one.method for one in found)
    said = (
        f" It comes from {len(methods)} methods that were declared together "
        f"({', '.join(methods)}), each tested at an equal part of the failure probability."
    )
    return _at_level(
        replace(
            best,
            methods=methods,
            claim=best.claim + said,
            paths=tuple(path for one in found for path in one.paths),
            nodes_tested=sum(one.nodes_tested for one in found),
        ),
        best.failure_probability,
        failure_probability,
    )


def _at_level(certificate: Certificate, part: float, whole: float) -> Certificate:
    """Return a certificate that was chosen among several, with the probability of all together."""
    said = certificate.claim
    for before, after in (
        (f"robability at least {1 - part:.4g}", f"robability at least {1 - whole:.4g}"),
        (f"failure probability {part:.4g}", f"failure probability {whole:.4g}"),
    ):
        said = said.replace(before, after)
    parts = tuple(_at_level(one, part, whole) for one in certificate.certificates)
    return replace(certificate, claim=said, failure_probability=whole, certificates=parts)
