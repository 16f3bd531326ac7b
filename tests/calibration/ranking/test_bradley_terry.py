from __future__ import annotations

import evalica
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from calibration.ranking import (
    Comparisons,
    DisconnectedComparisons,
    NoFiniteStrengths,
    PairLayout,
    PairTotals,
    Strengths,
    connected_components,
    fit_resamples,
    fit_strengths,
    information,
    strength_shares,
)
from calibration.ranking.bradley_terry import moments
from calibration.ranking.style import ComparisonModel

WINNER = {1.0: evalica.Winner.X, 0.0: evalica.Winner.Y, 0.5: evalica.Winner.Draw}


def random_comparisons(
    seed: int, n: int = 300, n_models: int = 6, ties: bool = True
) -> Comparisons:
    rng = np.random.default_rng(seed)
    pairs = np.array([rng.choice(n_models, 2, replace=False) for _ in range(n)])
    names = np.array([f"m{i}" for i in range(n_models)])
    scores = rng.choice([0.0, 0.5, 1.0] if ties else [0.0, 1.0], n)
    return Comparisons.between(names[pairs[:, 0]].tolist(), names[pairs[:, 1]].tolist(), scores)


def totals_of(played: Comparisons) -> PairTotals:
    return PairLayout.of(played).whole()


def fit(played: Comparisons, *, davidson: bool = False) -> Strengths:
    return fit_strengths(totals_of(played), played.models, has_tie_parameter=davidson)


def davidson_probabilities(theta: np.ndarray, log_tie: float, totals: PairTotals) -> np.ndarray:
    strength = np.exp(theta)
    first, second = strength[totals.first], strength[totals.second]
    tie = np.exp(log_tie) * np.sqrt(first * second)
    return np.asarray(np.array([first, second, tie]) / (first + second + tie))


@pytest.mark.parametrize("seed", range(5))
def test_strengths_are_those_of_evalica(seed: int) -> None:
    played = random_comparisons(seed)
    wanted = evalica.bradley_terry(
        [played.models[i] for i in played.left],
        [played.models[i] for i in played.right],
        [WINNER[score] for score in played.score.tolist()],
        tolerance=1e-13,
        limit=100_000,
    ).scores
    found = strength_shares(fit(played).log_strength[0])
    for model, share in zip(played.models, found, strict=True):
        assert share == pytest.approx(wanted[model] / wanted.sum(), abs=1e-8)


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(30, 80))
def test_every_model_gets_the_points_that_its_strength_predicts(seed: int, n: int) -> None:
    played = random_comparisons(seed, n, 4)
    totals = totals_of(played)
    assume(len(connected_components(totals, played.models)) == 1)
    theta = fit(played).log_strength[0]
    share = 1 / (1 + np.exp(theta[totals.second] - theta[totals.first]))
    expected = totals.by_model(totals.games * share, totals.games * (1 - share))
    observed = totals.by_model(totals.first_points, totals.second_points)
    assert expected == pytest.approx(observed, abs=1e-8)
    assert theta.mean() == pytest.approx(0, abs=1e-12)


@settings(deadline=None)
@given(seed=st.integers(0, 10_000))
def test_davidson_predicts_points_and_ties(seed: int) -> None:
    played = random_comparisons(seed, 120, 4)
    totals = totals_of(played)
    found = fit(played, davidson=True)
    first, _, tie = davidson_probabilities(found.log_strength[0], float(found.log_tie[0]), totals)
    share = first + tie / 2
    expected = totals.by_model(totals.games * share, totals.games * (1 - share))
    observed = totals.by_model(totals.first_points, totals.second_points)
    assert expected == pytest.approx(observed, abs=1e-7)
    assert (totals.games * tie).sum() == pytest.approx(totals.ties.sum(), abs=1e-7)


def test_davidson_finds_the_strengths_that_half_wins_compress() -> None:
    rng = np.random.default_rng(0)
    theta, log_tie = np.array([1.0, 0.3, -0.2, -1.1]), 0.4
    pairs = np.array([rng.choice(4, 2, replace=False) for _ in range(60_000)])
    strength = np.exp(theta[pairs])
    tie = np.exp(log_tie) * np.sqrt(strength.prod(axis=1))
    whole = strength.sum(axis=1) + tie
    drawn = rng.random(len(pairs)) * whole
    score = np.where(drawn < strength[:, 0], 1.0, np.where(drawn < strength.sum(axis=1), 0, 0.5))
    names = np.array(["m0", "m1", "m2", "m3"])
    played = Comparisons.between(names[pairs[:, 0]].tolist(), names[pairs[:, 1]].tolist(), score)
    found = fit(played, davidson=True)
    assert found.log_strength[0] == pytest.approx(theta, abs=0.05)
    assert found.log_tie[0] == pytest.approx(log_tie, abs=0.03)
    assert np.ptp(fit(played).log_strength) < 0.75 * np.ptp(theta)


def test_without_ties_both_models_agree() -> None:
    played = random_comparisons(4, ties=False)
    with_parameter = fit(played, davidson=True)
    assert with_parameter.log_strength == pytest.approx(fit(played).log_strength, abs=1e-10)
    assert with_parameter.log_tie[0] == -np.inf


def test_one_fit_of_many_resamples_is_many_fits() -> None:
    played = random_comparisons(7)
    layout = PairLayout.of(played)
    weights = np.random.default_rng(1).integers(0, 4, size=(8, len(played))).astype(float)
    many = fit_resamples(layout.totals(weights @ layout.parts), fit(played))
    for row, weight in zip(many.log_strength, weights, strict=True):
        alone = Comparisons(played.models, played.left, played.right, played.score, weight)
        assert row == pytest.approx(fit(alone).log_strength[0], abs=1e-8)


