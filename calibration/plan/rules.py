"""Rules that choose thresholds, to be compared, and a comparison of cascades.

The baselines are those of Jung, Brahman and Choi, "Trust or Escalate" (ICLR 2025): ask the
strongest judge about everything; trust a stated confidence as if it were a probability; or choose
the thresholds whose risk on the labels meets the target, without a test.

Every cascade looked at is certified at an equal part of the failure probability, so that all of the
certificates hold together and the best of them may be used.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike

from calibration.arrays import FloatArray, IntArray
from calibration.cascade import checked_costs
from calibration.certify import METHODS, Certificate, certify_cascade
from calibration.errors import InvalidArgument, Rng, UnavailableMethod, as_generator
from calibration.sample import Sample

DEFAULT_RULES: Final = (
    "no_selection",
    "heuristic",
    "cascaded_heuristic",
    "point_estimate",
    "published_code",
    "auto",
)


@dataclass(frozen=True, slots=True, eq=False)
class Labels:
    """The labelled data that a rule may use.

    Attributes:
        sample: The labelled pairs of the calibration side.
        pool: Confidences of pairs of other groups, shape (m, k), nan where a judge failed, without
            labels. None: no such pairs.
        target_risk: Largest share of disagreeing verdicts that is wanted.
        declared: What else a certificate is made with: costs, failure probability, bounds.
    """

    sample: Sample
    pool: FloatArray | None
    target_risk: float
    declared: Mapping[str, Any]


Rule = Callable[[Labels, np.random.Generator], FloatArray]


def rule_of(name: str) -> Rule:
    """Return the rule of this name: a baseline, or a method of `certify_cascade`.

    A rule takes labels and a source of chance, and returns thresholds, shape (k,).

    Raises:
        UnavailableMethod: There is no such rule.
    """
    if name in BASELINES:
        return BASELINES[name]
    if name not in METHODS:
        offered = ", ".join((*BASELINES, *METHODS))
        raise UnavailableMethod(f"rule {name!r} is not offered; there are {offered}")
    return lambda labels, rng: _certified(name, labels, rng)


def _no_selection(labels: Labels, _: np.random.Generator) -> FloatArray:
    """Let the last judge answer whatever its confidence is."""
    return _last_alone(labels.sample.n_judges, 0.0)


def _heuristic(labels: Labels, _: np.random.Generator) -> FloatArray:
    """Let the last judge answer where its confidence reaches the target agreement."""
    return _last_alone(labels.sample.n_judges, 1.0 - labels.target_risk)


def _cascaded_heuristic(labels: Labels, _: np.random.Generator) -> FloatArray:
    """Let every judge answer where its confidence reaches the target agreement."""
    return np.full(labels.sample.n_judges, 1.0 - labels.target_risk)


def _point_estimate(labels: Labels, _: np.random.Generator) -> FloatArray:
    """Take, judge after judge, the lowest threshold whose risk on the labels left meets the target."""
    sample = labels.sample
    stakes = np.ones(sample.n) if sample.stakes is None else sample.stakes
    thresholds = np.full(sample.n_judges, np.inf)
    left: IntArray = np.arange(sample.n)
    for judge in range(sample.n_judges):
        scores = sample.confidence[left, judge]
        risky = stakes[left] * sample.loss[left, judge]
        thresholds[judge] = _lowest_within(scores, risky, stakes[left], labels.target_risk)
        left = left[~(scores >= thresholds[judge])]
    return thresholds


def _certified(method: str, labels: Labels, rng: np.random.Generator) -> FloatArray:
    """Return what the certificate of a method would deploy."""
    sample = labels.sample
    is_scored = sample.confidence > -np.inf
    certificate = certify_cascade(
        np.where(is_scored, sample.confidence, np.nan),
        1.0 - sample.loss,
        target_risk=labels.target_risk,
        groups=sample.group,
        weights=sample.weight,
        exposure=sample.exposure,
        pool=labels.pool,
        method=method,  # type: ignore[arg-type]
        rng=rng,
        **labels.declared,
    )
    return certificate.thresholds


def _last_alone(n_judges: int, threshold: float) -> FloatArray:
    thresholds = np.full(n_judges, np.inf)
    thresholds[-1] = threshold
    return thresholds


def _lowest_within(
    scores: FloatArray, lost: FloatArray, stakes: FloatArray, target_risk: float
) -> float:
    """Return the lowest score down to which the share lost is at most the target, or +inf."""
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] > -np.inf]
    ranked = scores[order]
    is_end_of_ties = np.append(ranked[1:] < ranked[:-1], True)[: ranked.size]
    share = np.cumsum(lost[order]) / np.cumsum(stakes[order])
    within = np.flatnonzero(is_end_of_ties & (share <= target_risk))
    return float(ranked[within[-1]]) if within.size else np.inf


BASELINES: Final[Mapping[str, Rule]] = {
    "no_selection": _no_selection,
    "heuristic": _heuristic,
    "cascaded_heuristic": _cascaded_heuristic,
    "point_estimate": _point_estimate,
}


_MOST_CASCADES = 500


@dataclass(frozen=True, slots=True, eq=False)
class CascadePlan:
    """A cascade with its certificate.

    Attributes:
        judges: Columns of the judges, in the order in which they are asked.
        certificate: Of this cascade at its part of the failure probability; its thresholds are in
            the order of `judges`.
        is_efficient: No other cascade of the same target covers as much for less, or more for as
            little; only certified ones are.
    """

    judges: tuple[int, ...]
    certificate: Certificate
    is_efficient: bool


def sub_cascades(n_judges: int, *, all_orders: bool = False) -> tuple[tuple[int, ...], ...]:
    """Return every choice of at least one judge, in the given order or in every order.

    Args:
        n_judges: Number of judges, from cheap to strong.
        all_orders: Also those that ask a later judge before an earlier one.

    Example:
        >>> sub_cascades(2)
        ((0,), (1,), (0, 1))
        >>> len(sub_cascades(3, all_orders=True))
        15
    """
    ways = itertools.permutations if all_orders else itertools.combinations
    chosen: list[tuple[int, ...]] = []
    for size in range(1, n_judges + 1):
        chosen.extend(ways(range(n_judges), size))
    return tuple(chosen)


def compare_cascades(  # noqa: PLR0913 - what a certificate takes, and the plan
    confidence: ArrayLike,
    correct: ArrayLike,
    targets: Sequence[float],
    *,
    rng: Rng,
    cascades: Iterable[Sequence[int]] | None = None,
    costs: ArrayLike | None = None,
    pool: ArrayLike | None = None,
    failure_probability: float = 0.1,
    **options: Any,
) -> tuple[CascadePlan, ...]:
    """Certify several cascades for several targets; all certificates hold together.

    With probability at least 1 - failure_probability the promise of every certificate is kept, so
    that cascade and target may be chosen after looking.

    Args:
        confidence: Shape (n, k), nan where a judge failed.
        correct: Agreement with people, shape (n, k).
        targets: Target risks.
        rng: Source of all draws.
        cascades: Columns of the judges of each cascade, in the order of asking; by default every
            choice of judges in the order given.
        costs: Cost of asking each judge, shape (k,).
        pool: Confidences of other pairs, shape (m, k).
        failure_probability: Of all certificates together.
        options: Passed to `certify_cascade`.

    Returns:
        The cascades of each target, by falling coverage and rising cost.

    Raises:
        InvalidArgument: No target, no or too many cascades, or one that names no or unknown judges.

    Example:
        >>> chance = np.random.default_rng(0)
        >>> confidence = chance.uniform(0.5, 1.0, (400, 2))
        >>> correct = chance.uniform(size=(400, 2)) < confidence
        >>> plans = compare_cascades(confidence, correct, [0.2], rng=0, costs=[1, 10])
        >>> [(plan.judges, plan.is_efficient) for plan in plans]
        [((0, 1), True), ((0,), True), ((1,), False)]
    """
    scores, agreement = np.asarray(confidence, np.float64), np.asarray(correct, np.float64)
    if scores.ndim != 2:
        raise InvalidArgument(f"confidence must have shape (pairs, judges), not {scores.shape}")
    k = scores.shape[1]
    prices, chance = checked_costs(costs, k), as_generator(rng)
    chosen = [tuple(one) for one in (sub_cascades(k) if cascades is None else cascades)]
    _check(chosen, targets, k)
    level = failure_probability / (len(chosen) * len(targets))
    others = None if pool is None else np.asarray(pool, np.float64)
    plans: list[CascadePlan] = []
    for target in targets:
        made = [
            CascadePlan(
                judges,
                certify_cascade(
                    scores[:, judges],
                    agreement[:, judges],
                    target_risk=target,
                    failure_probability=level,
                    costs=prices[list(judges)],
                    pool=None if others is None else others[:, judges],
                    rng=chance,
                    **options,
                ),
                is_efficient=False,
            )
            for judges in chosen
        ]
        plans.extend(sorted(_marked(made), key=_rank))
    return tuple(plans)


def _marked(plans: list[CascadePlan]) -> list[CascadePlan]:
    figures = [(one.certificate.coverage, -one.certificate.cost_per_pair) for one in plans]
    return [
        replace(
            plan,
            is_efficient=plan.certificate.is_certified
            and not any(
                other != own and other[0] >= own[0] and other[1] >= own[1] for other in figures
            ),
        )
        for plan, own in zip(plans, figures, strict=True)
    ]


def _rank(plan: CascadePlan) -> tuple[bool, float, float]:
    certificate = plan.certificate
    return not certificate.is_certified, -certificate.coverage, certificate.cost_per_pair


def _check(cascades: Sequence[tuple[int, ...]], targets: Sequence[float], n_judges: int) -> None:
    if not targets or not cascades or len(cascades) > _MOST_CASCADES:
        raise InvalidArgument(
            f"there must be at least one target and 1 to {_MOST_CASCADES} cascades, not "
            f"{len(targets)} and {len(cascades)}"
        )
    for judges in cascades:
        is_known = all(0 <= judge < n_judges for judge in judges)
        if not judges or not is_known or len(set(judges)) < len(judges):
            raise InvalidArgument(
                f"a cascade names judges 0 to {n_judges - 1}, each once, not {list(judges)}"
            )
