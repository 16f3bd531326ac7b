"""How often intervals for strengths hold the truth, in a world where it is known."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from calibration.powered import prediction_powered_strengths
from tests.calibration.worlds.leaderboards import Judge, draw_arena, true_log_strengths


def share_covered(
    judge: Judge, n_prompts: int, *, draws: int, is_scattered: bool = False, ignored: bool = False
) -> tuple[float, float]:
    """Share of intervals that hold the truth, over models and draws, and the median saving."""
    hits, saved = [], []
    for draw in range(draws):
        rng = np.random.default_rng([5, n_prompts, draw])
        arena = draw_arena(judge, 250, rng)
        labels = arena.labels(n_prompts, rng)
        if is_scattered:
            labels = arena.scattered_labels(8 * n_prompts, rng)
        if ignored:
            labels = replace(labels, groups=None)
        found = prediction_powered_strengths(arena.predicted, labels, rng=rng)
        for row, truth in zip(found.rows, true_log_strengths(), strict=True):
            assert row.log_strength.low is not None
            assert row.log_strength.high is not None
            hits.append(row.log_strength.low <= truth <= row.log_strength.high)
        if found.effective_labels is not None:
            saved.append(found.effective_labels / found.n_labelled)
    return float(np.mean(hits)), float(np.median(saved))


def test_intervals_hold_the_truth() -> None:
    share, saved = share_covered("self_preferring", 60, draws=60)
    assert share >= 0.92
    assert saved > 1.15


@pytest.mark.slow
@pytest.mark.parametrize("judge", ["fair", "self_preferring", "useless", "contrary"])
@pytest.mark.parametrize(
    ("n_prompts", "is_scattered", "draws"),
    [(13, False, 200), (25, False, 200), (60, False, 1_000), (25, True, 1_000)],
)
def test_intervals_cover_as_promised(
    judge: Judge, n_prompts: int, is_scattered: bool, draws: int
) -> None:
    share, saved = share_covered(judge, n_prompts, draws=draws, is_scattered=is_scattered)
    form = "scattered" if is_scattered else "whole prompts"
    print(f"{judge}, {n_prompts} x 8 labels, {form}: {share:.4f}, saved {saved:.2f}")  # noqa: T201
    assert 0.93 <= share <= 0.97


@pytest.mark.slow
@pytest.mark.parametrize(("n_prompts", "draws"), [(8, 600), (13, 600), (25, 600)])
def test_intervals_cover_although_few_labels_contradict_the_judge(
    n_prompts: int, draws: int
) -> None:
    share, saved = share_covered("seldom_wrong", n_prompts, draws=draws, is_scattered=True)
    print(f"seldom_wrong, {8 * n_prompts} labels: {share:.4f}, saved {saved:.2f}")  # noqa: T201
    assert share >= 0.93


@pytest.mark.slow
def test_ignored_prompts_are_flagged() -> None:
    share, _ = share_covered("useless", 100, draws=1_000, ignored=True)
    print(f"prompts ignored: {share:.4f}")  # noqa: T201
    assert share < 0.93
