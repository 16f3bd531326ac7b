"""Audits of verdicts: drawing them, delay until an alarm, and bounds that hold at all times.

The bounds: for losses in [0, 1] whose expectation given the past is m_i, and any tilt t, exp(t
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
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import ArrayLike

from calibration.arrays import FloatArray, IntArray
from calibration.errors import InvalidArgument, Rng, as_generator
from calibration.estimate import Estimate
from calibration.monitor.monitor import MonitorState, audit_terms
from calibration.monitor.wealth import Wealth, followed
from calibration.sample import numbered, one_row_a_group

# From the best tilt for a million audits (small) to that for a handful (large).
_TILTS = np.geomspace(0.005, 10.0, 40)
_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True)
class Drift:
    """A risk that changes once.

    Attributes:
        risk_before: Risk of the audits before the change.
        risk_after: Risk from then on.
        at: Number of audits before the change.
    """

    risk_before: float
    risk_after: float
    at: int


@dataclass(frozen=True, slots=True, eq=False)
class DetectionDelay:
    """Simulated audits from a change until the alarm.

    Attributes:
        delays: Audits from the change to the alarm, increasing, of the runs that had not raised it by
            the time of the change; inf where the horizon passed without one.
        early_alarms: Runs that raised it before the change; they are in none of the figures below.
    """

    delays: FloatArray
    early_alarms: int

    @property
    def median(self) -> float | None:
        """Half of the runs that were silent before the change have raised the alarm by then."""
        return self.quantile(0.5)

    @property
    def detected_share(self) -> float:
        """Share of the runs silent before the change with an alarm within the horizon after it."""
        return float(np.isfinite(self.delays).mean()) if self.delays.size else 0.0

    def quantile(self, level: float) -> float | None:
        """Return the audits by which that share has raised the alarm; None past the horizon.

        Raises:
            InvalidArgument: The level is not in (0, 1].
        """
        if not 0 < level <= 1:
            raise InvalidArgument(f"level must lie in (0, 1], not {level}")
        if not self.delays.size:
            return None
        delay = float(np.quantile(self.delays, level, method="inverted_cdf"))
        return delay if np.isfinite(delay) else None


def detection_delay(
    state: MonitorState,
    drift: Drift,
    rng: Rng = None,
    *,
    runs: int = 500,
    horizon: int = 5000,
) -> DetectionDelay:
    """Simulate how long an alarm takes after the risk has changed.

    Losses are 0 or 1 and independent, audits equally probable. The median over 2,000 runs of a new
    monitor with alpha = .10 and failure probability .05, from .08 at audit 500: to .13 1,500
    audits, to .15 620, to .20 191, to .30 63; at audit 2,000: 2,030, 810, 239, 76. Small rises take
    long.

    Args:
        state: Monitor to go on from: a new one, or one in use.
        drift: The change, counted from that state on.
        rng: Source of the losses.
        runs: Number of streams.
        horizon: Audits after the change that are simulated.

    Raises:
        InvalidArgument: The alarm has been raised already, audit probabilities are unequal, or a
            number is out of its range.

    >>> from calibration.monitor import start_monitor
    >>> drift = Drift(risk_before=0.05, risk_after=0.6, at=50)
    >>> delay = detection_delay(start_monitor(0.1), drift, rng=0, runs=50, horizon=200)
    >>> delay.detected_share, delay.early_alarms
    (1.0, 0)
    """
    _check_plan(state, drift, runs, horizon)
    is_before = np.arange(drift.at + horizon) < drift.at
    risk = np.where(is_before, drift.risk_before, drift.risk_after)
    alarms = alarm_times(state, as_generator(rng).uniform(size=(runs, risk.size)) < risk)
    is_early = alarms <= drift.at
    return DetectionDelay(np.sort(alarms[~is_early] - drift.at), int(is_early.sum()))


def alarm_times(
    state: MonitorState, losses: ArrayLike, probabilities: ArrayLike | None = None
) -> FloatArray:
    """Return the number of the audit that raises the alarm, in each of many streams.

    Args:
        state: Monitor that every stream goes on from.
        losses: Shape (streams, audits).
        probabilities: Shape (streams, audits); None where all are equal.

    Returns:
        Shape (streams,), counted from 1; inf where no alarm is raised.
    """
    terms = audit_terms(state, losses, probabilities)
    opening, bets = state.wealth, state.bets
    stakes = np.broadcast_to(opening.log_stakes, (*terms.shape[:-1], bets.size))
    times = np.full(terms.shape[:-1], np.inf)
    seen = 0
    for _, path in followed(Wealth(stakes, opening.cash, opening.audits), bets, terms):
        reached = path >= -np.log(state.failure_probability)
        first = np.where(reached.any(axis=-1), seen + 1.0 + reached.argmax(axis=-1), np.inf)
        times = np.minimum(times, first)
        seen += path.shape[-1]
    return times


def draw_audits(probabilities: ArrayLike, rng: Rng = None) -> IntArray:
    """Draw verdicts for audit, independently, each with its known probability.

    Args:
        probabilities: Shape (verdicts,), in [0, 1]. May follow from anything known before the label.
            Verdicts with 0 lie outside what is monitored.
        rng: Source of the draw.

    Returns:
        Rows drawn, increasing: the order in which their losses are to be observed.

    Raises:
        InvalidArgument: A probability is out of its range.

    >>> draw_audits([1.0, 0.0, 1.0], rng=0).tolist()
    [0, 2]
    """
    drawn = np.asarray(probabilities, dtype=np.float64)
    if drawn.ndim != 1 or not np.all((drawn >= 0) & (drawn <= 1)):
        raise InvalidArgument("probabilities must be a list of numbers in [0, 1]")
    return np.flatnonzero(as_generator(rng).uniform(size=drawn.size) < drawn)


def draw_prompt_audits(prompts: ArrayLike, rate: float, rng: Rng = None) -> IntArray:
    """Draw prompts with equal probability, and one verdict of each at random.

    This monitors the risk of a random verdict of a random prompt.

    Args:
        prompts: Prompt of each verdict, shape (verdicts,).
        rate: Probability of each prompt.
        rng: Source of the draw.

    Returns:
        Rows drawn, increasing.

    Raises:
        InvalidArgument: The rate is out of its range, or `prompts` is not one list.

    >>> draw_prompt_audits(["q1", "q1", "q2"], rate=1.0, rng=0).size
    2
    """
    prompt = _checked_prompts(prompts)
    if not 0 <= rate <= 1:
        raise InvalidArgument(f"rate must lie in [0, 1], not {rate}")
    source = as_generator(rng)
    rows = one_row_a_group(prompt, source)
    return rows[source.uniform(size=rows.size) < rate]


def prompt_losses(losses: ArrayLike, prompts: ArrayLike) -> FloatArray:
    """Return the mean loss of each prompt, one audit for `observe` however many its verdicts.

    Verdicts of one prompt tend to be right or wrong together; taken as audits of their own they
    raise false alarms again and again. All of a prompt's audits must be there: a prompt enters
    once.

    Args:
        losses: Shape (verdicts,), in [0, 1].
        prompts: Prompt of each verdict, shape (verdicts,).

    Returns:
        Shape (prompts,), in the order in which prompts first appear.

    Raises:
        InvalidArgument: Shapes do not match, or a loss lies outside [0, 1].

    >>> prompt_losses([1, 0, 1], prompts=["q1", "q1", "q2"]).tolist()
    [0.5, 1.0]
    """
    prompt = _checked_prompts(prompts)
    loss = np.asarray(losses, dtype=np.float64)
    if loss.shape != prompt.shape:
        raise InvalidArgument(f"losses must have shape {prompt.shape}, not {loss.shape}")
    if not ((loss >= 0) & (loss <= 1)).all():
        raise InvalidArgument("losses must lie in [0, 1]")
    _, first = np.unique(prompt, return_index=True)
    means = np.bincount(prompt, weights=loss) / np.bincount(prompt)
    return means[np.argsort(first)]


def _checked_prompts(prompts: ArrayLike) -> IntArray:
    values = np.asarray(prompts)
    if values.ndim != 1:
        raise InvalidArgument(f"prompts must have shape (verdicts,), not {values.shape}")
    return numbered(values)


def _check_plan(state: MonitorState, drift: Drift, runs: int, horizon: int) -> None:
    if state.is_alarmed:
        raise InvalidArgument("state has raised its alarm already: there is nothing to wait for")
    if state.min_audit_probability is not None:
        raise InvalidArgument(
            "state must have no min_audit_probability: delays are simulated for equal ones"
        )
    for name, risk in (("risk_before", drift.risk_before), ("risk_after", drift.risk_after)):
        if not 0 <= risk <= 1:
            raise InvalidArgument(f"{name} must lie in [0, 1], not {risk}")
    for name, number, least in (("at", drift.at, 0), ("runs", runs, 1), ("horizon", horizon, 1)):
        if number < least or number % 1:
            raise InvalidArgument(f"{name} must be a whole number from {least} on, not {number}")


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
