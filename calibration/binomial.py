"""Bounds on a binomial rate, exact p-values, and how many labels an exact test needs.

Everything rests on two identities between the binomial law and the incomplete beta function
(Clopper and Pearson 1934): P(Bin(n, r) <= K) = I_{1-r}(n - K, K + 1), and the upper bound on r at
level d is BetaInv(1 - d; K + 1, n - K).
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import scipy
from numpy.typing import ArrayLike

from calibration.arrays import FloatArray, IntArray
from calibration.errors import InvalidArgument

# Above this size the slack that an unconditional test recovers is not worth its table.
LARGEST_UNCONDITIONAL = 2000
_ENLARGED_SHARE = 0.96
_LARGEST_ENLARGEMENT = 3.0
_BISECTIONS = 14


class Interval(NamedTuple):
    """Lower and upper ends of an interval, arrays of the same shape."""

    low: FloatArray
    high: FloatArray


def upper_bound(errors: ArrayLike, n: ArrayLike, failure_probability: float) -> FloatArray:
    """Return the one-sided exact upper bound on an error rate (Clopper and Pearson 1934).

    R+ = BetaInv(1 - failure_probability; errors + 1, n - errors), and 1 where n = 0 or errors = n.

    Args:
        errors: Numbers of errors, any shape; need not be whole.
        n: Numbers of trials, of a shape that fits.
        failure_probability: Probability that the bound lies below the rate, in (0, 1).

    Returns:
        Bounds in [0, 1], of the broadcast shape.

    Raises:
        InvalidArgument: Counts are negative or errors exceed n; the probability is not in (0, 1).

    Example:
        No error in 10 pairs: 1 - 0.05 ** (1 / 10).

        >>> float(upper_bound(0, 10, 0.05).round(4))
        0.2589
    """
    counts, trials = _counts(errors, n)
    _check_probability("failure_probability", failure_probability)
    is_open = counts < trials
    rest = np.where(is_open, trials - counts, 1.0)
    # The complementary inverse keeps its digits where the failure probability is tiny.
    bound = scipy.special.betainccinv(counts + 1.0, rest, failure_probability)
    return np.asarray(np.where(is_open, bound, 1.0), dtype=np.float64)


def lower_bound(errors: ArrayLike, n: ArrayLike, failure_probability: float) -> FloatArray:
    """Return the one-sided exact lower bound on a rate (Clopper and Pearson 1934).

    R- = BetaInv(failure_probability; errors, n - errors + 1), and 0 where errors = 0. Arguments and
    shapes are those of `upper_bound`.

    Raises:
        InvalidArgument: As for `upper_bound`.

    Example:
        >>> float(lower_bound(9, 10, 0.05).round(4))
        0.6058
    """
    counts, trials = _counts(errors, n)
    return np.asarray(1.0 - upper_bound(trials - counts, trials, failure_probability))


def two_sided_interval(successes: ArrayLike, n: ArrayLike, confidence_level: float) -> Interval:
    """Return the exact interval with equal tails (Clopper and Pearson 1934); (0, 1) where n = 0.

    Args:
        successes: Numbers of successes, any shape.
        n: Numbers of trials, of a shape that fits.
        confidence_level: Coverage, in (0, 1).

    Raises:
        InvalidArgument: As for `upper_bound`.

    Example:
        >>> low, high = two_sided_interval(9, 10, 0.95)
        >>> float(low.round(4)), float(high.round(4))
        (0.555, 0.9975)
    """
    _check_probability("confidence_level", confidence_level)
    tail = (1.0 - confidence_level) / 2.0
    return Interval(lower_bound(successes, n, tail), upper_bound(successes, n, tail))


def wilson_interval(successes: ArrayLike, n: ArrayLike, confidence_level: float) -> Interval:
    """Return the score interval of a proportion (Wilson 1927); (0, 1) where n = 0.

    Arguments and shapes are those of `two_sided_interval`.

    Raises:
        InvalidArgument: As for `upper_bound`.

    Example:
        >>> low, high = wilson_interval([9, 90], [10, 100], 0.95)
        >>> low.round(4), high.round(4)
        (array([0.5958, 0.8256]), array([0.9821, 0.9448]))
    """
    counts, trials = _counts(successes, n)
    _check_probability("confidence_level", confidence_level)
    # from the small tail: 1 + level rounds to 2 while there is still a tail left
    z = -float(scipy.special.ndtri((1.0 - confidence_level) / 2.0))
    safe = np.maximum(trials, 1.0)
    rate = counts / safe
    centre = (rate + z**2 / (2 * safe)) / (1 + z**2 / safe)
    half = z * np.sqrt(rate * (1 - rate) / safe + z**2 / (4 * safe**2)) / (1 + z**2 / safe)
    # The ends are exactly 0 and 1 at the extreme counts, which rounding would miss.
    low = np.where((trials == 0) | (counts == 0), 0.0, np.maximum(centre - half, 0.0))
    high = np.where((trials == 0) | (counts == trials), 1.0, np.minimum(centre + half, 1.0))
    return Interval(low, high)


def p_value(errors: ArrayLike, n: ArrayLike, target_risk: float) -> FloatArray:
    """Return the exact p-value of "the error rate is at least the target".

    It is P(Bin(n, target_risk) <= errors).

    Args:
        errors: Numbers of errors, any shape.
        n: Numbers of trials, of a shape that fits.
        target_risk: The error rate to be refuted, in (0, 1).

    Raises:
        InvalidArgument: As for `upper_bound`.

    Example:
        >>> float(p_value(1, 20, 0.2).round(4))
        0.0692
    """
    counts, trials = _counts(errors, n)
    _check_probability("target_risk", target_risk)
    return _lower_tail(counts, trials, target_risk)


def occurs_more_often(count: int, n: int, count_before: int, n_before: int, level: float) -> bool:
    """Test at `level` whether `count` of `n` is a higher rate than `count_before` of `n_before`.

    Fisher's one-sided exact test: given how often it occurred in all, the number among the n is
    hypergeometric where both rates are the same. Neither rate is taken as known.

    Raises:
        InvalidArgument: As for `upper_bound`.

    Example:
        >>> occurs_more_often(9, 30, 3, 100, level=0.01)
        True
    """
    _check_probability("level", level)
    return p_value_of_more(count, n, count_before, n_before) <= level


def p_value_of_more(count: int, n: int, count_before: int, n_before: int) -> float:
    """Return the p-value of `occurs_more_often`, Fisher's one-sided exact test.

    Raises:
        InvalidArgument: As for `upper_bound`.
    """
    _counts(count, n)
    _counts(count_before, n_before)
    return float(scipy.stats.hypergeom.sf(count - 1, n + n_before, count + count_before, n))


def critical_errors(n: ArrayLike, target_risk: float, level: float) -> IntArray:
    """Return the most errors whose exact p-value is at most `level`; -1 where not even 0 is.

    "errors <= critical_errors(n)" is "upper_bound(errors, n, level) <= target_risk" in integers.

    Args:
        n: Numbers of trials, any shape.
        target_risk: The error rate to be refuted, in (0, 1).
        level: Size of the test, in (0, 1).

    Raises:
        InvalidArgument: As for `upper_bound`.

    Example:
        >>> critical_errors([20, 50, 100], target_risk=0.1, level=0.1)
        array([-1,  1,  5])
    """
    _, trials = _counts(np.zeros_like(np.asarray(n)), n)
    _check_probability("target_risk", target_risk)
    _check_probability("level", level)
    critical = _approximate_critical_errors(trials, target_risk, level)
    unsettled = np.arange(trials.size)
    flat, sizes = critical.reshape(-1), trials.reshape(-1)
    while unsettled.size:
        count, size = flat[unsettled], sizes[unsettled]
        too_many = (count >= 0) & (_lower_tail(count, size, target_risk) > level)
        one_more = (count < size) & (_lower_tail(count + 1, size, target_risk) <= level)
        flat[unsettled] += np.where(too_many, -1, np.where(one_more, 1, 0))
        unsettled = unsettled[too_many | one_more]
    return flat.reshape(trials.shape).astype(np.int64)


class UnconditionalCounts(NamedTuple):
    """Critical counts of an exact test whose number of trials is itself random.

    Attributes:
        critical: Entry N is the largest number of errors among N answered pairs that rejects,
            -1 where none does; length n + 1.
        nominal_level: Level of the ordinary counts that the enlarged part of the table uses.
    """

    critical: IntArray
    nominal_level: float


@lru_cache(maxsize=256)
def unconditional_critical_errors(n: int, target_risk: float, level: float) -> UnconditionalCounts:
    """Return critical counts for N ~ Bin(n, q), q unknown, K given N ~ Bin(N, r); null: r >= target.

    Given N the exact test rejects with probability below `level`, because counts are integers.
    Averaged over N that slack can be spent: where N <= .96 n the counts of a larger nominal level
    are used, the largest for which max over q of E[size(N)] stays at most `level`. The maximum is
    taken over a grid of q = sin(theta)^2 and bounded in between: the second derivative of the
    expectation in theta is at most 4 n max(size), because the score s of a binomial in theta has
    E|s^2 + s'| <= 8n. Above n = 2000 the ordinary counts are returned.

    Example:
        Of 60 pairs a random number is answered: some counts allow one error more.

        >>> table = unconditional_critical_errors(60, 0.2, 0.1).critical
        >>> int((table - critical_errors(range(61), 0.2, 0.1)).max())
        1
    """
    trials = np.arange(n + 1)
    ordinary = critical_errors(trials, target_risk, level)
    if n > LARGEST_UNCONDITIONAL or n == 0:
        return UnconditionalCounts(_frozen(ordinary), level)
    best = UnconditionalCounts(ordinary, level)
    low, high = 1.0, min(_LARGEST_ENLARGEMENT, 0.999 / level)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2.0
        enlarged = critical_errors(trials, target_risk, middle * level)
        mixed = np.where(trials <= _ENLARGED_SHARE * n, enlarged, ordinary)
        if _largest_size(mixed, target_risk) <= level:
            low, best = middle, UnconditionalCounts(mixed, middle * level)
        else:
            high = middle
    return UnconditionalCounts(_frozen(best.critical), best.nominal_level)


def _largest_size(critical: IntArray, target_risk: float) -> float:
    """Return an upper bound on max over q of E[size(N)], N ~ Bin(n, q)."""
    n = critical.size - 1
    size = np.where(critical >= 0, _lower_tail(critical, np.arange(n + 1), target_risk), 0.0)
    masses = _binomial_masses(n)
    step = np.pi / 2 / (masses.shape[0] - 1)
    between_grid_points: float = step**2 / 8 * 4 * n * float(size.max())
    return float((masses @ size).max()) + between_grid_points


@lru_cache(maxsize=2)
def _binomial_masses(n: int) -> FloatArray:
    """Return P(Bin(n, q) = N) for q = sin(theta)^2 on a grid of theta, shape (grid, n + 1)."""
    theta = np.linspace(0.0, np.pi / 2, int(np.ceil(32 * np.sqrt(n))) + 1)[:, None]
    trials = np.arange(n + 1.0)
    binomial = (
        scipy.special.gammaln(n + 1)
        - scipy.special.gammaln(trials + 1)
        - scipy.special.gammaln(n - trials + 1)
    )
    logarithm = scipy.special.xlogy(trials, np.sin(theta) ** 2) + scipy.special.xlogy(
        n - trials, np.cos(theta) ** 2
    )
    masses: FloatArray = np.exp(binomial + logarithm)
    return masses


def _approximate_critical_errors(trials: FloatArray, target_risk: float, level: float) -> IntArray:
    """Return a Cornish-Fisher quantile, mostly within one of the exact count."""
    z = float(scipy.special.ndtri(level))
    spread = np.sqrt(trials * target_risk * (1 - target_risk))
    skewness = (z**2 - 1) * (1 - 2 * target_risk) / 6
    guess = np.floor(trials * target_risk + z * spread + skewness - 0.5)
    return np.clip(guess, -1, trials).astype(np.int64)


def _lower_tail(errors: ArrayLike, n: ArrayLike, rate: float) -> FloatArray:
    counts, trials = np.asarray(errors, dtype=np.float64), np.asarray(n, dtype=np.float64)
    is_open = counts < trials
    rest = np.where(is_open, trials - counts, 1.0)
    tail = scipy.special.betaincc(np.maximum(counts, 0.0) + 1.0, rest, rate)
    return np.asarray(np.where(is_open, tail, 1.0), dtype=np.float64)


def _counts(errors: ArrayLike, n: ArrayLike) -> tuple[FloatArray, FloatArray]:
    counts, trials = np.broadcast_arrays(
        np.asarray(errors, dtype=np.float64), np.asarray(n, dtype=np.float64)
    )
    if not np.all((counts >= 0) & (counts <= trials)):
        raise InvalidArgument("counts must satisfy 0 <= errors <= n")
    return counts, trials


def _check_probability(name: str, value: float) -> None:
    if not 0.0 < value < 1.0:
        raise InvalidArgument(f"{name} must lie strictly between 0 and 1, not {value}")


def _frozen(array: IntArray) -> IntArray:
    array.flags.writeable = False
    return array


# Beyond this many answered labels the normal approximation is within a percent of the exact count.
_LARGEST_EXACT = 200_000


def accepted_labels_needed(errors: int, target_risk: float, failure_probability: float) -> int:
    """Return the fewest answered labels that certify a risk although `errors` disagree.

    The smallest N with P(Bin(N, target_risk) <= errors) <= failure_probability.

    Args:
        errors: Labels that disagree, 0 or more.
        target_risk: Risk to be certified, in (0, 1).
        failure_probability: Level of the test, in (0, 1).

    Raises:
        InvalidArgument: errors is negative or a probability is not in (0, 1).

    Example:
        >>> accepted_labels_needed(0, target_risk=0.1, failure_probability=0.1)
        22
        >>> accepted_labels_needed(1, target_risk=0.1, failure_probability=0.1)
        38
    """
    if errors < 0:
        raise InvalidArgument(f"errors must not be negative, not {errors}")
    low, high = errors, 2 * errors + 2
    while p_value(errors, high, target_risk) > failure_probability:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if p_value(errors, middle, target_risk) > failure_probability:
            low = middle
        else:
            high = middle
    return high


def labels_needed(
    risk_estimate: float,
    coverage: float,
    target_risk: float,
    failure_probability: float,
    *,
    power: float = 0.8,
) -> int | None:
    """Return how many labels certify a cascade of this risk and coverage with this power.

    The smallest number N of answered labels from which on the exact test passes with probability
    at least `power`, divided by the coverage.

    Args:
        risk_estimate: True risk of the answered pairs, as far as it is known.
        coverage: Share of pairs that are answered, in (0, 1].
        target_risk: Risk to be certified.
        failure_probability: Level of the test.
        power: Probability of passing that is wanted.

    Returns:
        The number of labels; None where the risk is not below the target: no number will do.

    Raises:
        InvalidArgument: A probability or the coverage is out of range.

    Example:
        >>> labels_needed(0.05, coverage=0.8, target_risk=0.1, failure_probability=0.1)
        190
        >>> labels_needed(0.10, coverage=0.8, target_risk=0.1, failure_probability=0.1) is None
        True
    """
    if not 0.0 < coverage <= 1.0:
        raise InvalidArgument(f"coverage must lie in (0, 1], not {coverage}")
    if not (0.0 <= risk_estimate <= 1.0 and 0.0 < power < 1.0 and 0.0 < target_risk < 1.0):
        raise InvalidArgument("risk_estimate, power and target_risk must be probabilities")
    if risk_estimate >= target_risk:
        return None
    answered = _answered_needed(risk_estimate, target_risk, failure_probability, power)
    return int(np.ceil(answered / coverage))


@lru_cache(maxsize=4096)  # advice asks for the same nodes once for each target and path
def _answered_needed(risk: float, target_risk: float, level: float, power: float) -> int:
    spread = -scipy.special.ndtri(level) * np.sqrt(target_risk * (1 - target_risk))
    spread += scipy.special.ndtri(power) * np.sqrt(risk * (1 - risk))
    about = (max(spread, 0.0) / (target_risk - risk)) ** 2
    if about > _LARGEST_EXACT:
        return int(np.ceil(about))
    # Passing is not monotone in N, because counts are integers: look well past the first success.
    last = int(2 * about) + 4 * accepted_labels_needed(0, target_risk, level)
    sizes = np.arange(1, last + 1)
    critical = critical_errors(sizes, target_risk, level)
    passes = np.where(
        critical >= 0, scipy.stats.binom.cdf(np.maximum(critical, 0), sizes, risk), 0.0
    )
    short = np.flatnonzero(passes < power)
    return int(sizes[short[-1]]) + 1 if short.size else 1
