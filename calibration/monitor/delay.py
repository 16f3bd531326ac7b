"""How long an alarm takes after the risk has changed, and which risk would have raised it by now."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import scipy
from numpy.typing import ArrayLike

from calibration.arrays import FloatArray
from calibration.errors import InvalidArgument, Rng, as_generator
from calibration.monitor.monitor import MonitorState, audit_terms
from calibration.monitor.wealth import RESTART_EVERY, Wealth, followed, restart_weights


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
        audit_rate: Share of the verdicts that are audited.
    """

    delays: FloatArray
    early_alarms: int
    audit_rate: float = 1.0

    @property
    def median(self) -> float | None:
        """Half of the runs that were silent before the change have raised the alarm by then."""
        return self.quantile(0.5)

    @property
    def median_verdicts(self) -> float | None:
        """Verdicts given until `median`: audits over the audit rate."""
        return None if self.median is None else self.median / self.audit_rate

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


def detection_delay(  # noqa: PLR0913 - the drift, and how it is simulated
    state: MonitorState,
    drift: Drift,
    rng: Rng = None,
    *,
    audit_rate: float = 1.0,
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
        audit_rate: Share of the verdicts that are audited, in (0, 1]: it turns audits into verdicts.
        runs: Number of streams.
        horizon: Audits after the change that are simulated.

    Raises:
        InvalidArgument: The alarm has been raised already, audit probabilities are unequal, or a
            number is out of its range.

    >>> from calibration.monitor import start_monitor
    >>> drift = Drift(risk_before=0.05, risk_after=0.6, at=50)
    >>> state = start_monitor(target_risk=0.1)
    >>> delay = detection_delay(state, drift, rng=0, audit_rate=0.02, runs=50, horizon=200)
    >>> delay.detected_share, delay.early_alarms
    (1.0, 0)
    >>> delay.median, delay.median_verdicts
    (9.0, 450.0)
    """
    _check_plan(state, drift, runs, horizon)
    if not 0 < audit_rate <= 1:
        raise InvalidArgument(f"audit_rate must lie in (0, 1], not {audit_rate}")
    is_before = np.arange(drift.at + horizon) < drift.at
    risk = np.where(is_before, drift.risk_before, drift.risk_after)
    alarms = alarm_times(state, as_generator(rng).uniform(size=(runs, risk.size)) < risk)
    is_early = alarms <= drift.at
    return DetectionDelay(np.sort(alarms[~is_early] - drift.at), int(is_early.sum()), audit_rate)


def detectable_risk(
    state: MonitorState, *, since: int = 0, probability: float = 0.5
) -> float | None:
    """Return the smallest risk that the audits so far would have raised the alarm for.

    Had every audit after number `since` had this risk, the alarm would have been raised by now with
    at least that probability: that is how much drift the monitor can have seen. Only the bet that
    starts next after `since` is counted, and only its wealth now, so that a little less is seen in
    truth. With K losses in m audits the wealth of that bet is the mean over alternatives r of
    (r / alpha)^K ((1 - r) / (1 - alpha))^(m - K); K* is the smallest K that brings it to the alarm,
    and the risk solves P(Bin(m, risk) >= K*) = probability.

    Args:
        state: Monitor. Unequal audit probabilities are taken as if all were their harmonic mean,
            which is an approximation.
        since: Number of audits before the drift.
        probability: Probability of having raised the alarm, in (0, 1).

    Returns:
        The risk; None where not even a loss at every audit would have raised it.

    Raises:
        InvalidArgument: `since` is no whole number from 0 to the audits seen, or the probability is
            out of its range.

    >>> from calibration.monitor import observe, start_monitor
    >>> calm = observe(start_monitor(target_risk=0.1), [0.0] * 400)
    >>> round(detectable_risk(calm), 3), round(detectable_risk(calm, since=300), 3)
    (0.152, 0.256)
    >>> detectable_risk(start_monitor(target_risk=0.1)) is None
    True
    """
    if not 0 <= since <= state.audits or since % 1:
        raise InvalidArgument(f"since must be a whole number from 0 to {state.audits}, not {since}")
    if not 0 < probability < 1:
        raise InvalidArgument(f"probability must lie in (0, 1), not {probability}")
    skipped = -(-since // RESTART_EVERY)
    audits = state.audits - skipped * RESTART_EVERY
    if audits <= 0:
        return None
    mean_weight = state.weight_total / state.audits
    bets = state.bets * (mean_weight if state.min_audit_probability is not None else 1.0)
    lost = np.arange(audits + 1.0)
    growth = np.multiply.outer(lost, np.log1p(bets * (1.0 - state.target_risk)))
    growth += np.multiply.outer(audits - lost, np.log1p(-bets * state.target_risk))
    stake = float(restart_weights(np.array([skipped + 1.0]))[0]) / bets.size
    wealth = np.logaddexp.reduce(growth, axis=1) + math.log(stake)
    reached = np.flatnonzero(wealth >= -math.log(state.failure_probability))
    if not reached.size:
        return None
    fewest = int(reached[0])
    return float(scipy.special.betaincinv(fewest, audits - fewest + 1.0, probability))


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
