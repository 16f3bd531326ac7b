"""How many labels a certificate takes, by simulation; `allocation.py` shares them out.

The closed form of `calibration.binomial.labels_needed` plans one exact test at one node. Here the
whole procedure is run on samples that are drawn from the pilot: with weights from a Dirichlet
distribution (the Bayesian bootstrap of Rubin 1981), because a small pilot is itself uncertain, or
with equal weights where the pilot is as good as the population.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from calibration.arrays import FloatArray, IntArray
from calibration.binomial import wilson_interval
from calibration.certify import (
    Certificate,
    Pairs,
    certify_cascade,
    certify_preferences,
    stacked_evidence,
)
from calibration.errors import InvalidArgument, Rng, as_generator
from calibration.estimate import Estimate
from calibration.plan.advice import advise

_CONFIDENCE_LEVEL = 0.95
_STEP = 1.25


@dataclass(frozen=True, slots=True)
class LabelPlan:
    """Labels to collect for a target.

    Attributes:
        labels: Fewest labels on the grid looked at with the power wanted; None where the largest
            number looked at falls short.
        power: Probability that a certificate of the coverage wanted is made with that many labels,
            or with the largest number looked at, and its Monte Carlo interval.
        low: Labels that the closed form wants in the lower quartile of what the pilot may stand for.
        high: The same in the upper quartile; None where no number of labels will do there.
        hopeless: Share of what the pilot may stand for in which no number of labels will do.
    """

    labels: int | None
    power: Estimate
    low: int | None
    high: int | None
    hopeless: float


def certification_power(  # noqa: PLR0913 - what a certificate takes, and the plan
    confidence: ArrayLike,
    correct: ArrayLike,
    n_labels: int,
    *,
    target_risk: float,
    rng: Rng,
    coverage: float = 0.0,
    runs: int = 200,
    is_pilot_uncertain: bool = True,
    certify: Callable[..., Certificate] = certify_cascade,
    **options: Any,
) -> Estimate:
    """Estimate the probability that a certificate is made on `n_labels` fresh labels.

    Assumed is that the pilot's pairs are independent and come as the labelled pairs will.

    Args:
        confidence: The pilot's confidences, shape (n, k), nan where a judge failed.
        correct: Its agreement with people, shape (n, k).
        n_labels: Labels to be collected, one pair a group.
        target_risk: The target to be certified.
        rng: Draws the samples, and all that the procedure draws.
        coverage: Coverage that the certificate must have on its own sample.
        runs: Samples drawn.
        is_pilot_uncertain: Weigh the pilot's pairs by a Dirichlet draw in every run; otherwise take
            the pilot for the population.
        certify: The procedure, `certify_cascade` or `certify_preferences`. The latter reads p_a in
            the place of `confidence`, shape (n, k), and outcomes in that of `correct`, shape (n,).
        options: Passed to the procedure.

    Raises:
        InvalidArgument: Numbers out of range, or as for `certify_cascade`.

    Example:
        >>> chance = np.random.default_rng(0)
        >>> confidence = chance.uniform(0.5, 1.0, (400, 2))
        >>> correct = chance.uniform(size=(400, 2)) < confidence
        >>> found = certification_power(confidence, correct, 300, target_risk=0.2, rng=0, runs=20)
        >>> found.value, round(found.low, 2), round(found.high, 2)
        (1.0, 0.84, 1.0)
    """
    scores, agreement = np.asarray(confidence, np.float64), np.asarray(correct, np.float64)
    if agreement.shape[:1] != scores.shape[:1]:
        raise InvalidArgument(
            f"confidence and correct must have the same number of pairs, not {scores.shape} and "
            f"{agreement.shape}"
        )
    if n_labels < 1 or runs < 1 or not len(scores):
        raise InvalidArgument("n_labels, runs and the pilot's pairs must be at least 1")
    passed, chance = 0, as_generator(rng)
    for _ in range(runs):
        rows = _drawn(len(scores), n_labels, chance, is_pilot_uncertain=is_pilot_uncertain)
        certificate = certify(
            scores[rows], agreement[rows], target_risk=target_risk, rng=chance, **options
        )
        passed += certificate.is_certified and certificate.coverage >= coverage
    low, high = wilson_interval(passed, runs, _CONFIDENCE_LEVEL)
    return Estimate(passed / runs, float(low), float(high), _CONFIDENCE_LEVEL, runs)


def plan_labels(  # noqa: PLR0913 - what a certificate takes, and the plan
    confidence: ArrayLike,
    correct: ArrayLike,
    *,
    target_risk: float,
    rng: Rng,
    coverage: float = 0.0,
    power: float = 0.8,
    most_labels: int = 5000,
    runs: int = 200,
    is_pilot_uncertain: bool = True,
    failure_probability: float = 0.1,
    certify: Callable[..., Certificate] = certify_cascade,
    **options: Any,
) -> LabelPlan:
    """Find the fewest labels with which the procedure itself succeeds as often as wanted.

    Numbers of labels are looked at a quarter apart, between 30 and `most_labels`, by bisection.

    Args:
        confidence: As for `certification_power`, like all arguments not named here.
        correct: Shape (n, k).
        target_risk: The target to be certified.
        rng: Source of all draws.
        coverage: Coverage that the certificate must have.
        power: Probability of success wanted, in (0, 1).
        most_labels: Largest number of labels looked at.
        runs: Samples drawn for each number.
        is_pilot_uncertain: As for `certification_power`.
        failure_probability: Of the certificate.
        certify: As for `certification_power`.
        options: Passed to the procedure.

    Raises:
        InvalidArgument: Numbers out of range.

    Example:
        >>> chance = np.random.default_rng(0)
        >>> confidence = chance.uniform(0.5, 1.0, (400, 2))
        >>> correct = chance.uniform(size=(400, 2)) < confidence
        >>> plan = plan_labels(
        ...     confidence, correct, target_risk=0.25, rng=0, most_labels=200, runs=20
        ... )
        >>> plan.labels, plan.power.value, plan.low, plan.high
        (59, 0.9, 42, 54)
    """
    if not 0.0 < power < 1.0 or most_labels < 30:
        raise InvalidArgument("power must lie in (0, 1) and most_labels be at least 30")
    chance = as_generator(rng)

    def reached(n_labels: int) -> Estimate:
        return certification_power(
            confidence,
            correct,
            n_labels,
            target_risk=target_risk,
            rng=chance,
            coverage=coverage,
            runs=runs,
            is_pilot_uncertain=is_pilot_uncertain,
            failure_probability=failure_probability,
            certify=certify,
            **options,
        )

    sizes = np.unique(np.append(_sizes(most_labels), most_labels))
    labels, found = _fewest(sizes, reached, power)
    columns = (confidence, correct)
    if certify is certify_preferences:
        columns = _stacked(confidence, correct)
    needed = _closed_form(*columns, target_risk, failure_probability, runs, chance)
    low, high = np.quantile(needed, [0.25, 0.75], method="lower")
    return LabelPlan(
        labels,
        found,
        int(low) if np.isfinite(low) else None,
        int(high) if np.isfinite(high) else None,
        float(np.isinf(needed).mean()),
    )


def _sizes(most_labels: int) -> IntArray:
    steps = int(np.log(most_labels / 30) / np.log(_STEP))
    return np.round(30 * _STEP ** np.arange(steps + 1)).astype(np.int64)


def _fewest(
    sizes: IntArray, reached: Callable[[int], Estimate], power: float
) -> tuple[int | None, Estimate]:
    """Bisect for the fewest labels: power grows with them, up to Monte Carlo error."""
    low, high = -1, sizes.size - 1
    best = reached(int(sizes[high]))
    if best.value is None or best.value < power:
        return None, best
    while high - low > 1:
        middle = (low + high) // 2
        tried = reached(int(sizes[middle]))
        if tried.value is not None and tried.value >= power:
            high, best = middle, tried
        else:
            low = middle
    return int(sizes[high]), best


def _closed_form(  # noqa: PLR0913 - the pilot and the test
    confidence: ArrayLike,
    correct: ArrayLike,
    target_risk: float,
    failure_probability: float,
    runs: int,
    rng: np.random.Generator,
) -> FloatArray:
    """Return the labels that the closed form wants on resamples of the pilot; +inf: none will do."""
    scores, agreement = np.asarray(confidence, np.float64), np.asarray(correct, np.float64)
    needed = np.empty(runs)
    for run in range(runs):
        rows = _drawn(len(scores), len(scores), rng, is_pilot_uncertain=False)
        advice = advise(
            scores[rows],
            agreement[rows],
            target_risk=target_risk,
            failure_probability=failure_probability,
        )
        needed[run] = np.inf if advice.labels_needed is None else advice.labels_needed
    return needed


def _stacked(p_a: ArrayLike, label: ArrayLike) -> tuple[ArrayLike, ArrayLike]:
    outcome = np.asarray(label, dtype=np.float64)
    pairs = Pairs.of(p_a, np.column_stack([outcome, 1.0 - outcome]))
    return stacked_evidence(pairs.rows(outcome != 0.5))


def _drawn(n: int, size: int, rng: np.random.Generator, *, is_pilot_uncertain: bool) -> IntArray:
    if not is_pilot_uncertain:
        return rng.integers(0, n, size)
    return rng.choice(n, size, p=rng.dirichlet(np.ones(n)))
