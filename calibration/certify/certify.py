"""Thresholds for a whole cascade with a proven risk, or none at all.

The composed cascade is tested, not its judges: along paths of threshold vectors that were fixed
without the labels that test them, a test decides at every node whether the pairs answered there
disagree with people less often than the target (Learn Then Test, Angelopoulos et al. 2021). The
failure probability is split over the paths, and along a path unused level flows on (Wiens 2003), so
that all certified nodes hold together and the one with the highest coverage may be used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calibration.arrays import FloatArray
from calibration.cascade import checked_costs
from calibration.certify.certificate import (
    Certificate,
    claim_average,
    claim_certified,
    claim_in_menu,
    claim_not_valid,
    claim_nothing,
)
from calibration.certify.methods import find_thresholds
from calibration.certify.paths import answered_loss
from calibration.certify.prepare import (
    Method,
    Prepared,
    Request,
    SliceRule,
    as_designed,
    check_declared_bounds,
    check_offered,
    check_request,
    prepare,
)
from calibration.certify.slices import joined, shares_of_slices
from calibration.certify.walk import Found, Outcome, cost_of
from calibration.errors import InvalidArgument
from calibration.sample import Sample, checked_confidence, checked_sample

SLICE_RULES: tuple[str, ...] = get_args(SliceRule)
_EXPOSED = "Every verdict counts by the exposure of its pair."
_MORE_SAID = {
    "sequential": "It holds at whatever number of labels the test is stopped.",
    "simultaneous": "It holds for every target at once, so the target may be chosen afterwards.",
}


def certify_cascade(  # noqa: PLR0913 - the published interface, keyword-only but for the data
    confidence: ArrayLike,
    correct: ArrayLike,
    *,
    target_risk: float,
    rng: np.random.Generator,
    costs: ArrayLike | None = None,
    failure_probability: float = 0.1,
    groups: ArrayLike | None = None,
    max_group_size: int | None = None,
    weights: ArrayLike | None = None,
    min_label_probability: float | None = None,
    exposure: ArrayLike | None = None,
    slices: ArrayLike | None = None,
    slice_rule: SliceRule = "joint",
    menu: Sequence[float] | None = None,
    pool: ArrayLike | None = None,
    randomized: bool = False,
    pooled_evidence: ArrayLike | None = None,
    method: Method = "auto",
) -> Certificate:
    """Choose thresholds so that the verdicts given agree with people, or certify nothing.

    With probability at least 1 - failure_probability over the calibration pairs, the disagreement
    among the pairs that the returned thresholds answer is below `target_risk`. Assumed: the groups
    of calibration pairs and of later pairs are independent and identically distributed, and judges,
    prompts, `pool` and every argument here were chosen without looking at these labels.

    Args:
        confidence: Shape (n, k), judges from cheap to strong, in [0, 1]; nan where a judge failed.
        correct: Agreement with people, shape (n, k), 0/1 or a share; read where confidence is not
            nan. Shares are tested by betting, 0/1 by exact counts.
        target_risk: Largest share of disagreeing verdicts promised, in (0, 1).
        rng: Source of every draw: which pair of a group, which labels are set aside, or learn.
        costs: Cost of asking each judge, shape (k,); equal by default.
        failure_probability: Probability that the promise is broken, in (0, 1).
        groups: Shape (n,); pairs of one group may depend on each other. One pair a group is drawn
            unless `max_group_size` is given and fewer than 95% of the groups are single.
        max_group_size: Declared bound on the size of any group, now or later.
        weights: Shape (n,), 1 / the known probability that the pair was chosen for labelling.
        min_label_probability: Declared lower bound on those probabilities; it says they differ.
        exposure: Shape (n,), the share of each pair that the promise is about, in (0, 1]; where the
            promise is on annotators with a preference, the share of a pair's annotators who have
            one. The risk is then the exposed disagreement over the exposure of what is answered.
        slices: Shape (n,); each slice gets a certificate of its own.
        slice_rule: "joint": the certificates of all slices hold together; "each": every one has the
            whole failure probability and holds alone; "common": one threshold vector that keeps the
            promise in every slice, refuted slice by slice at the whole level.
        menu: Further target risks; the certificates of all targets hold together.
        pool: Shape (m, k), confidences of pairs of other groups; they fix where tests start.
            Without them a tenth of the groups (15 to 100) gives its confidences only.
        randomized: Test with one number drawn before the labels are read, so that the size of the
            test is the level itself; for methods that walk paths.
        pooled_evidence: Shape (n, 2), confidence and agreement of one more tier that is heard after
            every judge was asked and costs nothing (`pooling.pooled_preference`). It is the last of
            then k + 1 thresholds, and `pool` needs its confidences as column k + 1.
        method: "auto" is a portfolio of fixed paths; "diagonal", "strongest" and "learned" are its
            parts; "pareto_testing" learns an order on half of the labels; "stagewise" certifies
            judge by judge; "simultaneous" bounds a few cascades for every target at once;
            "sequential" reads the rows in the order of arrival and holds at any stopping time;
            "average" bounds the expected risk on the pool, with no probability; "published_code" is
            a comparison without a guarantee.

    Raises:
        InvalidArgument: An array has the wrong shape, or a value is out of its range.
        UnavailableMethod: The method or variant is not offered.
        UndeclaredBound: Weights without `min_label_probability`, or weights with several pairs a
            group without `max_group_size`.
    """
    check_offered(method, randomized, rng)
    data = _with_pooled_tier(confidence, correct, pooled_evidence)
    sample = as_designed(checked_sample(*data, groups, weights, exposure), min_label_probability)
    n_judges = sample.n_judges - (pooled_evidence is not None)
    prices = checked_costs(costs, n_judges)
    request = Request(
        target_risk,
        failure_probability,
        method,
        prices if pooled_evidence is None else np.append(prices, 0.0),
        None if pool is None else checked_confidence("pool", pool, sample.n_judges),
        max_group_size,
        min_label_probability,
        randomized,
        pooled_evidence is not None,
        slices is not None and slice_rule == "common",
        groups is not None,
    )
    targets = dict.fromkeys((target_risk, *(menu or ())))
    requests = [replace(request, target_risk=target) for target in targets]
    for one in requests:
        check_request(one)
    check_declared_bounds(sample, request)
    if slices is None:
        first, *others = _certify_menu(sample, requests, failure_probability, rng)
        return replace(first, certificates=tuple(others))
    return _certify_slices(sample, np.asarray(slices), requests, slice_rule, rng)


def _with_pooled_tier(
    confidence: ArrayLike, correct: ArrayLike, pooled_evidence: ArrayLike | None
) -> tuple[ArrayLike, ArrayLike]:
    if pooled_evidence is None:
        return confidence, correct
    scores, agreement = np.asarray(confidence, np.float64), np.asarray(correct, np.float64)
    pooled = np.asarray(pooled_evidence, np.float64)
    if scores.ndim != 2 or agreement.shape != scores.shape or pooled.shape != (len(scores), 2):
        raise InvalidArgument(
            f"pooled_evidence must have shape ({len(scores)}, 2), confidence and correct one shape "
            f"of (pairs, judges); they have {pooled.shape}, {scores.shape} and {agreement.shape}"
        )
    return np.column_stack([scores, pooled[:, 0]]), np.column_stack([agreement, pooled[:, 1]])


def _certify_menu(
    sample: Sample, requests: list[Request], level: float, rng: np.random.Generator
) -> list[Certificate]:
    """Certificates of all targets, holding together at the level."""
    if len(requests) == 1:
        return [_certify(sample, requests[0], level, rng)]
    if requests[0].method == "simultaneous":
        # the same draws bound the same cascades, once for all targets
        seed = int(rng.integers(2**63))
        made = [_certify(sample, one, level, np.random.default_rng(seed)) for one in requests]
    else:
        made = [_certify(sample, one, level / len(requests), rng) for one in requests]
    place = len(made), requests[0].method, level
    return [replace(one, claim=claim_in_menu(one.claim, *place)) for one in made]


def _certify_slices(
    sample: Sample,
    slices: NDArray[np.generic],
    requests: list[Request],
    rule: SliceRule,
    rng: np.random.Generator,
) -> Certificate:
    if rule not in SLICE_RULES:
        raise InvalidArgument(f"slice_rule must be one of {', '.join(SLICE_RULES)}, not {rule!r}")
    if slices.shape != (sample.n,):
        raise InvalidArgument(f"slices must have shape ({sample.n},), not {slices.shape}")
    if not sample.n:
        raise InvalidArgument("slices need at least one pair")
    names, number = np.unique(slices.astype(str), return_inverse=True)
    number = number.reshape(-1)
    sample = replace(sample, slice=number)
    level = requests[0].failure_probability
    if rule == "common":
        whole = _certify_menu(sample, requests, level, rng)
        parts = [
            replace(part, slice=str(names[int(part.slice or 0)]))
            for common in whole
            for part in common.certificates
        ] or [replace(none_tested, slice=str(name)) for none_tested in whole for name in names]
        return replace(joined(parts, requests[0], rule), thresholds=whole[0].thresholds)
    parts = [
        replace(part, slice=str(names[index]))
        for index, share in enumerate(shares_of_slices(number, requests[0], rule))
        for part in _certify_menu(sample.rows(number == index), requests, level * share, rng)
    ]
    return joined(parts, requests[0], rule)


def _certify(
    sample: Sample, request: Request, level: float, rng: np.random.Generator
) -> Certificate:
    """One certificate at its part of the failure probability."""
    request = replace(request, failure_probability=level)
    prepared = prepare(sample, request, rng)
    outcome = find_thresholds(prepared, request, rng)
    if request.method == "published_code":
        certificate = _certificate(outcome, prepared, request, claim_not_valid(request.target_risk))
        return replace(certificate, is_certified=False, is_valid=False, path=None)
    if outcome.found is None:
        claim = claim_nothing(request.target_risk, level)
        nobody = np.full(sample.n_judges, np.inf)
        found = Found(nobody, prepared.sample, "", 1.0, 0.0, 1.0)
        certificate = _certificate(replace(outcome, found=found), prepared, request, claim)
        parts = tuple(replace(p, is_certified=False, path=None) for p in certificate.certificates)
        return replace(certificate, is_certified=False, path=None, certificates=parts)
    if request.method == "average":
        claim = claim_average(request.target_risk, prepared.promise)
        return _certificate(outcome, prepared, request, claim)
    said = _MORE_SAID.get(request.method, "")
    if prepared.sample.exposure is not None:
        said = f"{_EXPOSED} {said}".rstrip()
    claim = claim_certified(request.target_risk, level, prepared.promise, said)
    return _certificate(outcome, prepared, request, claim)


def _certificate(outcome: Outcome, prepared: Prepared, request: Request, claim: str) -> Certificate:
    """What was found, with its figures on the pairs that tested it; certified unless changed."""
    found = outcome.found
    assert found is not None
    found.thresholds.flags.writeable = False
    whole = Certificate(
        thresholds=found.thresholds,
        is_certified=True,
        is_valid=True,
        target_risk=request.target_risk,
        failure_probability=request.failure_probability,
        risk_upper_bound=found.risk_upper_bound,
        set_aside=prepared.set_aside,
        dropped=prepared.dropped,
        method=request.method,
        path=found.path,
        p_value=found.p_value,
        level=found.level,
        nodes_tested=outcome.nodes_tested,
        claim=claim,
        paths=outcome.paths,
        bounds=outcome.bounds,
        uniform=prepared.uniform,
        **_figures(found.tested, found.thresholds, request),
    )
    if not request.is_common or found.tested.slice is None:
        return whole
    return replace(whole, certificates=_slices_of(whole, found.tested, request))


def _slices_of(whole: Certificate, tested: Sample, request: Request) -> tuple[Certificate, ...]:
    """The same certificate with the figures of each slice, which has its number for a name."""
    assert tested.slice is not None
    return tuple(
        replace(
            whole,
            slice=str(number),
            **_figures(tested.rows(tested.slice == number), whole.thresholds, request),
        )
        for number in np.unique(tested.slice).tolist()
    )


def _figures(tested: Sample, thresholds: FloatArray, request: Request) -> dict[str, Any]:
    is_answered, loss = answered_loss(tested, thresholds)
    cost = cost_of(tested, thresholds, request)
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
    }
