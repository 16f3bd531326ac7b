"""Intervals and rank sets of leaderboards in worlds with known truth, eight comparisons a prompt."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest

from calibration.arrays import FloatArray
from calibration.intervals import ClusterBootstrap, Groups
from calibration.ranking import DisconnectedComparisons, Intervals, RankingOptions, rank_models
from tests.calibration.worlds.prompts import PromptWorld

CLUSTERED = PromptWorld(np.array([0.6, 0.2, -0.3, -0.5]), spread=1.2)
EQUAL = PromptWorld(np.zeros(6), spread=1.2)
LEVEL = 0.95


class Coverage(NamedTuple):
    """Share of intervals that hold the truth, and of draws in which all rank sets do."""

    intervals: float
    rank_sets: float


def coverage(
    world: PromptWorld,
    n_prompts: int,
    draws: int,
    *,
    intervals: Intervals = "auto",
    by_prompt: bool = True,
) -> Coverage:
    truth, covered, all_right, counted = world.truth(), 0.0, 0, 0
    for draw in range(draws):
        rng = np.random.default_rng([n_prompts, draw])
        sample = world.draw(n_prompts, rng)
        group = sample.prompt if by_prompt else np.arange(len(sample.prompt))
        bootstrap = ClusterBootstrap.over(Groups.of(group, LEVEL), rng, n_resamples=400)
        try:
            board = rank_models(sample.comparisons, RankingOptions(intervals=intervals), bootstrap)
        except DisconnectedComparisons:
            continue  # has no interval, and with 20 prompts happens in few draws in a thousand
        counted += 1
        own = [(row, world.models.index(row.model)) for row in board.rows]
        covered += np.mean(
            [(row.rating.low or 0) <= truth[k] <= (row.rating.high or 0) for row, k in own]
        )
        all_right += all(holds(truth, k, row.rank_low, row.rank_high) for row, k in own)
    assert counted > 0.99 * draws
    return Coverage(covered / counted, all_right / counted)


def holds(truth: FloatArray, model: int, low: int, high: int) -> bool:
    """Whether a set has every rank of the model; equal models share several."""
    best = 1 + int((truth > truth[model] + 1e-9).sum())
    worst = len(truth) - int((truth < truth[model] - 1e-9).sum())
    return low <= best and high >= worst


def least(draws: int) -> float:
    """The level less three standard errors, as if the intervals of one draw were one."""
    return float(LEVEL - 3 * np.sqrt(LEVEL * (1 - LEVEL) / draws))


def test_sandwich_covers_and_ignoring_prompts_is_flagged() -> None:
    draws = 250
    assert coverage(CLUSTERED, 60, draws).intervals >= least(draws)
    assert coverage(CLUSTERED, 60, draws, by_prompt=False).intervals < least(draws)


def test_rank_sets_hold_together_and_ignoring_prompts_is_flagged() -> None:
    draws = 200
    assert coverage(EQUAL, 60, draws).rank_sets >= least(draws)
    assert coverage(EQUAL, 60, draws, by_prompt=False).rank_sets < least(draws)


@pytest.mark.slow
@pytest.mark.parametrize("n_prompts", [20, 50, 100, 200])
@pytest.mark.parametrize("world", [CLUSTERED, EQUAL], ids=["clustered", "equal"])
@pytest.mark.parametrize("intervals", ["auto", "bootstrap", "sandwich"])
def test_nominal_coverage(world: PromptWorld, n_prompts: int, intervals: Intervals) -> None:
    draws = 2_000
    found = coverage(world, n_prompts, draws, intervals=intervals)
    print(f"{n_prompts} prompts, {intervals}: {found}")  # noqa: T201
    assert found.intervals >= 0.93
    assert found.rank_sets >= least(draws)


@pytest.mark.slow
@pytest.mark.parametrize("n_prompts", [50, 200])
def test_ignored_prompts_are_flagged(n_prompts: int) -> None:
    found = coverage(CLUSTERED, n_prompts, 2_000, by_prompt=False)
    print(f"{n_prompts} prompts ignored: {found}")  # noqa: T201
    assert found.intervals < 0.93
