"""Which verdicts are audited, and how many audits it takes until a rise of the risk is noticed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from calibration.arrays import FloatArray, IntArray
from calibration.audit_wealth import Wealth, followed
from calibration.chance import checked_rng
from calibration.errors import InvalidArgument
from calibration.monitoring import MonitorState, audit_terms
from calibration.sample import numbered, one_row_a_group


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
        """Audits by which that share has raised the alarm; None where that is past the horizon.

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
    rng: np.random.Generator,
    *,
    runs: int = 500,
    horizon: int = 5000,
) -> DetectionDelay:
    """Simulate how long an alarm takes after the risk has changed.

    Losses are 0 or 1 and independent, audits equally probable. The median over 2,000
    runs of a new monitor with alpha = .10 and failure probability .05, from .08 at audit 500: to .13
    1,500 audits, to .15 620, to .20 191, to .30 63; at audit 2,000: 2,030, 810, 239, 76. Small rises
    take long.

    Args:
        state: Monitor to go on from: a new one, or one in use.
        drift: The change, counted from that state on.
        rng: Source of the losses.
        runs: Number of streams.
        horizon: Audits after the change that are simulated.

    Raises:
        InvalidArgument: The alarm has been raised already, audit probabilities are unequal, or a
            number is out of its range.
    """
    _check_plan(state, drift, runs, horizon)
    is_before = np.arange(drift.at + horizon) < drift.at
    risk = np.where(is_before, drift.risk_before, drift.risk_after)
    alarms = alarm_times(state, checked_rng(rng).uniform(size=(runs, risk.size)) < risk)
    is_early = alarms <= drift.at
    return DetectionDelay(np.sort(alarms[~is_early] - drift.at), int(is_early.sum()))


def alarm_times(
    state: MonitorState, losses: ArrayLike, probabilities: ArrayLike | None = None
) -> FloatArray:
    """Number of the audit, from this state on, that raises the alarm in each of many streams.

    Args:
        state: Monitor that every stream goes on from.
        losses: Shape (streams, audits).
        probabilities: Shape (streams, audits); None where all are equal.

    Returns:
        Shape (streams,), counted from 1; inf where no alarm is raised.

    Raises:
        CalibrationError: As for `observe`.
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


def draw_audits(probabilities: ArrayLike, rng: np.random.Generator) -> IntArray:
    """Draw verdicts for audit, each by itself with its known probability.

    Args:
        probabilities: Shape (verdicts,), in [0, 1]. May follow from anything known before the label.
            Verdicts with 0 lie outside what is monitored.
        rng: Source of the draw.

    Returns:
        Rows drawn, increasing: the order in which their losses are to be observed.

    Raises:
        InvalidArgument: A probability is out of its range.
    """
    drawn = np.asarray(probabilities, dtype=np.float64)
    if drawn.ndim != 1 or not np.all((drawn >= 0) & (drawn <= 1)):
        raise InvalidArgument("probabilities must be a list of numbers in [0, 1]")
    return np.flatnonzero(checked_rng(rng).uniform(size=drawn.size) < drawn)


def draw_prompt_audits(prompts: ArrayLike, rate: float, rng: np.random.Generator) -> IntArray:
    """Draw prompts with equal probability, and one verdict of each at random.

    What is monitored so is the risk of a random verdict of a random prompt.

    Args:
        prompts: Prompt of each verdict, shape (verdicts,).
        rate: Probability of each prompt.
        rng: Source of the draw.

    Returns:
        Rows drawn, increasing.

    Raises:
        InvalidArgument: The rate is out of its range, or `prompts` is not one list.
    """
    prompt = _checked_prompts(prompts)
    if not 0 <= rate <= 1:
        raise InvalidArgument(f"rate must lie in [0, 1], not {rate}")
    rows = one_row_a_group(prompt, checked_rng(rng))
    return rows[rng.uniform(size=rows.size) < rate]


def prompt_losses(losses: ArrayLike, prompts: ArrayLike) -> FloatArray:
    """Mean loss of each prompt: one audit for `observe`, however many verdicts were audited.

    Verdicts of one prompt tend to be right or wrong together; taken as audits of their own they
    raise false alarms without end. All of a prompt's audits must be there: a prompt enters once.

    Args:
        losses: Shape (verdicts,), in [0, 1].
        prompts: Prompt of each verdict, shape (verdicts,).

    Returns:
        Shape (prompts,), in the order in which prompts first appear.

    Raises:
        InvalidArgument: Shapes do not match, or a loss lies outside [0, 1].
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