def test_models_that_never_lost_are_named() -> None:
    played = Comparisons.between(
        ["top", "p", "q", "q", "top", "last"], ["p", "q", "p", "last", "q", "q"], [1, 1, 1, 1, 1, 0]
    )
    with pytest.raises(DisconnectedComparisons, match=r"\{p, q\} \| \{last\} \| \{top\}") as error:
        fit(played)
    assert error.value.components == (("p", "q"), ("last",), ("top",))


def test_models_that_never_met_are_named() -> None:
    played = Comparisons.between(["p", "r"], ["q", "s"], [0.5, 0.5])
    with pytest.raises(DisconnectedComparisons) as error:
        fit(played)
    assert error.value.components == (("p", "q"), ("r", "s"))


def test_a_tie_links_both_ways() -> None:
    played = Comparisons.between(["p", "p"], ["q", "q"], [1, 0.5])
    assert strength_shares(fit(played).log_strength[0]) == pytest.approx([0.75, 0.25], abs=1e-9)


@pytest.mark.parametrize(
    ("results", "is_finite"),
    [
        ([1, 1, 0.5], False),  # a loss could be made impossible with certain ties
        ([0.5, 0.5], False),
        ([1, 0.5, 0], True),
        ([1, 0], True),
    ],
)
def test_davidson_needs_results_that_oppose_the_ties(results: list[float], is_finite: bool) -> None:
    played = Comparisons.between(["p"] * len(results), ["q"] * len(results), results)
    if is_finite:
        assert np.isfinite(fit(played, davidson=True).log_strength).all()
        return
    with pytest.raises(NoFiniteStrengths, match=r"not finite: .* ties"):
        fit(played, davidson=True)


def test_resample_without_finite_strengths_is_nan_and_spares_the_others() -> None:
    played = random_comparisons(2, 60, 3)
    layout = PairLayout.of(played)
    weights = np.ones((3, 60))
    weights[1] = (played.left != 0) & (played.right != 0)
    fitted = fit_resamples(layout.totals(weights @ layout.parts), None)
    assert np.isnan(fitted.log_strength[1]).all()
    assert fitted.log_strength[0] == pytest.approx(fit(played).log_strength[0])
    assert fitted.log_strength[2] == pytest.approx(fitted.log_strength[0])


def test_rounding_residues_are_no_points() -> None:
    played = Comparisons.between(["p", "p"], ["q", "q"], [1.0, 1 - 1e-16])
    with pytest.raises(DisconnectedComparisons):
        fit(played)


@pytest.mark.parametrize("davidson", [False, True])
def test_information_of_pair_totals_is_that_of_single_comparisons(davidson: bool) -> None:
    played = random_comparisons(8, 200, 5)
    fitted = fit(played, davidson=davidson)
    model = ComparisonModel(played, np.zeros((200, 0)), has_tie_parameter=davidson)
    at = model.moments(np.append(fitted.log_strength[0], fitted.log_tie[0]))
    centre = np.eye(6)  # the two are made regular along another multiple of the same direction
    centre[:5, :5] -= 1 / 5
    found = centre @ information(totals_of(played), fitted) @ centre
    assert found == pytest.approx(centre @ model.information(at) @ centre, abs=1e-9)


def test_soft_outcomes_are_fitted_like_the_votes_that_they_stand_for() -> None:
    """A preference of .7 counts as seven wins out of ten would, at a tenth of their weight."""
    soft = Comparisons.between(["p", "q", "r"], ["q", "r", "p"], [0.7, 0.4, 0.5])
    wins = np.concatenate([np.arange(10) < 7, np.arange(10) < 4, np.arange(10) < 5])
    names = np.array(["p", "q", "r", "p"]).repeat(10)
    hard = Comparisons.between(
        names[:30].tolist(), names[10:].tolist(), wins.astype(float), np.full(30, 0.1)
    )
    assert fit(soft).log_strength == pytest.approx(fit(hard).log_strength, abs=1e-9)


def test_extreme_but_finite_odds_are_found() -> None:
    played = Comparisons.between(["p", "p"], ["q", "q"], [1, 0], [1e8, 1])
    assert np.ptp(fit(played).log_strength) == pytest.approx(np.log(1e8), abs=1e-6)


def test_odds_beyond_reach_are_an_error_and_no_guess() -> None:
    left, right = ["p", "p", "q", "q", "r", "r"], ["q", "q", "r", "r", "s", "s"]
    played = Comparisons.between(left, right, [1, 0] * 3, [1e11, 1] * 3)
    with pytest.raises(NoFiniteStrengths, match="infinity"):
        fit(played)


@given(st.floats(-40, 40), st.floats(-10, 10))
def test_moments_are_those_of_three_outcomes(log_odds: float, log_tie: float) -> None:
    weights = np.exp([log_odds / 2, log_tie, -log_odds / 2])
    chance = weights / weights.sum()
    points, tie = np.array([1, 0.5, 0]), np.array([0, 1, 0])
    found = moments(np.array([log_odds]), np.array([log_tie]))
    mean = chance @ points
    assert found.points[0] == pytest.approx(mean, abs=1e-12)
    assert found.points_variance[0] == pytest.approx(chance @ (points - mean) ** 2, abs=1e-12)
    assert found.tie[0] == pytest.approx(chance[1], abs=1e-12)
    assert found.covariance[0] == pytest.approx(
        chance @ ((points - mean) * (tie - chance[1])), abs=1e-12
    )


def test_no_ties_are_the_limit_of_ever_rarer_ones() -> None:
    log_odds = np.linspace(-5, 5, 11)
    for one, two in zip(moments(log_odds, None), moments(log_odds, np.array([-60.0])), strict=True):
        assert one == pytest.approx(two, abs=1e-12)
