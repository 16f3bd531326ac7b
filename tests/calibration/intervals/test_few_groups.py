"""Intervals over two to five groups, and of rates that are the same in every group."""

from __future__ import annotations

import numpy as np
import pytest

from calibration.agreement import cohens_kappa, correlations
from calibration.estimate import Estimate
from calibration.intervals import ClusterBootstrap, Groups, estimate_mean, estimate_share
from calibration.ranking import Comparisons, ModelRating, RankingOptions, rank_models
from calibration.reliability import (
    equal_width_edges,
    estimate_auprc,
    estimate_auroc,
    estimate_brier_parts,
    estimate_brier_score,
    estimate_calibration_error,
    estimate_log_loss,
    estimate_maximum_calibration_error,
)

ROWS = 15


def least(draws: int, level: float = 0.95) -> float:
    return level - 3 * float(np.sqrt(level * (1 - level) / draws))


def first_model(score: np.ndarray, group: np.ndarray, draw: int) -> ModelRating:
    n = len(score)
    played = Comparisons.between(["A"] * n, ["B"] * n, score)
    bootstrap = ClusterBootstrap.over(group, draw, n_resamples=200)
    rows = rank_models(played, RankingOptions(method="win_rate"), bootstrap).rows
    return next(row for row in rows if row.model == "A")


def holds(found: Estimate, truth: float) -> bool:
    assert found.low is not None
    assert found.high is not None
    assert found.high > found.low
    return found.low <= truth <= found.high


@pytest.mark.parametrize("n_groups", [2, 3, 4, 5])
@pytest.mark.parametrize(("won", "lost"), [(2, 2), (9, 1)])
def test_few_groups_cover_as_they_say(n_groups: int, won: int, lost: int) -> None:
    draws, group = 150, np.repeat(np.arange(n_groups), ROWS)
    covered = np.zeros(2)
    for draw in range(draws):
        rng = np.random.default_rng([draw, n_groups, won])
        score = (rng.random(len(group)) < rng.beta(won, lost, n_groups)[group]).astype(np.float64)
        truth = won / (won + lost)
        win_rate = first_model(score, group, draw).win_rate
        share = estimate_share(score, None, Groups.of(group))
        covered += [holds(win_rate, truth), holds(share, truth)]
    assert (covered / draws >= least(draws)).all(), covered / draws


ALIKE_CONFIDENCE = [0.9, 0.8, 0.7, 0.95, 0.65]
ALIKE = [1.0, 1.0, 1.0, 0.0, 1.0]


def estimates_of(confidence: np.ndarray, right: np.ndarray, group: np.ndarray) -> list[Estimate]:
    """Return what is estimated of verdicts, with intervals by groups."""
    bootstrap = ClusterBootstrap.over(group, 0, n_resamples=200)
    edges = equal_width_edges(2)
    parts = estimate_brier_parts(confidence, right, edges, bootstrap)
    assert parts is not None
    correlation = correlations(confidence, right, group)
    return [
        estimate_share(right, None, Groups.of(group)),
        estimate_calibration_error(confidence, right, edges, bootstrap),
        estimate_calibration_error(np.ones(len(right)), right, edges, bootstrap),
        estimate_maximum_calibration_error(confidence, right, edges, group),
        estimate_brier_score(confidence, right, bootstrap),
        estimate_log_loss(confidence, right, bootstrap),
        estimate_auroc(confidence, right, group),
        estimate_auprc(confidence, right, group),
        parts.reliability, parts.resolution, parts.uncertainty,
        correlation.pearson, correlation.spearman, correlation.kendall,
        cohens_kappa((confidence > 0.75).astype(int), right.astype(int), groups=group),
    ]  # fmt: skip


