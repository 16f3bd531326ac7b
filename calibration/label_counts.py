"""How many labels an exact test needs, before any certification is tried."""

from __future__ import annotations

import numpy as np
from scipy import special, stats

from calibration.binomial import critical_errors, p_value
from calibration.errors import InvalidArgument

# Beyond this many answered labels the normal approximation is within a percent of the exact count.
_LARGEST_EXACT = 200_000


def accepted_labels_needed(errors: int, target_risk: float, failure_probability: float) -> int:
    """Smallest number of answered labels that certify a risk although `errors` disagree.

    The smallest N with P(Bin(N, target_risk) <= errors) <= failure_probability.

    Raises:
        InvalidArgument: errors is negative or a probability is not in (0, 1).
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
    """Labels after which a cascade of this risk and coverage is certified with this power.

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
    """
    if not 0.0 < coverage <= 1.0:
        raise InvalidArgument(f"coverage must lie in (0, 1], not {coverage}")
    if not (0.0 <= risk_estimate <= 1.0 and 0.0 < power < 1.0 and 0.0 < target_risk < 1.0):
        raise InvalidArgument("risk_estimate, power and target_risk must be probabilities")
    if risk_estimate >= target_risk:
        return None
    answered = _answered_needed(risk_estimate, target_risk, failure_probability, power)
    return int(np.ceil(answered / coverage))


def _answered_needed(risk: float, target_risk: float, level: float, power: float) -> int:
    spread = -special.ndtri(level) * np.sqrt(target_risk * (1 - target_risk))
    spread += special.ndtri(power) * np.sqrt(risk * (1 - risk))
    about = (max(spread, 0.0) / (target_risk - risk)) ** 2
    if about > _LARGEST_EXACT:
        return int(np.ceil(about))
    # Passing is not monotone in N, because counts are integers: look well past the first success.
    last = int(2 * about) + 4 * accepted_labels_needed(0, target_risk, level)
    sizes = np.arange(1, last + 1)
    critical = critical_errors(sizes, target_risk, level)
    passes = np.where(critical >= 0, stats.binom.cdf(np.maximum(critical, 0), sizes, risk), 0.0)
    short = np.flatnonzero(passes < power)
    return int(sizes[short[-1]]) + 1 if short.size else 1
