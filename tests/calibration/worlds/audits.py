"""Streams of audits with a known risk, and adversaries that see the wealth before they choose one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from calibration.arrays import FloatArray
from calibration.monitor import MonitorState
from calibration.monitor.wealth import Wealth, followed

# (log wealth of each stream, audits so far, source of chance) -> the losses of the next audit
Adversary = Callable[[FloatArray, int, np.random.Generator], FloatArray]


def even(risk: float, streams: int, audits: int, rng: np.random.Generator) -> FloatArray:
    """Independent losses of 0 or 1."""
    return (rng.uniform(size=(streams, audits)) < risk).astype(np.float64)


def clustered(
    risk: float, streams: int, prompts: int, size: int, rng: np.random.Generator
) -> FloatArray:
    """Losses of prompts with several answers of correlation .5, shape (streams, prompts, size)."""
    # A beta with parameters adding up to 1 gives losses a correlation of 1 / (1 + 1).
    risks = rng.beta(risk, 1 - risk, size=(streams, prompts, 1))
    return (rng.uniform(size=(streams, prompts, size)) < risks).astype(np.float64)


def unequal(
    easy: tuple[float, float], hard: tuple[float, float], verdicts: int, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Losses and probabilities of audited verdicts, half of them hard.

    Args:
        easy: Risk and audit probability.
        hard: The same.
        verdicts: Verdicts given, audited or not.
        rng: Source of chance.
    """
    is_hard = rng.uniform(size=verdicts) < 0.5
    loss = rng.uniform(size=verdicts) < np.where(is_hard, hard[0], easy[0])
    probability = np.where(is_hard, hard[1], easy[1])
    audited = rng.uniform(size=verdicts) < probability
    return loss[audited].astype(np.float64), probability[audited]


def careful_near_the_alarm(risk: float) -> Adversary:
    """Bets boldly until the wealth is 10, then in small soft steps, so that nothing overshoots."""

    def choose(log_wealth: FloatArray, _: int, rng: np.random.Generator) -> FloatArray:
        height = np.where(log_wealth < np.log(10), 1.0, 2 * risk)
        return np.where(rng.uniform(size=height.size) < risk / height, height, 0.0)

    return choose


def waits_until_all_is_staked(risk: float, patience: int) -> Adversary:
    """Loses exactly the target at each audit, until most of the money has entered."""
    careful = careful_near_the_alarm(risk)

    def choose(log_wealth: FloatArray, audits: int, rng: np.random.Generator) -> FloatArray:
        if audits < patience:
            return np.full(log_wealth.size, risk)
        return careful(log_wealth, audits, rng)

    return choose


def rests_when_behind(risk: float) -> Adversary:
    """Takes the whole risk while it is ahead, loses exactly the target while it is behind."""

    def choose(log_wealth: FloatArray, audits: int, rng: np.random.Generator) -> FloatArray:
        lost = rng.uniform(size=log_wealth.size) < risk
        is_resting = (log_wealth < np.log(0.5)) & (audits % 25 != 0)
        return np.where(is_resting, risk, lost)

    return choose


def runs_in_bursts(risk: float) -> Adversary:
    """All of the risk in every other hundred audits, none in between."""

    def choose(log_wealth: FloatArray, audits: int, rng: np.random.Generator) -> FloatArray:
        return (rng.uniform(size=log_wealth.size) < risk * (audits // 100 % 2)).astype(np.float64)

    return choose


def alarmed_share(
    state: MonitorState, adversary: Adversary, streams: int, audits: int, rng: np.random.Generator
) -> float:
    """Share of streams in which the adversary ever brings the wealth to the alarm."""
    opening, bets = state.wealth, state.bets
    wealth = Wealth(np.tile(opening.log_stakes, (streams, 1)), opening.cash, opening.audits)
    highest = np.zeros(streams)
    for audit in range(audits):
        losses = adversary(wealth.log_total, audit, rng)
        for after, path in followed(wealth, bets, (losses - state.target_risk)[:, None]):
            wealth, highest = after, np.maximum(highest, path[:, 0])
    return float((highest >= -np.log(state.failure_probability)).mean())