@pytest.mark.parametrize("n_groups", [2, 3, 4, 6])
def test_groups_that_are_alike_give_no_interval_of_no_width(n_groups: int) -> None:
    group = np.repeat(np.arange(n_groups), len(ALIKE))
    confidence, right = np.tile(ALIKE_CONFIDENCE, n_groups), np.tile(ALIKE, n_groups)
    for place, found in enumerate(estimates_of(confidence, right, group)):
        assert found.value is not None, place
        if found.low is not None and found.high is not None:
            assert found.high - found.low > 0.05, (place, found)


def test_two_groups_say_next_to_nothing() -> None:
    score = np.array([1.0] * 13 + [0.0] * 2 + [1.0] * 5 + [0.0] * 10)
    found = first_model(score, np.repeat([0, 1], ROWS), 1).win_rate
    assert found.low is not None
    assert found.high is not None
    assert found.low < 0.05
    assert found.high > 0.95


@pytest.mark.parametrize("n_groups", [2, 3, 4, 5])
def test_means_and_ratings_of_few_groups_have_student_s_interval(n_groups: int) -> None:
    draws, group = 200, np.repeat(np.arange(n_groups), 3)
    covered = given = 0
    for draw in range(draws):
        rng = np.random.default_rng([draw, n_groups])
        values = rng.normal(size=n_groups)[group] + 0.1 * rng.normal(size=len(group))
        found = estimate_mean(values, ClusterBootstrap.over(group, rng, n_resamples=200))
        covered += holds(found, 0)
        given += 1
    assert covered / given >= least(draws)


def won(pairs: list[tuple[str, str]], n: int) -> Comparisons:
    left, right = zip(*(pair for pair in pairs for _ in range(n)), strict=True)
    return Comparisons.between(left, right, np.ones(len(left)))


@pytest.mark.parametrize("pairs", [[("A", "B"), ("B", "C")], [("A", "B"), ("B", "C"), ("C", "A")]])
def test_an_average_of_clean_sweeps_keeps_a_width(pairs: list[tuple[str, str]]) -> None:
    played = won(pairs, 5)
    bootstrap = ClusterBootstrap.over(np.arange(len(played)), 0, n_resamples=200)
    options = RankingOptions(method="average_win_rate")
    rows = {row.model: row.rating for row in rank_models(played, options, bootstrap).rows}
    found = rows["B"]
    assert found.value == 0.5
    assert found.low == pytest.approx(0.283, abs=0.03)
    assert found.high == pytest.approx(0.717, abs=0.03)


@pytest.mark.parametrize("n", [5, 20])
def test_average_win_rates_cover(n: int) -> None:
    """Five opponents, of whom some are nearly always beaten."""
    chance, draws, covered = np.array([0.98, 0.95, 0.5, 0.3, 0.03]), 150, 0
    for draw in range(draws):
        rng = np.random.default_rng([draw, n])
        opponent = np.repeat(np.arange(5), n)
        score = (rng.random(len(opponent)) < chance[opponent]).astype(np.float64)
        names = [f"o{number}" for number in opponent]
        played = Comparisons.between(["A"] * len(names), names, score)
        bootstrap = ClusterBootstrap.over(np.arange(len(names)), draw, n_resamples=200)
        board = rank_models(played, RankingOptions(method="average_win_rate"), bootstrap)
        found = next(row.rating for row in board.rows if row.model == "A")
        covered += holds(found, float(chance.mean()))
    assert covered / draws >= least(draws)


def test_kappa_covers_where_disagreements_are_rare() -> None:
    """Fifty units, one in twenty rated otherwise, four of five in one category."""
    truth = 1 - 0.05 / (2 * 0.2 * 0.8 + 0.05 * 0.6**2)
    draws, covered = 300, 0
    for draw in range(draws):
        rng = np.random.default_rng([draw, 7])
        first = (rng.random(50) < 0.8).astype(np.int64)
        second = np.where(rng.random(50) < 0.05, 1 - first, first)
        covered += holds(cohens_kappa(first, second, np.arange(50)), truth)
    assert covered / draws >= least(draws)
