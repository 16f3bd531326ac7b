from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import sparse

from calibration.estimate import Estimate
from calibration.intervals import ClusterBootstrap
from calibration.ranking import (
    Comparisons,
    Leaderboard,
    PairLayout,
    RankingOptions,
    fit_strengths,
    rank_models,
)
from calibration.ranking.style import ComparisonModel, Sandwich, sandwich
from tests.calibration.ranking.test_bradley_terry import random_comparisons
from tests.calibration.worlds.prompts import PromptWorld

WORLD = PromptWorld(np.array([0.6, 0.2, -0.3, -0.5]), spread=0.8)


def ranked(played: Comparisons, groups: np.ndarray, options: RankingOptions) -> Leaderboard:
    return rank_models(played, options, ClusterBootstrap.over(groups, np.random.default_rng(0)))


def half_widths(board: Leaderboard) -> dict[str, float]:
    assert all(row.rating.high is not None for row in board.rows)
    return {row.model: (row.rating.high or 0) - (row.rating.value or 0) for row in board.rows}


def test_covariance_of_a_mean_is_that_of_group_sums() -> None:
    scores = np.array([[1.0], [-2.0], [1.0]])
    found = sandwich(sparse.csr_array(scores), np.array([[4.0]]), n_rows=9, n_free=1)
    assert found.covariance[0, 0] == pytest.approx(6 / 16 * 3 / 2 * 8 / 8)
    assert found.largest_share == pytest.approx([4 / 6])
    assert found.n_groups == 3


def test_parameter_without_spread_rests_on_no_group() -> None:
    scores = sparse.csr_array(np.array([[1.0, 0.0], [-1.0, 0.0]]))
    assert sandwich(scores, np.eye(2), 2, 1).largest_share.tolist() == [0.5, 0.0]


def test_one_group_gives_no_interval() -> None:
    found = Sandwich(np.eye(1), 1, np.ones(1)).estimate(0, 2.0, 0.95, 7)
    assert found == Estimate(2.0, None, None, 0.95, 7)


def test_intervals_are_those_of_statsmodels_by_cluster() -> None:
    sample = WORLD.draw(60, np.random.default_rng(1))
    played = sample.comparisons
    design = np.zeros((len(played), 4))
    rows = np.arange(len(played))
    design[rows, played.left], design[rows, played.right] = 1, -1
    wanted = sm.GLM(played.score, design[:, 1:], family=sm.families.Binomial()).fit(
        cov_type="cluster", cov_kwds={"groups": sample.prompt}
    )
    centred = (np.eye(4) - 0.25)[:, 1:]  # statsmodels' first strength is 0, ours have mean 0
    error = np.sqrt(np.diag(centred @ wanted.cov_params() @ centred.T))
    found = half_widths(ranked(played, sample.prompt, RankingOptions(intervals="sandwich")))
    student = 2.0010  # t with 59 degrees of freedom
    for model, width in zip(played.models, student * error, strict=True):
        assert found[model] == pytest.approx(width, rel=1e-4)


@pytest.mark.parametrize("has_tie_parameter", [False, True])
def test_scores_and_information_are_derivatives_of_the_likelihood(has_tie_parameter: bool) -> None:
    played = random_comparisons(3, 40, 3)
    rng = np.random.default_rng(0)
    model = ComparisonModel(played, rng.normal(size=(40, 2)), has_tie_parameter=has_tie_parameter)
    at = rng.normal(size=model.n_parameters) * 0.3

    def log_likelihood(parameters: np.ndarray) -> float:
        odds, log_tie = model.log_odds(parameters), parameters[-1]
        parts = np.array([odds / 2, -odds / 2, np.full(40, log_tie)])
        if not has_tie_parameter:
            parts = parts[:2]
        share = np.array([played.score, 1 - played.score])
        if has_tie_parameter:
            share = np.array([played.score == 1, played.score == 0, played.score == 0.5])
        return float((share * (parts - np.logaddexp.reduce(parts))).sum())

    step = 1e-4 * np.eye(model.n_parameters)
    slope = [(log_likelihood(at + h) - log_likelihood(at - h)) / 2e-4 for h in step]
    assert model.gradient(model.moments(at)) == pytest.approx(np.array(slope), abs=1e-6)
    bend = np.array(
        [
            model.gradient(model.moments(at - h)) - model.gradient(model.moments(at + h))
            for h in step
        ]
    )
    regular = model.information(model.moments(at)) - bend / 2e-4
    wanted = np.zeros_like(regular)
    wanted[:3, :3] = regular[0, 0]
    wanted[-1, -1] = 0 if has_tie_parameter else 1
    assert regular == pytest.approx(wanted, abs=1e-5)
    assert regular[0, 0] > 0


def test_scores_by_group_add_up_to_nothing_at_the_fit() -> None:
    played = random_comparisons(5, 90, 4)
    weight = np.tile([0.0, 1.0, 2.0], 30)
    played = Comparisons(played.models, played.left, played.right, played.score, weight)
    fitted = fit_strengths(PairLayout.of(played).whole(), played.models)
    model = ComparisonModel(played, np.zeros((90, 0)), has_tie_parameter=False)
    at = model.moments(np.append(fitted.log_strength[0], 0.0))
    scores = model.scores_by_group(at, np.arange(90) // 2)
    assert scores.shape == (45, 5)  # every group of two keeps a row of some weight
    assert scores.sum(axis=0) == pytest.approx(np.zeros(5), abs=1e-8)
    assert model.scores_by_group(at, np.arange(90)).shape == (60, 5)


def test_davidson_strengths_have_sandwich_intervals_like_their_bootstrap() -> None:
    played = random_comparisons(6, 600, 4)
    groups = np.arange(600) // 6
    widths = [
        half_widths(ranked(played, groups, RankingOptions(ties="davidson", intervals=source)))
        for source in ("sandwich", "bootstrap")
    ]
    for model in played.models:
        assert widths[0][model] == pytest.approx(widths[1][model], rel=0.2)


def test_groups_of_which_each_gives_the_value_show_no_spread() -> None:
    found = Sandwich(np.zeros((1, 1)), 80, np.zeros(1)).estimate(0, 0.0, 0.95, 160)
    assert found == Estimate(0.0, None, None, 0.95, 160)


def test_a_parameter_that_rests_on_few_groups_has_their_degrees_of_freedom() -> None:
    found = Sandwich(np.eye(1), 80, np.ones(1)).resting_on(5).estimate(0, 0.0, 0.95, 7)
    assert found.high == pytest.approx(2.776445, abs=1e-6)  # Student's with 4
    assert Sandwich(np.eye(1), 3, np.ones(1)).resting_on(5).n_groups == 3
