"""Worlds made to break a certification, beside those of `populations`."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from calibration.arrays import FloatArray
from tests.calibration.worlds.populations import WORLDS, World

_JUST_ABOVE = 1e-6


def _ranked(size: int) -> FloatArray:
    """Rank of each pair in the order in which a falling threshold answers them."""
    return (np.arange(size) + 0.5) / size


def _shared(rank: FloatArray, wrong: FloatArray) -> World:
    """Three judges that say the same."""
    confidence = np.repeat((1 - rank / 2)[:, None], 3, axis=1)
    return World(confidence, np.repeat(wrong[:, None], 3, axis=1))


def sawtooth(target_risk: float, size: int = 20_000) -> World:
    """The risk of the answered crosses the target again and again on the way down."""
    rank = _ranked(size)
    wanted = target_risk * (1 + 0.25 * np.sin(20 * np.pi * rank) * (1 - rank))
    wrong = np.diff(np.append(0.0, wanted * rank)) * size
    return _shared(rank, np.clip(wrong, 0, 1))


def cliff(target_risk: float, size: int = 20_000) -> World:
    """Good enough down to the usual start, and just above the target a little below it."""
    rank = _ranked(size)
    inside = 0.8 * target_risk
    share = 0.52
    beyond = min((target_risk + _JUST_ABOVE - inside * share) / 0.02 / 1.0, 1.0)
    wrong = np.select([rank < share, rank < share + 0.02], [inside, beyond], target_risk)
    lost = np.cumsum(wrong) / np.arange(1, size + 1)
    # whatever the cliff lacked is made up below it
    wrong = np.where(
        (rank > share) & (lost < target_risk), np.maximum(wrong, 2 * target_risk), wrong
    )
    return _shared(rank, np.clip(wrong, 0, 1))


def few_values(target_risk: float, size: int = 20_000) -> World:
    """Confidences take five values; every one of them has a risk just above the target."""
    rng = np.random.default_rng(21)
    confidence = np.round(rng.uniform(0.55, 0.95, (size, 3)), 1)
    return World(confidence, np.full((size, 3), target_risk + _JUST_ABOVE))


def seldom_answering(target_risk: float, size: int = 20_000) -> World:
    """All judges fail on most pairs, the same ones, and are just above the target elsewhere."""
    rng = np.random.default_rng(22)
    is_failed = rng.uniform(size=(size, 1)) < 0.7
    confidence = np.where(is_failed, np.nan, rng.uniform(0.5, 1, (size, 3)))
    return World(
        confidence, np.where(is_failed, 0.0, np.full((size, 3), target_risk + _JUST_ABOVE))
    )


def opposed(target_risk: float, size: int = 20_000) -> World:
    """Strips in which the second judge is right exactly where the first is wrong."""
    rng = np.random.default_rng(23)
    strip = rng.integers(0, 6, size)
    first_wrong = rng.uniform(size=size) < target_risk + _JUST_ABOVE
    first = 0.95 - 0.05 * strip
    second = 0.55 + 0.05 * strip
    third = np.full(size, 0.51)
    wrong = np.stack(
        [
            first_wrong.astype(np.float64),
            (~first_wrong).astype(np.float64),
            np.full(size, target_risk + _JUST_ABOVE),
        ],
        axis=1,
    )
    return World(np.stack([first, second, third], axis=1), wrong)


def cheap_takes_over(target_risk: float, size: int = 20_000) -> World:
    """The dear judge is good at the top; lower down the cheap one takes its pairs and is worse."""
    rank = _ranked(size)
    dear = 1 - rank / 2
    cheap = np.where(rank < 0.6, 0.5 + 0.2 * rank, 0.5)
    dear_wrong = np.full(size, 0.6 * target_risk)
    cheap_wrong = np.where(rank < 0.6, 1.3 * target_risk + _JUST_ABOVE, target_risk)
    low = 1.4 * target_risk
    dear_wrong = np.where(rank < 0.6, dear_wrong, low)
    return World(
        np.stack([cheap, cheap - 0.01, dear], axis=1),
        np.stack([cheap_wrong, cheap_wrong, dear_wrong], axis=1),
    )


def good_alone(target_risk: float, size: int = 20_000) -> World:
    """The dear judge is good over all pairs and bad on those that the cheap one leaves."""
    rank = _ranked(size)
    is_left = rank > 0.75
    cheap_wrong = np.where(is_left, 5 * target_risk, 0.6 * target_risk)
    dear_wrong = np.where(is_left, 2.8 * target_risk, 0.2 * target_risk)
    dear = 0.9 + 0.1 * np.random.default_rng(24).uniform(size=size)
    return World(
        np.stack([1 - rank / 2, np.full(size, np.nan), dear], axis=1),
        np.stack([cheap_wrong, np.zeros(size), dear_wrong], axis=1),
    )


def taking_turns(target_risk: float, size: int = 20_000) -> World:
    """Each pair can be answered by one judge only; every threshold is just above the target."""
    rng = np.random.default_rng(25)
    is_own = rng.integers(0, 3, (size, 1)) == np.arange(3)
    confidence = np.where(is_own, rng.uniform(0.5, 1, (size, 3)), np.nan)
    return World(confidence, np.where(is_own, target_risk + _JUST_ABOVE, 0.0))


ALL_WORLDS: dict[str, Callable[[float], World]] = {
    **WORLDS,
    "sawtooth": sawtooth,
    "cliff": cliff,
    "few values": few_values,
    "seldom answering": seldom_answering,
    "opposed": opposed,
    "cheap takes over": cheap_takes_over,
    "good alone": good_alone,
    "taking turns": taking_turns,
}
