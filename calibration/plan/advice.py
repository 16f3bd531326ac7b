"""What could be certified, and how many labels it would take: advice before and after a test.

Everything here is a plan, made from the same labels that a certificate may be made from; only the
certificate is a promise.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from calibration.arrays import FloatArray
from calibration.binomial import accepted_labels_needed, labels_needed, upper_bound
from calibration.certify import (
    LARGE,
    LEARNING_SHARES,
    STARTS_LARGE,
    Certificate,
    Counts,
    Method,
    certify_cascade,
    default_shares,
    shared_counts,
    stacked_starts,
    with_set_aside,
)
from calibration.errors import InvalidArgument, Rng, as_generator
from calibration.sample import checked_sample, one_row_a_group

__all__ = [
    "Advice",
    "CertifiableTarget",
    "FrontierPoint",
    "accepted_labels_needed",
    "advise",
    "advise_on_dataset",
    "certifiable_target",
    "frontier",
    "labels_needed",
]

_COVERAGES = np.linspace(0.3, 1.0, 8)
_LEARNED_SHARE = 0.3


@dataclass(frozen=True, slots=True)
class CertifiableTarget:
    """A risk that the labels at hand do support.

    Attributes:
        target_risk: Smallest bound over the nodes looked at, all bounds holding together; with scope
            "dataset" the largest error of a data set of whose pairs this share is answered.
        coverage: Share of the pairs answered at that node.
    """

    target_risk: float
    coverage: float


@dataclass(frozen=True, slots=True)
class Advice:
    """Advice for a target that is not certifiable.

    Attributes:
        certifiable: The strictest target these labels support; None where no pair was answered.
        labels_needed: Labels after which the target would be certified with probability .8 if the
            estimated risks are true; None where every estimate reaches the target, so that no
            number of labels will do. With scope "dataset" the labels after which, with the same
            probability, `saving` of all later pairs need none.
        saving: With scope "dataset" the share of people's labels that is then saved: half, or less
            where the estimates allow no more.
    """

    certifiable: CertifiableTarget | None
    labels_needed: int | None
    saving: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class FrontierPoint:
    """A certificate in brief, for one target.

    Attributes:
        target_risk: The target.
        is_certified: Whether thresholds passed.
        coverage: Share of the tested pairs answered; 0 where nothing is certified.
        agreement: Share of those that agree with people; None where none is answered.
        risk_upper_bound: Bound of the deployed thresholds, 1 where nothing is certified.
        composition: Share of the pairs that each judge answers, shape (k,).
        cost_per_pair: Mean cost of a pair.
        relative_cost: Cost over that of asking the last judge on everything; None if that is 0.
        labels_needed: As in `Advice`, also where the target was certified.
    """

    target_risk: float
    is_certified: bool
    coverage: float
    agreement: float | None
    risk_upper_bound: float
    composition: FloatArray
    cost_per_pair: float
    relative_cost: float | None
    labels_needed: int | None

    @classmethod
    def of(cls, certificate: Certificate, labels_needed: int | None) -> FrontierPoint:
        """Return a certificate in brief."""
        return cls(
            certificate.target_risk,
            certificate.is_certified,
            certificate.coverage,
            certificate.agreement,
            certificate.risk_upper_bound,
            certificate.composition,
            certificate.cost_per_pair,
            certificate.relative_cost,
            labels_needed,
        )


def certifiable_target(
    confidence: ArrayLike, correct: ArrayLike, failure_probability: float = 0.1
) -> CertifiableTarget | None:
    """Return the smallest of eight exact bounds on the risk, at coverages from 30% up.

    The nodes share one threshold among all judges, at coverages .3, .4, .. 1; each bound is taken at
    an eighth of the failure probability.

    Args:
        confidence: Shape (n, k), nan where a judge failed.
        correct: Agreement with people, shape (n, k).
        failure_probability: Probability that some bound fails, in (0, 1).

    Returns:
        The target and its coverage; None where fewer than 30% of the pairs can be answered.

    Raises:
        InvalidArgument: Shapes do not match, or values are out of range.

    Example:
        >>> chance = np.random.default_rng(0)
        >>> confidence = chance.uniform(0.5, 1.0, (400, 2))
        >>> correct = chance.uniform(size=(400, 2)) < confidence
        >>> found = certifiable_target(confidence, correct)
        >>> round(found.target_risk, 3), round(found.coverage, 3)
        (0.095, 0.4)
    """
    nodes = _nodes(confidence, correct)
    if not nodes.counts.answered.size:
        return None
    # A bound on 0/1 losses of the same sum, rounded up, is an approximation for shares.
    lost = np.minimum(np.ceil(nodes.counts.lost - 1e-9), nodes.counts.answered)
    bounds = upper_bound(lost, nodes.counts.answered, failure_probability / _COVERAGES.size)
    best = int(bounds.argmin())
    return CertifiableTarget(float(bounds[best]), float(nodes.counts.answered[best] / nodes.n))


_SAVINGS = np.array([0.5, 0.4, 0.3, 0.2, 0.1])


def advise_on_dataset(
    confidence: ArrayLike,
    correct: ArrayLike,
    *,
    max_error: float,
    failure_probability: float = 0.1,
    strongest: tuple[ArrayLike, ArrayLike] | None = None,
) -> Advice:
    """Say which error of a whole data set is certifiable, and which labels save people others.

    Wrong verdicts are counted among all pairs. The labels needed are those with which, with
    probability .8, half of the pairs of a data set are answered, or .4, .3, .2 or .1 of them where
    more would be wrong too often.

    Args:
        confidence: Shape (n, k), nan where a judge failed.
        correct: Agreement with people, shape (n, k).
        max_error: Largest share of all pairs that may be given a wrong verdict.
        failure_probability: Probability that a promise is broken.
        strongest: As for `advise`.

    Raises:
        InvalidArgument: Shapes do not match, or values are out of range.

    Example:
        >>> chance = np.random.default_rng(0)
        >>> confidence = chance.uniform(0.5, 1.0, (400, 2))
        >>> correct = chance.uniform(size=(400, 2)) < confidence
        >>> found = advise_on_dataset(confidence, correct, max_error=0.1)
        >>> found.labels_needed, found.saving
        (83, 0.5)
    """
    scores, agreement = np.asarray(confidence, np.float64), np.asarray(correct, np.float64)
    nodes = _nodes(scores, agreement)
    lost = np.minimum(np.ceil(nodes.counts.lost - 1e-9), nodes.n)
    bounds = upper_bound(lost, nodes.n, failure_probability / _COVERAGES.size)
    certifiable = None
    if bounds.size:
        best = int(bounds.argmin())
        answered = float(nodes.counts.answered[best] / nodes.n)
        certifiable = CertifiableTarget(float(bounds[best]), answered)
    for saving in _SAVINGS.tolist():
        needed = _needed_to_save(
            saving, scores, agreement, strongest, (max_error, failure_probability)
        )
        if needed:
            return Advice(certifiable, min(needed), saving)
    return Advice(certifiable, None)


def _needed_to_save(
    saving: float,
    scores: FloatArray,
    agreement: FloatArray,
    strongest: _Columns | None,
    target: tuple[float, float],
) -> list[int]:
    """Return, by path, with how many labels this share of all pairs is answered."""
    k, is_stacked = scores.shape[1], strongest is not None
    many = default_shares(k, is_stacked=is_stacked, n_groups=LARGE, has_margins=False)
    needed = []
    for name, (columns, share) in _first_paths(scores, agreement, strongest).items():
        nodes = _of_all(_nodes(*columns, np.array([saving])))
        few = [one for one in _needed_at_each(nodes, target, [share]) if one and one < LARGE]
        more = [one for one in _needed_at_each(nodes, target, [many[name]]) if one is not None]
        needed += few or [max(one, LARGE) for one in more]
    return needed


def _of_all(nodes: _Nodes) -> _Nodes:
    """Return counts in which pairs without a verdict count as not wrong."""
    counts = nodes.counts
    return _Nodes(Counts(np.full_like(counts.answered, nodes.n), counts.lost), nodes.n)


def advise(  # noqa: PLR0913 - the evidence, the target, and two facts about the sample
    confidence: ArrayLike,
    correct: ArrayLike,
    *,
    target_risk: float,
    failure_probability: float = 0.1,
    has_pool: bool = True,
    strongest: tuple[ArrayLike, ArrayLike] | None = None,
) -> Advice:
    """Say what is certifiable, and how many labels the target itself would take.

    The labels needed are the fewest with which the default procedure passes a node that it may start
    at: the shared threshold, or the last judge's, at the part of the failure probability that this
    path and start have with so many labels; or, where several judges are heard one at a time, any
    node of `certifiable_target`, in the order that a quarter of 600 labels and more can learn. Every
    candidate needs fewer labels for a looser target, so a looser target never needs more.

    Args:
        confidence: Shape (n, k), nan where a judge failed.
        correct: Agreement with people, shape (n, k).
        target_risk: The target that was wanted.
        failure_probability: Probability that a promise is broken.
        has_pool: There are unlabelled pairs that fix where the test starts; otherwise some of the
            labelled ones give their confidences for it and do not test.
        strongest: Confidence and correctness of the last judge alone, shape (n, 1) each, where the
            columns are those of stacked evidence.

    Raises:
        InvalidArgument: Shapes do not match, or values are out of range.

    Example:
        >>> chance = np.random.default_rng(0)
        >>> confidence = chance.uniform(0.5, 1.0, (400, 2))
        >>> correct = chance.uniform(size=(400, 2)) < confidence
        >>> advise(confidence, correct, target_risk=0.15).labels_needed
        144
    """
    certifiable = certifiable_target(confidence, correct, failure_probability)
    scores, agreement = np.asarray(confidence, np.float64), np.asarray(correct, np.float64)
    target = target_risk, failure_probability
    k = scores.shape[1]
    needed = [
        one
        for name, (columns, share) in _first_paths(scores, agreement, strongest).items()
        for one in _needed_at_starts(
            columns, _raw_starts(name, k) if strongest is None else _starts(name, share), target
        )
    ]
    if strongest is None and k > 1:
        needed += _needed_to_learn(_nodes(scores, agreement), target)
    fewest = min(needed, default=None)
    if fewest is not None and not has_pool:
        fewest = with_set_aside(fewest)
    return Advice(certifiable, fewest)


def frontier(  # noqa: PLR0913 - what a certificate takes, for several targets
    confidence: ArrayLike,
    correct: ArrayLike,
    targets: Sequence[float],
    *,
    rng: Rng,
    failure_probability: float = 0.1,
    costs: ArrayLike | None = None,
    groups: ArrayLike | None = None,
    max_group_size: int | None = None,
    weights: ArrayLike | None = None,
    min_label_probability: float | None = None,
    exposure: ArrayLike | None = None,
    pool: ArrayLike | None = None,
    method: Method = "auto",
) -> tuple[FrontierPoint, ...]:
    """Certify each target by itself and put coverage, cost and labels side by side.

    Every point is the certificate that `certify_cascade` gives for its target from the same state
    of `rng`, and holds alone with the whole failure probability, not all of them together: a menu
    holds together. Labels needed are counted in groups: they are read off one pair of each.

    Args:
        confidence: Shape (n, k), nan where a judge failed.
        correct: Agreement with people, shape (n, k).
        targets: Target risks.
        rng: Source of the draws; every certificate starts from its present state.
        failure_probability: Probability that the promise of one target is broken.
        costs: Cost of each judge, shape (k,).
        groups: Shape (n,), units of exchangeability.
        max_group_size: As for `certify_cascade`, like all that follows.
        weights: Shape (n,).
        min_label_probability: Declared lower bound.
        exposure: Shape (n,).
        pool: Confidences of other pairs, shape (m, k).
        method: How thresholds are chosen and tested.

    Example:
        >>> chance = np.random.default_rng(0)
        >>> confidence = chance.uniform(0.5, 1.0, (400, 2))
        >>> correct = chance.uniform(size=(400, 2)) < confidence
        >>> points = frontier(confidence, correct, [0.1, 0.2, 0.3], rng=0)
        >>> [(point.is_certified, round(point.coverage, 2)) for point in points]
        [(True, 0.42), (True, 0.94), (True, 1.0)]
    """
    sample = checked_sample(confidence, correct, groups)
    chance = as_generator(rng)
    rows = one_row_a_group(sample.group, copy.deepcopy(chance))
    independent = np.asarray(confidence)[rows], np.asarray(correct)[rows]
    points = []
    for target in targets:
        certificate = certify_cascade(
            confidence,
            correct,
            target_risk=target,
            rng=copy.deepcopy(chance),
            costs=costs,
            failure_probability=failure_probability,
            groups=groups,
            max_group_size=max_group_size,
            weights=weights,
            min_label_probability=min_label_probability,
            exposure=exposure,
            pool=pool,
            method=method,
        )
        advice = advise(
            *independent,
            target_risk=target,
            failure_probability=failure_probability,
            has_pool=pool is not None,
        )
        points.append(FrontierPoint.of(certificate, advice.labels_needed))
    return tuple(points)


@dataclass(frozen=True, slots=True, eq=False)
class _Nodes:
    """Counts at the nodes of the shared threshold, and the number of all pairs."""

    counts: Counts
    n: int


_Columns = tuple[ArrayLike, ArrayLike]


class _Start(NamedTuple):
    """A coverage at which a walk starts where there are so many labels, and its part of the level."""

    coverage: float
    share: float
    fewest: int
    most: float


def _first_paths(
    scores: FloatArray, agreement: FloatArray, strongest: _Columns | None
) -> dict[str, tuple[_Columns, float]]:
    """Return the columns of each path of the default procedure, and its part of the level."""
    shares = default_shares(scores.shape[1], is_stacked=strongest is not None)
    last = (scores[:, -1:], agreement[:, -1:]) if strongest is None else strongest
    paths = {"diagonal": (scores, agreement), "strongest": last}
    return {name: (paths[name], share) for name, share in shares.items()}


@cache
def _starts(path: str, share: float) -> tuple[_Start, ...]:
    """Return the coverages at which a walk along stacked evidence starts, in rising order."""
    sizes = [1, *np.geomspace(65, 1_728, 12).astype(np.int64).tolist()]
    starts = [
        _Start(stacked_starts(size)[path], share, size, float(after - 1))
        for size, after in zip(sizes, [*sizes[1:], np.inf], strict=True)
    ]
    return tuple(starts[::-1])


def _raw_starts(path: str, n_judges: int) -> tuple[_Start, ...]:
    """Return the same for judges that are heard one at a time."""
    few, many = (default_shares(n_judges, n_groups=n)[path] for n in (1, LARGE))
    large = [_Start(one.coverage, many * one.weight, LARGE, np.inf) for one in STARTS_LARGE]
    return tuple(sorted([_Start(0.5, few, 1, LARGE - 1), *large]))


def _needed_at_starts(
    columns: _Columns, starts: tuple[_Start, ...], target: tuple[float, float]
) -> list[int]:
    """Return the numbers of labels with which a walk that starts there passes its first node."""
    nodes = _nodes(*columns, np.array([start.coverage for start in starts]), begins=True)
    needed = _needed_at_each(nodes, target, [start.share for start in starts])
    return [
        max(one, start.fewest)
        for one, start in zip(needed, starts, strict=False)
        if one is not None and one <= start.most
    ]


def _needed_to_learn(nodes: _Nodes, target: tuple[float, float]) -> list[int]:
    """Return with how many labels a learned order may pass these nodes: a part of them teaches it."""
    needed = _needed_at_each(nodes, target, [_LEARNED_SHARE] * nodes.counts.answered.size)
    left = 1.0 - LEARNING_SHARES["learned"]
    return [max(int(np.ceil(one / left)), LARGE) for one in needed if one is not None]


def _needed_at_each(
    nodes: _Nodes, target: tuple[float, float], shares: Sequence[float]
) -> list[int | None]:
    target_risk, failure_probability = target
    return [
        labels_needed(lost / answered, answered / nodes.n, target_risk, share * failure_probability)
        for answered, lost, share in zip(
            nodes.counts.answered.tolist(), nodes.counts.lost.tolist(), shares, strict=False
        )
    ]


def _nodes(
    confidence: ArrayLike,
    correct: ArrayLike,
    coverages: FloatArray | None = None,
    *,
    begins: bool = False,
) -> _Nodes:
    """Return the counts at these coverages; `begins`: where walks begin that would begin there."""
    coverages = _COVERAGES if coverages is None else coverages
    sample = checked_sample(confidence, correct)
    if not sample.n:
        raise InvalidArgument("confidence must have at least one row")
    largest = np.sort(sample.confidence.max(axis=1))[::-1]
    rank = np.ceil(coverages * sample.n - 1e-9).astype(np.int64) - 1
    thresholds = largest[rank]
    if begins:
        # where fewer pairs can be answered at all, a walk begins at the last threshold that there is
        answerable = largest[largest > -np.inf]
        thresholds = np.maximum(thresholds, answerable[-1] if answerable.size else -np.inf)
    thresholds = thresholds[thresholds > -np.inf]
    return _Nodes(shared_counts(sample.confidence, sample.loss, thresholds), sample.n)
