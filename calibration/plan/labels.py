"""How many labels a certificate takes, by simulation, and how to share them out over strata.

The closed form of `calibration.binomial.labels_needed` plans one exact test at one node. Here the
whole procedure is run on samples that are drawn from the pilot: with weights from a Dirichlet
distribution (the Bayesian bootstrap of Rubin 1981), because a small pilot is itself uncertain, or
with equal weights where the pilot is as good as the population.

With N_h pairs in stratum h and a standard deviation S_h of y - l f in it, the variance of a stratified
estimate is smallest with labels in proportion to N_h S_h (Neyman 1934).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
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
from calibration.powered import checked_prediction

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


# A stratum with fewer labels could not tell its own spread.
FEWEST_IN_STRATUM = 15


def confidence_strata(prediction: ArrayLike, n_strata: int = 3) -> IntArray:
    """Return strata of about equal size by confidence |f - 1/2|, 0 the least sure; shape (pairs,).

    Equal confidences share a stratum, so there may be fewer strata. Swapping the two sides of a
    pair leaves it in its stratum.

    Raises:
        InvalidArgument: There is no stratum or no pair, or a prediction is missing or outside
            [0, 1].

    Example:
        >>> confidence_strata([0.5, 0.45, 0.7, 0.3, 0.95, 0.02])
        array([0, 0, 1, 1, 2, 2])
    """
    if n_strata < 1:
        raise InvalidArgument(f"n_strata must be positive, not {n_strata}")
    predicted = checked_prediction(prediction)
    if not predicted.size:
        raise InvalidArgument("prediction must have at least one pair")
    if np.isnan(predicted).any():
        raise InvalidArgument(
            "prediction must not be nan: put abstained pairs in a stratum yourself"
        )
    confidence = np.round(np.abs(predicted - 0.5), 12)
    cuts = np.quantile(confidence, np.arange(1, n_strata) / n_strata)
    codes = np.searchsorted(cuts, confidence, side="left")
    return np.unique(codes, return_inverse=True)[1].astype(np.int64)


def foreseen_deviation(prediction: ArrayLike, strata: ArrayLike) -> FloatArray:
    """Return the deviation of y - f by stratum if f is calibrated: sqrt(mean f (1 - f)).

    That is what can be known before any label; with a pilot, take the standard deviation of its
    y - l f in each stratum instead. A pair without a prediction (nan) counts as 1/2. In the order
    of the strata's names.

    Raises:
        InvalidArgument: A prediction is outside [0, 1], or the lengths differ.

    Example:
        >>> foreseen_deviation([0.5, 0.5, 0.9, 0.9], ["unsure", "unsure", "sure", "sure"])
        array([0.3, 0.5])
    """
    predicted = checked_prediction(prediction)
    names, codes = np.unique(np.asarray(strata), return_inverse=True)
    if codes.shape != predicted.shape:
        raise InvalidArgument(f"strata must have shape {predicted.shape}, not {codes.shape}")
    filled = np.where(np.isnan(predicted), 0.5, predicted)
    total = np.bincount(codes, filled * (1 - filled), minlength=len(names))
    return np.sqrt(total / np.bincount(codes, minlength=len(names)))


def allocate_labels(
    n_labels: int,
    sizes: ArrayLike,
    deviation: ArrayLike,
    *,
    fewest: int = FEWEST_IN_STRATUM,
    labelled: ArrayLike | None = None,
) -> IntArray:
    """Share labels out over strata in proportion to size times deviation.

    Each stratum gets at least `fewest` labels, or all its pairs if it has no more, and never more
    labels than pairs. Within a stratum the pairs must then be drawn at random. With labels that are
    there already, the old and the new ones together come as near to that as the new ones can.

    Args:
        n_labels: Number of labels to share out.
        sizes: Number of pairs of each stratum, shape (strata,).
        deviation: Standard deviation of y - l f in each stratum.
        fewest: Smallest number of labels of a stratum.
        labelled: Pairs of each stratum that have a label by now, drawn at random too.

    Returns:
        Number of further labels of each stratum, shape (strata,); they sum to `n_labels`.

    Raises:
        InvalidArgument: Shapes differ, there is no stratum, a number is negative or a size not
            whole, or the labels are fewer than the smallest numbers, or more than the pairs.

    Example:
        >>> allocate_labels(100, sizes=[500, 500], deviation=[0.3, 0.5])
        array([38, 62])
        >>> allocate_labels(60, sizes=[500, 500], deviation=[0.3, 0.5], labelled=[40, 0])
        array([ 0, 60])
    """
    pairs = _whole_numbers("sizes", sizes)
    spread = np.asarray(deviation, dtype=np.float64)
    if pairs.ndim != 1 or not pairs.size or spread.shape != pairs.shape:
        raise InvalidArgument("sizes and deviation must have the same shape (strata,)")
    if fewest < 0 or not (np.isfinite(spread) & (spread >= 0)).all():
        raise InvalidArgument("deviation and fewest must be finite, and not negative")
    return _allocated(n_labels, pairs, pairs * spread, np.minimum(pairs, fewest), labelled)


def allocate_rank_labels(  # noqa: PLR0913 - the strata, and what is not settled between models
    n_labels: int,
    models: Sequence[tuple[str, str]],
    sizes: ArrayLike,
    deviation: ArrayLike,
    *,
    tied: Sequence[tuple[str, str]],
    gaps: ArrayLike | None = None,
    smallest_gap: float = 0.02,
    labelled: ArrayLike | None = None,
) -> IntArray:
    """Share labels out so that models whose order is open are told apart soonest.

    A model's win rate is its mean over all its pairs, so the difference of two models is a sum of
    stratum means with coefficients c_h: N_h over the pairs of the model, for the first side and
    against the second. Its variance is the sum of c_h^2 S_h^2 / n_h, and what decides is that over
    the squared gap. The sum of this over all open pairs of models is smallest with labels in
    proportion to S_h sqrt(sum of c_h^2 / gap^2) (Neyman 1934, for several contrasts). Strata that
    no open order depends on get none.

    Args:
        n_labels: Number of labels to share out.
        models: First and second model of each stratum. Several strata may hold the same two, such as
            one for each confidence (`confidence_strata`).
        sizes: Number of pairs of each stratum, shape (strata,).
        deviation: Standard deviation of y - l f in each (`foreseen_deviation`).
        tied: Pairs of models whose order is open (`tied_models`).
        gaps: Difference of their win rates as far as it is known, shape (tied,); equal by default.
        smallest_gap: Smaller gaps count as this: no number of labels tells equal models apart.
        labelled: As for `allocate_labels`.

    Returns:
        Number of further labels of each stratum, shape (strata,); they sum to `n_labels`, or to what
        is left to label in the strata that matter.

    Raises:
        InvalidArgument: Shapes differ, a number is out of its range, or a model has no stratum.

    Example:
        The order of "x" and "y" is open; both meet "z", and "z" meets "w".

        >>> models = [("x", "y"), ("x", "z"), ("y", "z"), ("z", "w")]
        >>> allocate_rank_labels(80, models, [100] * 4, [0.4] * 4, tied=[("x", "y")])
        array([40, 20, 20,  0])
    """
    pairs = _whole_numbers("sizes", sizes)
    spread = np.asarray(deviation, dtype=np.float64)
    apart = np.ones(len(tied)) if gaps is None else np.abs(np.asarray(gaps, dtype=np.float64))
    if pairs.shape != (len(models),) or spread.shape != pairs.shape:
        raise InvalidArgument(f"sizes and deviation must have shape ({len(models)},)")
    if not (np.isfinite(spread) & (spread >= 0)).all() or not smallest_gap > 0:
        raise InvalidArgument("deviation must not be negative, and smallest_gap be above 0")
    if apart.shape != (len(tied),) or not np.isfinite(apart).all():
        raise InvalidArgument(f"gaps must be {len(tied)} finite numbers, one for each tied pair")
    contrasts = np.array([_contrast(two, models, pairs) for two in tied])
    weights = 1.0 / np.maximum(apart, smallest_gap) ** 2
    claim = spread * np.sqrt(weights @ contrasts**2) if len(tied) else np.zeros(pairs.size)
    matters = claim > 0
    done = np.zeros_like(pairs) if labelled is None else _whole_numbers("labelled", labelled)
    if done.shape != pairs.shape:
        raise InvalidArgument(f"labelled must have shape {pairs.shape}, not {done.shape}")
    further = np.zeros_like(pairs)
    if matters.any():
        left = int((pairs - np.minimum(done, pairs))[matters].sum())
        further[matters] = _allocated(
            min(n_labels, left),
            pairs[matters],
            claim[matters],
            np.zeros(int(matters.sum()), np.int64),
            done[matters],
        )
    return further


def tied_models(
    names: Sequence[str], rank_low: ArrayLike, rank_high: ArrayLike
) -> tuple[tuple[str, str], ...]:
    """Return the pairs of models whose ranks the labels so far do not settle.

    Args:
        names: The models.
        rank_low: Best rank that each may have, shape (models,).
        rank_high: Worst rank that each may have, shape (models,).

    Raises:
        InvalidArgument: Shapes differ.

    Example:
        >>> tied_models(["x", "y", "z"], rank_low=[1, 1, 3], rank_high=[2, 2, 3])
        (('x', 'y'),)
    """
    best, worst = np.asarray(rank_low), np.asarray(rank_high)
    if best.shape != (len(names),) or worst.shape != best.shape:
        raise InvalidArgument(f"rank_low and rank_high must have shape ({len(names)},)")
    return tuple(
        (names[i], names[j])
        for i, j in combinations(range(len(names)), 2)
        if max(best[i], best[j]) <= min(worst[i], worst[j])
    )


def _contrast(
    two: tuple[str, str], models: Sequence[tuple[str, str]], pairs: IntArray
) -> FloatArray:
    """Return how much each stratum's mean counts in the difference of two models' win rates."""
    first, second = (_share_of(name, models, pairs) for name in two)
    return first - second


def _share_of(name: str, models: Sequence[tuple[str, str]], pairs: IntArray) -> FloatArray:
    """Return the share of each stratum in a model's pairs, below 0 where it is the second side."""
    side = np.array([(first == name) - float(second == name) for first, second in models])
    total = float(np.abs(side) @ pairs)
    if not total:
        raise InvalidArgument(f"tied: model {name!r} has no pair in any stratum")
    return np.asarray(side * pairs / total, dtype=np.float64)


