"""The risk of audited verdicts, with bounds that hold after every audit.

For losses in [0, 1] whose expectation given the past is m_i, and any tilt t, exp(t
loss) has expectation at most 1 - m_i + m_i e^t. So exp(t K_n - sum of log(1 - m_i + m_i e^t)), K_n
the sum of the losses, is a supermartingale. The logarithm is concave in m_i, so what one gets by
putting the mean m of all m_i in place of each is never larger, and with it the average over fixed
tilts:

    W_n(m) = mean over tilts of exp(t K_n - n log(1 - m + m e^t)).

It ever reaches 1 / tail with probability at most tail (Ville 1939). Neither independence nor a
constant risk is needed: m may move with n. (Howard, Ramdas, McAuliffe and Sekhon 2021,
sub-Bernoulli; Waudby-Smith and Ramdas 2024.)
"""

from __future__ import annotations

import math

import numpy as np
import scipy

from calibration.errors import InvalidArgument
from calibration.estimate import Estimate
from calibration.monitor.monitor import MonitorState

# From the best tilt for a million audits (small) to that for a handful (large).
_TILTS = np.geomspace(0.005, 10.0, 40)
_TOLERANCE = 1e-9


def risk_so_far(state: MonitorState, confidence_level: float = 0.95) -> Estimate:
    """Estimate the risk over the audits so far, with an interval that holds at all times.

    What lies within [low, high] is the mean, over the audits so far, of the expected loss of each
    given those before it; a risk that moves is allowed, so this is not the risk of today. Under
    unequal probabilities each verdict counts by 1 / probability.

    Args:
        state: Monitor.
        confidence_level: Probability that the interval holds after every audit, in (0, 1).

    Raises:
        InvalidArgument: The confidence level is out of range.

    >>> from calibration.monitor import observe, start_monitor
    >>> found = risk_so_far(observe(start_monitor(target_risk=0.1), [0, 1, 0, 0]))
    >>> found.value, found.n
    (0.25, 4)
    """
    if not 0 < confidence_level < 1:
        raise InvalidArgument(f"confidence_level must lie in (0, 1), not {confidence_level}")
    if not state.audits:
        return Estimate(None, None, None, confidence_level, 0)
    smallest = state.min_audit_probability
    if smallest is None:
        low, high = risk_bounds(state.loss_total, state.audits, 1.0 - confidence_level)
    else:
        totals = smallest * state.loss_total, smallest * (state.weight_total - state.loss_total)
        low, high = weighted_risk_bounds(*totals, state.audits, 1.0 - confidence_level)
    value = state.loss_total / state.weight_total
    return Estimate(value, low, high, confidence_level, state.audits)


def risk_bounds(loss_total: float, n: int, failure_probability: float) -> tuple[float, float]:
    """Return an interval for the mean of the expected losses so far, valid after every audit.

    Args:
        loss_total: Sum of the losses, each in [0, 1].
        n: Number of losses, at least 1.
        failure_probability: Probability that an interval ever misses, half of it on each side.

    Raises:
        InvalidArgument: The total is not between 0 and n, or the probability not in (0, 1).

    >>> [round(end, 3) for end in risk_bounds(loss_total=8, n=100, failure_probability=0.05)]
    [0.017, 0.203]
    """
    if not (n >= 1 and 0 <= loss_total <= n * (1 + _TOLERANCE)):
        raise InvalidArgument(
            f"loss_total must lie in [0, n], n being 1 or more: {loss_total}, {n}"
        )
    if not 0 < failure_probability < 1:
        raise InvalidArgument(f"failure_probability must lie in (0, 1), not {failure_probability}")
    tail = failure_probability / 2
    agreement_total = max(n - loss_total, 0.0)
    return _lower_bound(loss_total, n, tail), 1.0 - _lower_bound(agreement_total, n, tail)


def weighted_risk_bounds(
    loss_total: float, agreement_total: float, n: int, failure_probability: float
) -> tuple[float, float]:
    """Return an interval for the risk from audits of unequal probability pi.

    With w = pi_min / pi in [0, 1] the risk is E[w loss] / (E[w loss] + E[w (1 - loss)]); the bounds
    on the two expectations, each side at a quarter, hold together.

    Args:
        loss_total: Sum of w loss.
        agreement_total: Sum of w (1 - loss).
        n: Number of audits, at least 1.
        failure_probability: Probability that an interval ever misses.

    Raises:
        InvalidArgument: As for `risk_bounds`.
    """
    loss_low, loss_high = risk_bounds(loss_total, n, failure_probability / 2)
    agreement_low, agreement_high = risk_bounds(agreement_total, n, failure_probability / 2)
    return loss_low / (loss_low + agreement_high), loss_high / (loss_high + agreement_low)


def _lower_bound(total: float, n: int, tail: float) -> float:
    """Find the smallest mean m that the wealth W_n does not refute.

    W_n falls in m and is at most 1 at K / n.
    """

    def excess(mean: float) -> float:
        exponents = _TILTS * total - n * np.log1p(mean * np.expm1(_TILTS))
        return float(np.logaddexp.reduce(exponents)) - math.log(_TILTS.size / tail)

    if excess(0.0) <= 0:
        return 0.0
    return float(scipy.optimize.brentq(excess, 0.0, min(total / n, 1.0)))
