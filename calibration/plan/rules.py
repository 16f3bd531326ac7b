"""Which judges to put into a cascade, honestly chosen among many.

Every cascade looked at is certified at an equal part of the failure probability, so that all of the
certificates hold together and the best of them may be used.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from calibration.cascade import checked_costs
from calibration.certificate import Certificate
from calibration.certify import certify_cascade
from calibration.errors import InvalidArgument

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
    """Every choice of at least one judge, in the given order or in every order.

    Args:
        n_judges: Number of judges, from cheap to strong.
        all_orders: Also those that ask a later judge before an earlier one.
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
    rng: np.random.Generator,
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
    """
    scores, agreement = np.asarray(confidence, np.float64), np.asarray(correct, np.float64)
    if scores.ndim != 2:
        raise InvalidArgument(f"confidence must have shape (pairs, judges), not {scores.shape}")
    k = scores.shape[1]
    prices = checked_costs(costs, k)
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
                    rng=rng,
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