def _allocated(
    n_labels: int, pairs: IntArray, claim: FloatArray, floor: IntArray, labelled: ArrayLike | None
) -> IntArray:
    """Return further labels by claim, so that with those there already each has its floor."""
    done = np.zeros_like(pairs) if labelled is None else _whole_numbers("labelled", labelled)
    if done.shape != pairs.shape or (done > pairs).any():
        raise InvalidArgument("labelled must be one number a stratum, at most its size")
    floor = np.maximum(floor, done)
    fewest, most, total = int((floor - done).sum()), int((pairs - done).sum()), int(done.sum())
    if not fewest <= n_labels <= most:
        raise InvalidArgument(
            f"n_labels must lie in {fewest} .. {most} for these strata, not {n_labels}"
        )
    shares = _shares(n_labels + total, pairs, floor, claim)
    return _whole(shares, n_labels + total, pairs) - done


def _whole_numbers(name: str, values: ArrayLike) -> IntArray:
    numbers = np.asarray(values, dtype=np.float64)
    if not (np.isfinite(numbers) & (numbers >= 0) & (numbers == np.floor(numbers))).all():
        raise InvalidArgument(f"{name} must be whole numbers, and not negative")
    return numbers.astype(np.int64)


def _shares(n_labels: int, pairs: IntArray, floor: IntArray, claim: FloatArray) -> FloatArray:
    """Return shares proportional to claims, cut to [floor, pairs], that sum to n_labels."""
    # A stratum without spread takes labels only when all others are full.
    positive = np.maximum(claim, 1e-9 * max(float(claim.max(initial=0.0)), 1.0))
    low, high = 0.0, float((pairs / positive).max()) + 1.0
    for _ in range(200):
        middle = (low + high) / 2
        is_short = np.clip(middle * positive, floor, pairs).sum() < n_labels
        low, high = (middle, high) if is_short else (low, middle)
    return np.asarray(np.clip(high * positive, floor, pairs), dtype=np.float64)


def _whole(shares: FloatArray, n_labels: int, pairs: IntArray) -> IntArray:
    """Round down, then give what is left to the largest remainders that have room."""
    counts = np.floor(shares + 1e-9).astype(np.int64)
    remainder = np.where(counts < pairs, shares - counts, -1.0)
    order = np.argsort(-remainder, kind="stable")
    counts[order[: n_labels - int(counts.sum())]] += 1
    return counts
