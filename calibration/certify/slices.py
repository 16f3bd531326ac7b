"""Certifies a sample in its parts: for one target or a menu, in one piece or slice by slice.

Parts share the failure probability. The certificates of slices add up to one for the whole.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calibration.arrays import IntArray
from calibration.binomial import wilson_interval
from calibration.cascade import ABSTAINED, decide
from calibration.certify.certificate import Certificate
from calibration.certify.evidence import shares_as_they_come
from calibration.certify.issuing import WITHOUT_PROBABILITY, claim_in_menu, panel_words
from calibration.certify.methods import certified_by_method
from calibration.certify.panel import Panel
from calibration.certify.prepare import Request, SliceRule, prepare
from calibration.errors import InvalidArgument, UndeclaredBound
from calibration.estimate import Estimate
from calibration.intervals import DEFAULT_CONFIDENCE_LEVEL
from calibration.sample import Sample


def decide_in_slices(
    certificate: Certificate, confidence: ArrayLike, slices: ArrayLike
) -> IntArray:
    """Decide each pair by the certificate of its slice; an unknown slice abstains.

    Args:
        certificate: A certificate made with slices.
        confidence: Shape (n, k).
        slices: Slice of each pair, shape (n,), compared as text.

    Raises:
        InvalidArgument: The certificate has no slices, or shapes do not match.

    Example:
        >>> from calibration.certify import certify_cascade
        >>> sure, slices = np.full((200, 1), 0.9), np.repeat(["maths", "poems"], 100)
        >>> right = (slices == "maths")[:, None]
        >>> found = certify_cascade(sure, right, target_risk=0.1, slices=slices, rng=0)
        >>> decide_in_slices(found, [[0.9], [0.9], [0.9]], ["maths", "poems", "law"])
        array([ 0, -1, -1])
    """
    scores = np.asarray(confidence, dtype=np.float64)
    if not certificate.has_slices:
        raise InvalidArgument("this certificate was made without slices")
    judge = np.full(len(scores), ABSTAINED, dtype=np.int64)
    for part, rows in certificate.in_force(slices, len(scores)):
        judge[rows] = decide(scores[rows], part.thresholds)
    return judge


def shares_of_slices(slice_of_row: IntArray, request: Request, rule: SliceRule) -> list[float]:
    """Return each slice's part of the failure probability, for rules other than "common".

    Slices that hold together share it evenly, unless labels arrive one by one: the part of a slice
    must not depend on which others have turned up by now.
    """
    if rule == "joint" and request.method == "sequential":
        return [float(share) for share in shares_as_they_come(slice_of_row)]
    n_slices = int(slice_of_row.max()) + 1
    return [1.0 / n_slices if rule == "joint" else 1.0] * n_slices


def joined(parts: Sequence[Certificate], request: Request, rule: SliceRule) -> Certificate:
    """Return what the slices of one target add up to; a pair of no known slice is abstained.

    Args:
        parts: Certificates of all slices, and of all targets that were declared together.
        request: The target to sum up, with the failure probability of all parts together.
        rule: What the slices hold.
    """
    main = [part for part in parts if part.target_risk == request.target_risk]
    n = sum(part.n for part in main)
    answered = sum(part.answered for part in main)
    share = np.array([part.n / n if n else 0.0 for part in main])
    agreed = sum(part.answered * (part.agreement or 0.0) for part in main)
    certified = [part for part in main if part.is_certified]
    dearest = float(request.costs[-1])
    mean_cost = float(share @ [part.cost_per_pair for part in main])
    panel = _panel(request, certified)
    return Certificate(
        thresholds=np.full(request.costs.size, np.inf),
        is_certified=bool(certified),
        is_valid=all(part.is_valid for part in main),
        target_risk=request.target_risk,
        failure_probability=request.failure_probability,
        risk_upper_bound=max((part.risk_upper_bound for part in certified), default=1.0),
        coverage=float(share @ [part.coverage for part in main]),
        agreement=agreed / answered if answered else None,
        n=n,
        groups=sum(part.groups for part in main),
        answered=answered,
        disagreements=sum(part.disagreements for part in main),
        composition=share @ np.array([part.composition for part in main]),
        cost_per_pair=mean_cost,
        relative_cost=mean_cost / dearest if dearest > 0 else None,
        # thresholds common to all slices rest on one sample, of which every part tells
        set_aside=_over(rule, [part.set_aside for part in main]),
        dropped=_over(rule, [part.dropped for part in main]),
        method=main[0].method,
        path=None,
        p_value=max((part.p_value for part in certified), default=1.0),
        level=min((part.level for part in certified), default=0.0),
        nodes_tested=sum(part.nodes_tested for part in main),
        claim=_claim(request, rule, len(certified), len(main))
        + panel_words(panel, is_promised=bool(certified)),
        certificates=tuple(parts),
        scope=request.scope,
        saved_labels=_saved_labels(main) if request.scope == "dataset" and certified else None,
        panel=panel,
    )


def _panel(request: Request, certified: Sequence[Certificate]) -> Panel | None:
    """Return the votes of all slices; tested where third votes show the promise in each."""
    if request.panel is None:
        return None
    tested = [part.panel is not None and part.panel.assumption == "tested" for part in certified]
    return replace(
        request.panel.figures, assumption="tested" if tested and all(tested) else "assumed"
    )


def _saved_labels(parts: Sequence[Certificate]) -> Estimate:
    """Return the share of pairs over all slices that people need not label."""
    n = sum(part.n for part in parts)
    saved = sum(part.n * part.coverage for part in parts)
    low, high = wilson_interval(saved, n, DEFAULT_CONFIDENCE_LEVEL)
    return Estimate(saved / n, float(low), float(high), DEFAULT_CONFIDENCE_LEVEL, n)


def _claim(request: Request, rule: SliceRule, certified: int, n: int) -> str:
    agreement, probability = 1 - request.target_risk, 1 - request.failure_probability
    held = {
        "joint": f"with probability at least {probability:.4g} all these promises hold together",
        "each": f"each promise holds alone with probability at least {probability:.4g}, not all of "
        "them together",
        "common": f"with probability at least {probability:.4g} the same thresholds keep the promise "
        "in every one of them",
    }
    if request.method in WITHOUT_PROBABILITY:
        held[rule] = "no probability is promised, for one of them or for all together"
    at = f"an agreement of {agreement:.4g}"
    if request.scope == "dataset":
        at = f"a share of at most {request.target_risk:.4g} of all their pairs with a wrong verdict"
    return (
        f"{certified} of {n} slices are certified at {at}; "
        f"{held[rule]}. Pairs of the other slices, and of unknown ones, are abstained."
    )


def _over(rule: SliceRule, counts: Sequence[int]) -> int:
    return max(counts, default=0) if rule == "common" else sum(counts)


SLICE_RULES: tuple[str, ...] = get_args(SliceRule)
_TOLERANCE = 1e-9


class Parts(NamedTuple):
    """The parts in which a sample is certified: slices with their rule, and further targets."""

    slices: ArrayLike | None
    menu: Sequence[float] | None
    slice_rule: SliceRule


def certify_sample(
    sample: Sample,
    request: Request,
    parts: Parts,
    rng: np.random.Generator,
) -> Certificate:
    """Certify a checked sample for one target, or for several, or slice by slice."""
    targets = dict.fromkeys((request.target_risk, *(parts.menu or ())))
    requests = request.for_each(targets)
    sample = _as_declared(sample, request)
    if parts.slices is not None:
        return _certify_slices(sample, np.asarray(parts.slices), requests, parts.slice_rule, rng)
    first, *further = _certify_menu(sample, requests, request.failure_probability, rng)
    return replace(first, certificates=tuple(further))


def _as_declared(sample: Sample, request: Request) -> Sample:
    """Check a sample against the bounds declared for it, and forget equal weights without one.

    A declared bound says that the probabilities of being labelled differ. Weights that are then all
    equal are so by chance: no pair that was likely to be left unlabelled was drawn, and counts would
    certify the pairs that were likely to be labelled for all.

    Raises:
        InvalidArgument: The sample breaks a declared bound.
        UndeclaredBound: Unequal weights come without a bound that their test needs.
    """
    group, weight = sample.group, sample.weight
    largest_group = int(np.bincount(group).max()) if group.size else 0
    cap, floor = request.max_group_size, request.min_label_probability
    if cap is not None and largest_group > cap:
        raise InvalidArgument(f"max_group_size is {cap}, but a group has {largest_group} pairs")
    if weight is None or (floor is None and np.ptp(weight) <= _TOLERANCE * weight[0]):
        return replace(sample, weight=None)
    if floor is None:
        raise UndeclaredBound("unequal weights need min_label_probability, declared in advance")
    if weight.max() > 1.0 / floor + _TOLERANCE:
        raise InvalidArgument("a weight is above 1 / min_label_probability")
    if cap is None and largest_group > 1:
        raise UndeclaredBound("weights on groups of several pairs need max_group_size")
    return sample


def _certify_menu(
    sample: Sample, requests: list[Request], level: float, rng: np.random.Generator
) -> list[Certificate]:
    """Return the certificates of all targets, which hold together at the level."""
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
        for part in _certify_menu(
            sample.rows(number == index), _in_slice(requests, str(names[index])), level * share, rng
        )
    ]
    return joined(parts, requests[0], rule)


def _in_slice(requests: list[Request], name: str) -> list[Request]:
    """Return the requests with the third votes of one slice, where there are any."""
    return [
        one if one.panel is None else replace(one, panel=one.panel.of_slice(name))
        for one in requests
    ]


def _certify(
    sample: Sample, request: Request, level: float, rng: np.random.Generator
) -> Certificate:
    """Return one certificate at its part of the failure probability."""
    request = replace(request, failure_probability=level)
    prepared = prepare(sample, request, rng)
    return certified_by_method(prepared, request, rng)
