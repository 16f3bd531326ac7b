"""Leaderboards with 1,000 bootstrap ranks, against a single fit by evalica."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from benchmarks.measuring import Baseline, Benchmark, Contender
from benchmarks.statistics.evalica_fit import NAME, evalica_fit, same_ratings
from benchmarks.statistics.made_comparisons import MadeComparisons, made_comparisons
from calibration.intervals import ClusterBootstrap
from calibration.ranking import Comparisons, Intervals, Leaderboard, RankingOptions, rank_models


def prepare(*, is_small: bool) -> Benchmark:
    """100,000 comparisons of 50 models, by prompt and each its own group."""
    n, n_models, n_resamples = (2_000, 6, 50) if is_small else (100_000, 50, 1_000)
    return _benchmark(n, n_models, n_resamples)


def prepare_million(*, is_small: bool) -> Benchmark:
    """1,000,000 verdicts on 100 models, by prompt and each its own group."""
    n, n_models, n_resamples = (4_000, 8, 50) if is_small else (1_000_000, 100, 1_000)
    return _benchmark(n, n_models, n_resamples)


def _benchmark(n: int, n_models: int, n_resamples: int) -> Benchmark:
    rng = np.random.default_rng(6)
    made = made_comparisons(n, n_models, rng)
    by_prompt = rng.integers(0, n // 50, n)
    single = np.arange(n)
    ranked = partial(_ranked, made, n_resamples)
    prompts = f"{n // 50:,} prompts"
    return Benchmark(
        f"{n_resamples:,} bootstrap ranks of {n:,} comparisons of {n_models} models",
        Baseline(NAME, evalica_fit(made)),
        (
            Contender(f"rank_models, {prompts}", partial(ranked, by_prompt, "bootstrap"), agrees),
            Contender(
                "rank_models, each its own group", partial(ranked, single, "bootstrap"), agrees
            ),
            Contender(
                f"rank_models, sandwich by {prompts}",
                partial(ranked, by_prompt, "sandwich"),
                agrees,
            ),
        ),
    )


def agrees(leaderboard: Leaderboard, log_strengths: dict[str, float]) -> bool:
    """The ratings are evalica's, every resample was fitted and every rank lies in its set."""
    return (
        same_ratings(leaderboard, log_strengths)
        and leaderboard.n_resamples_undefined == 0
        and all(row.rank_low <= row.rank <= row.rank_high for row in leaderboard.rows)
    )


def _ranked(
    made: MadeComparisons, n_resamples: int, groups: NDArray[np.int64], intervals: Intervals
) -> Leaderboard:
    bootstrap = ClusterBootstrap.over(groups, np.random.default_rng(7), n_resamples=n_resamples)
    comparisons = Comparisons.between(made.left, made.right, made.score)
    return rank_models(comparisons, RankingOptions(intervals=intervals), bootstrap)
