"""Thresholds for a whole cascade with a proven risk, or none at all.

The composed cascade is tested, not its judges: along paths of threshold vectors that were fixed
without the labels that test them, a test decides at every node whether the pairs answered there
disagree with people less often than the target (Learn Then Test, Angelopoulos et al. 2021). The
failure probability is split over the paths, and along a path unused level flows on (Wiens 2003), so
that all certified nodes hold together and the one with the highest coverage may be used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calibration.cascade import CascadeCost, cascade_cost, checked_costs, decide
from calibration.certificate import (
    Certificate,
    claim_certified,
    claim_not_valid,
    claim_nothing,
)
from calibration.errors import InvalidArgument, UnavailableMethod
from calibration.evidence import ExactCounts
from calibration.fallback import walk_path
from calibration.paths import answered_loss
from calibration.plan import PortfolioMethod, paths_of
from calibration.preparation import (
    Method,
    Prepared,
    Request,
    check_declared_bounds,
    check_offered,
    check_request,
    prepare,
)
from calibration.sample import FloatArray, Sample, checked_confidence, checked_sample
from calibration.slices import joined
from calibration.stagewise import published_thresholds, stagewise_thresholds

_SAME_COVERAGE = 0.01


@dataclass(frozen=True, slots=True, eq=False)
class _Found:
    """Thresholds that passed, on which pairs, and how clearly."""

    thresholds: FloatArray
    tested: Sample
    path: str
    p_value: float
    level: float
    risk_upper_bound: float


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
    slices: ArrayLike | None = None,
    menu: Sequence[float] | None = None,
    pool: ArrayLike | None = None,
    randomized: bool = False,
    pooled_evidence: ArrayLike | None = None,
    method: Method = "auto",
) -> Certificate:
    """Choose thresholds so that the verdicts given agree with people, or certify nothing.

    With probability at least 1 - failure_probability over the calibration pairs, the disagreement
    among the pairs that the returned thresholds answer is below `target_risk`.

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
        min_label_probability: Declared lower bound on those probabilities.
        slices: Shape (n,); each slice gets a certificate of its own, all hold together.
        menu: Further target risks; the certificates of all targets hold together.
        pool: Shape (m, k), confidences of pairs of other groups; they fix where tests start.
            Without them a tenth of the groups (15 to 100) gives its confidences only.
        randomized: Not offered; must be False.
        pooled_evidence: Not offered; must be None.
        method: "auto" is a portfolio of fixed paths; "diagonal", "strongest" and "learned" are its
            parts; "stagewise" certifies judge by judge; "published_code" is a comparison without
            a guarantee.

    Raises:
        InvalidArgument: An array has the wrong shape, or a value is out of its range.
        UnavailableMethod: The method or variant is not offered.
        UndeclaredBound: Weights without `min_label_probability`, or weights with several pairs a
            group without `max_group_size`.
    """
    check_offered(method, randomized, pooled_evidence)
    sample = checked_sample(confidence, correct, groups, weights)
    request = Request(
        target_risk,
        failure_probability,
        method,
        checked_costs(costs, sample.n_judges),
        None if pool is None else checked_confidence("pool", pool, sample.n_judges),
        max_group_size,
        min_label_probability,
    )
    targets = dict.fromkeys((target_risk, *(menu or ())))
    requests = [replace(request, target_risk=target) for target in targets]
    for one in requests:
        check_request(one)
    check_declared_bounds(sample, request)
    if slices is not None:
        return _certify_slices(sample, np.asarray(slices), requests, rng)
    level = failure_probability / len(requests)
    first, *others = (_certify(sample, one, level, rng) for one in requests)
    return replace(first, certificates=tuple(others))


def _certify_slices(
    sample: Sample, slices: NDArray[np.generic], requests: list[Request], rng: np.random.Generator
) -> Certificate:
    if slices.shape != (sample.n,):
        raise InvalidArgument(f"slices must have shape ({sample.n},), not {slices.shape}")
    if not sample.n:
        raise InvalidArgument("slices need at least one pair")
    text = slices.astype(str)
    names = np.unique(text).tolist()
    level = requests[0].failure_probability / (len(names) * len(requests))
    parts = tuple(
        replace(_certify(sample.rows(text == name), request, level, rng), slice=name)
        for name in names
        for request in requests
    )
    return joined(
        parts, requests[0].target_risk, requests[0].failure_probability, requests[0].costs
    )


def _certify(
    sample: Sample, request: Request, level: float, rng: np.random.Generator
) -> Certificate:
    """One certificate at its part of the failure probability."""
    request = replace(request, failure_probability=level)
    prepared = prepare(sample, request, rng)
    if request.method == "published_code":
        return _published(prepared, request)
    if request.method == "stagewise":
        found, nodes_tested = _stagewise(prepared, request)
    else:
        found, nodes_tested = _along_paths(prepared, request, request.method, rng)
    if found is None:
        return _nothing(prepared, request, nodes_tested)
    return _certified(found, prepared, request, nodes_tested)


def _along_paths(
    prepared: Prepared, request: Request, method: PortfolioMethod, rng: np.random.Generator
) -> tuple[_Found | None, int]:
    """Walk every path; of the last nodes certified choose the best covered, then the cheapest."""
    nodes_tested = 0
    found: list[_Found] = []
    paths = paths_of(
        method,
        prepared.sample,
        prepared.pool,
        test=(request.target_risk, request.failure_probability),
        costs=request.costs,
        is_coarse=prepared.evidence.is_coarse,
        rng=rng,
    )
    for path in paths:
        level = path.share * request.failure_probability
        test = prepared.evidence.along(path, level)
        walk = walk_path(level * path.entry_weights, test.rejects)
        nodes_tested += walk.tested
        if walk.last >= 0:
            found.append(
                _Found(
                    path.vector(walk.last),
                    prepared.sample.rows(path.rows),
                    path.name,
                    test.p_value(walk.last),
                    walk.level,
                    test.risk_upper_bound(walk.last, walk.level),
                )
            )
    return _best(found, prepared.sample, request.costs), nodes_tested


def _best(found: list[_Found], sample: Sample, costs: FloatArray) -> _Found | None:
    if not found:
        return None
    spent = [_cost(sample, one.thresholds, costs) for one in found]
    coverage = [float(cost.composition.sum()) for cost in spent]
    near = [i for i in range(len(found)) if coverage[i] >= max(coverage) - _SAME_COVERAGE]
    return found[min(near, key=lambda i: (spent[i].per_pair, -coverage[i]))]


def _stagewise(prepared: Prepared, request: Request) -> tuple[_Found | None, int]:
    _require_counts(prepared, request)
    stages = stagewise_thresholds(
        prepared.sample, prepared.pool, request.target_risk, request.failure_probability
    )
    if not np.isfinite(stages.thresholds).any():
        return None, stages.nodes_tested
    found = _Found(
        stages.thresholds,
        prepared.sample,
        "stagewise",
        stages.p_value,
        stages.level,
        stages.risk_upper_bound,
    )
    return found, stages.nodes_tested


def _published(prepared: Prepared, request: Request) -> Certificate:
    _require_counts(prepared, request)
    thresholds = published_thresholds(
        prepared.sample, request.target_risk, request.failure_probability
    )
    found = _Found(thresholds, prepared.sample, "published_code", 1.0, 0.0, 1.0)
    return replace(
        _certified(found, prepared, request, 0),
        is_certified=False,
        is_valid=False,
        path=None,
        claim=claim_not_valid(request.target_risk),
    )


def _nothing(prepared: Prepared, request: Request, nodes_tested: int) -> Certificate:
    thresholds = np.full(prepared.sample.n_judges, np.inf)
    found = _Found(thresholds, prepared.sample, "", 1.0, 0.0, 1.0)
    return replace(
        _certified(found, prepared, request, nodes_tested),
        is_certified=False,
        path=None,
        claim=claim_nothing(request.target_risk, request.failure_probability),
    )


def _certified(
    found: _Found, prepared: Prepared, request: Request, nodes_tested: int
) -> Certificate:
    tested = found.tested
    is_answered, loss = answered_loss(tested, found.thresholds)
    cost = _cost(tested, found.thresholds, request.costs)
    weight = (np.ones(tested.n) if tested.weight is None else tested.weight) * is_answered
    found.thresholds.flags.writeable = False
    return Certificate(
        thresholds=found.thresholds,
        is_certified=True,
        is_valid=True,
        target_risk=request.target_risk,
        failure_probability=request.failure_probability,
        risk_upper_bound=found.risk_upper_bound,
        coverage=float(cost.composition.sum()),
        agreement=1.0 - float(weight @ loss / weight.sum()) if is_answered.any() else None,
        n=tested.n,
        groups=tested.n_groups,
        answered=int(is_answered.sum()),
        disagreements=float(loss.sum()),
        composition=cost.composition,
        cost_per_pair=cost.per_pair,
        relative_cost=cost.relative,
        set_aside=prepared.set_aside,
        dropped=prepared.dropped,
        method=request.method,
        path=found.path,
        p_value=found.p_value,
        level=found.level,
        nodes_tested=nodes_tested,
        claim=claim_certified(request.target_risk, request.failure_probability, prepared.promise),
    )


def _cost(sample: Sample, thresholds: FloatArray, costs: FloatArray) -> CascadeCost:
    return cascade_cost(decide(sample.confidence, thresholds), thresholds, costs, sample.weight)


def _require_counts(prepared: Prepared, request: Request) -> None:
    if not isinstance(prepared.evidence, ExactCounts):
        raise UnavailableMethod(
            f"method {request.method!r} needs agreement of 0 or 1 and equal label probabilities"
        )
