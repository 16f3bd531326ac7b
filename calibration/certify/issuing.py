"""Issues certificates: their figures on the pairs that tested them, and the promise in words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from calibration.arrays import BoolArray, FloatArray, IntArray
from calibration.cascade import CascadeCost, answered_loss
from calibration.certify.certificate import Certificate, RiskBound, TestedPath
from calibration.certify.columns import Rule
from calibration.certify.panel import Assumption, Panel
from calibration.certify.paths import Path
from calibration.certify.prepare import Prepared, Promise, Request
from calibration.estimate import Estimate
from calibration.intervals import estimate_share, jackknife_ratio
from calibration.sample import Sample

# Coverages this near to each other count as the same, and the cheaper cascade is deployed.
_SAME_COVERAGE = 0.01
# methods that control no failure probability, so that nothing can hold together with one
WITHOUT_PROBABILITY = ("average", "published_code")
_PROMISED_ON: dict[Promise, str] = {
    "pair": "",
    "pair_of_random_group": " (for one pair drawn at random among those pairs of a randomly drawn "
    "group that people decide, groups being drawn as the labelled ones were)",
    "first_of_random_group": " (for the pair of a group drawn at random that is labelled first)",
    "weighted_pair": " (for pairs as they come before the choice which of them to label)",
    "weighted_single_pair": " (for pairs as they come before the choice which of them to label, each "
    "taken to be the only one of its group)",
    "traffic_pair": " (for pairs as they come in the traffic that was given)",
    "traffic_single_pair": " (for pairs as they come in the traffic that was given, one drawn at random "
    "from each group)",
}
_AS = {False: "the calibration pairs", True: "that traffic"}
_PANEL = (
    " People are a panel here: what most annotators would say of a pair if many voted on it. That rests "
    "on votes that are independent given the pair, and on which pairs have votes not depending on what "
    "the votes say."
)
_NOISE: dict[Assumption, str] = {
    "assumed": " It is also assumed, and not tested, that people are no noisier where the verdicts are "
    "wrong than where they are right.",
    "tested": " That people may be noisier where the verdicts are wrong is allowed for: third votes show "
    "the promise without assuming otherwise, in a test of their own at the same failure probability.",
}
_EXPOSED = " Every verdict counts by the exposure of its pair."
_MORE_PROMISED = {
    "sequential": " It holds at whatever number of labels the test is stopped.",
    "simultaneous": " It holds for every target at once, so the target may be chosen afterwards.",
}


def shift_words(margin: float, declared: float, *, is_joint: bool) -> str:
    """Return in words how much the traffic may change before a promise ends."""
    # rounded down: a margin of 1.349 is not one of 1.35
    shown = float(np.floor(margin * 1000 + 1e-6)) / 1000
    if shown == 1.0:
        return " No margin is shown for traffic that changes."
    how = "shown by a test of its own at the same failure probability"
    if margin == declared:
        how = "declared"
    elif is_joint:
        how = "shown by the same test"
    return (
        " It holds as long as no kind of pair becomes more than "
        f"{shown:.4g} times as frequent or as rare as it was ({how})."
    )


def panel_words(panel: Panel | None, *, is_promised: bool) -> str:
    """Return what a promise about a panel means and assumes; nothing without one."""
    if panel is None or not is_promised:
        return ""
    more = ""
    if panel.three_votes and panel.assumption == "assumed":
        more = f" Third votes on {panel.three_votes} pairs do not show the promise without that."
    return f"{_PANEL}{_NOISE[panel.assumption]}{more}"


def saved_words(saved: Estimate | None) -> str:
    """Return in words how many labels a verdict on part of a data set saves."""
    if saved is None or saved.value is None:
        return ""
    ends = "" if saved.low is None else f" ({saved.low:.0%} to {saved.high:.0%})"
    return (
        f" That is about {saved.value:.0%}{ends} of the pairs, whose labels are saved; people label "
        "the others."
    )


def promise_words(prepared: Prepared, request: Request, *, is_certified: bool) -> str:
    """Return the promise in words, or why nothing is promised."""
    agreement = f"{1 - request.target_risk:.4g}"
    on = _PROMISED_ON[prepared.promise]
    if request.method == "published_code":
        return (
            f"No promise: the rule that chose these thresholds aims at an agreement of {agreement} "
            "but does not control how often it misses it."
        )
    if not is_certified and request.scope == "dataset":
        return (
            f"A share of at most {request.target_risk:.4g} of all pairs with a wrong verdict could not "
            f"be certified at failure probability {request.failure_probability:.4g}: the cascade "
            "abstains on every pair, and people label all of them."
        )
    if not is_certified:
        return (
            f"An agreement of {agreement} could not be certified at failure probability "
            f"{request.failure_probability:.4g}: the cascade abstains on every pair."
        )
    if request.method == "average":
        return (
            f"On average over the draw of the calibration pairs and of the pool, at least "
            f"{agreement} of the verdicts that this cascade gives on the pool agree with people{on}. "
            "No probability is promised: the share of one draw may well be lower."
        )
    exposed = "" if prepared.sample.exposure is None else _EXPOSED
    on_traffic = request.method == "weighted"
    if request.scope == "dataset":
        return (
            f"With probability at least {1 - request.failure_probability:.4g} over the draw of the "
            f"calibration pairs, at most {request.target_risk:.4g} of all pairs are given a verdict by "
            f"this cascade with which people disagree{on}. It holds for data sets whose pairs come as "
            f"{_AS[on_traffic]} did, those that people label counted as right, and not for the "
            f"verdicts alone or any other subset.{exposed}{_MORE_PROMISED.get(request.method, '')}"
        )
    return (
        f"With probability at least {1 - request.failure_probability:.4g} over the draw of the "
        f"calibration pairs, at least {agreement} of the verdicts that this cascade gives agree with "
        f"people{on}. It holds for the whole cascade and for new pairs that come as {_AS[on_traffic]} "
        f"did, not for any subset of them.{exposed}{_MORE_PROMISED.get(request.method, '')}"
    )


def claim_in_menu(claim: str, n_targets: int, method: str, failure_probability: float) -> str:
    """Return a claim as one of those of several targets that were declared together."""
    if method in WITHOUT_PROBABILITY:
        return f"{claim} It is one of {n_targets} targets, each of them by itself."
    return (
        f"{claim} It is one of {n_targets} targets declared together: with probability at least "
        f"{1 - failure_probability:.4g} what is promised for all of them holds, whichever is used."
    )


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
    figures = _figures(tested, rule, request)
    if passed is None:
        figures["saved_labels"] = None
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
        claim=said + saved_words(figures["saved_labels"]),
        uniform=prepared.uniform,
        columns=rule.columns,
        max_shift=request.max_shift,
        shift_margin=None if passed is None else request.max_shift,
        scope=request.scope,
        panel=None if request.panel is None else request.panel.figures,
        **figures,
    )
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


def tested_path(path: Path, tested: int, passed: Certificate | None) -> TestedPath:
    """Return what is told of a path: nodes tested, and the certificate of the last that passed."""
    about = path.name, path.share, len(path.thresholds), tested
    if passed is None:
        return TestedPath(*about, None, 0, 0.0, 1.0, 0.0)
    return TestedPath(
        *about,
        passed.thresholds,
        passed.answered,
        passed.disagreements,
        passed.p_value,
        passed.level,
        passed.columns,
    )
