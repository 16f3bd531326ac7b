from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from calibration.errors import InvalidArgument
from calibration.intervals import ClusterBootstrap
from calibration.ranking import (
    Comparisons,
    Covariates,
    DisconnectedComparisons,
    Leaderboard,
    NoFiniteStrengths,
    PairLayout,
    RankingOptions,
    fit_controlled,
    fit_strengths,
    rank_models,
)

STRENGTH = np.array([0.7, 0.1, -0.3, -0.5])
NAMES = ("length", "lists")


def styled(
    seed: int, n: int = 400, taste: tuple[float, float] = (0.8, -0.4), ties: bool = False
) -> tuple[Comparisons, Covariates]:
    """Comparisons that length helps and lists hurt; strong models write long answers."""
    rng = np.random.default_rng(seed)
    left = rng.integers(0, 4, n)
    right = (left + rng.integers(1, 4, n)) % 4
    length = np.exp(rng.normal(5, 0.5, (n, 2)) + STRENGTH[np.column_stack([left, right])])
    lists = rng.poisson(1.5, (n, 2)).astype(float)
    covariates = Covariates.between(
        NAMES, np.column_stack([length[:, 0], lists[:, 0]]),
        np.column_stack([length[:, 1], lists[:, 1]]),
    )  # fmt: skip
    scale = np.sqrt((covariates.difference**2).mean(axis=0))
    odds = STRENGTH[left] - STRENGTH[right] + covariates.difference / scale @ np.array(taste)
    score = (rng.random(n) < special.expit(odds)).astype(float)
    if ties:
        score[rng.random(n) < 0.2] = 0.5
    return Comparisons(tuple("abcd"), left, right, score, np.ones(n)), covariates


def ranked(
    played: Comparisons, covariates: Covariates, groups: np.ndarray, **options: str
) -> Leaderboard:
    bootstrap = ClusterBootstrap.over(groups, np.random.default_rng(0), n_resamples=20)
    return rank_models(played, RankingOptions(**options), bootstrap, covariates)  # type: ignore[arg-type]


def test_relative_differences_lie_between_minus_one_and_one() -> None:
    made = Covariates.between(NAMES, [[300, 0], [50, 2]], [[100, 0], [0, 6]])
    assert made.difference.tolist() == [[0.5, 0.0], [1.0, -0.5]]
    assert made.take([1]).difference.tolist() == [[1.0, -0.5]]


@pytest.mark.parametrize(
    ("left", "right", "message"),
    [
        ([[1, 2]], [[1]], "shape"),
        ([[1]], [[1]], "shape"),
        ([[1, -2]], [[1, 1]], "not negative"),
        ([[1, np.nan]], [[1, 1]], "finite"),
    ],
)
def test_amounts_that_make_no_sense_are_refused(
    left: list[list[float]], right: list[list[float]], message: str
) -> None:
    with pytest.raises(InvalidArgument, match=message):
        Covariates.between(NAMES, left, right)


def test_strengths_and_coefficients_are_those_of_statsmodels() -> None:
    played, covariates = styled(1, ties=True)
    groups = np.arange(400) // 5
    board = ranked(played, covariates, groups)
    scale = np.sqrt((covariates.difference**2).mean(axis=0))
    design = np.zeros((400, 6))
    rows = np.arange(400)
    design[rows, played.left], design[rows, played.right] = 1, -1
    design[:, 4:] = covariates.difference / scale
    wanted = sm.GLM(played.score, design[:, 1:], family=sm.families.Binomial()).fit(
        cov_type="cluster", cov_kwds={"groups": groups}
    )
    strength = np.append(0, wanted.params[:3])
    strength -= strength.mean()
    for row in board.rows:
        assert row.rating.value == pytest.approx(strength["abcd".index(row.model)], abs=1e-6)
    student = 1.9905  # t with 79 degrees of freedom
    for k, coefficient in enumerate(board.coefficients):
        estimate = coefficient.estimate
        assert coefficient.name == NAMES[k]
        assert coefficient.scale == pytest.approx(scale[k])
        assert estimate.value == pytest.approx(wanted.params[3 + k], abs=1e-6)
        assert (estimate.high or 0) - (estimate.value or 0) == pytest.approx(
            student * wanted.bse[3 + k], rel=1e-4
        )
    assert board.intervals == "sandwich"


def test_control_finds_the_strengths_that_style_hides() -> None:
    played, covariates = styled(2, n=40_000)
    fitted = fit_controlled(played, covariates).parameters
    assert fitted[:4] == pytest.approx(STRENGTH - STRENGTH.mean(), abs=0.06)
    assert fitted[4:6] == pytest.approx([0.8, -0.4], abs=0.04)
    plain = fit_strengths(PairLayout.of(played).whole(), played.models).log_strength[0]
    assert np.abs(plain - STRENGTH + STRENGTH.mean()).max() > 0.2


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 1_000))
def test_sides_order_and_names_do_not_matter(seed: int) -> None:
    played, covariates = styled(seed, 150)
    rng = np.random.default_rng(seed)
    order, turned = rng.permutation(150), rng.random(150) < 0.5
    new = np.array([2, 0, 3, 1])
    other = Comparisons(
        tuple("abcd"),
        new[np.where(turned, played.right, played.left)][order],
        new[np.where(turned, played.left, played.right)][order],
        np.where(turned, 1 - played.score, played.score)[order],
        played.weight,
    )
    mirrored = covariates.difference * np.where(turned, -1, 1)[:, None]
    groups = np.arange(150) // 3
    one = ranked(played, covariates, groups)
    two = ranked(other, Covariates(NAMES, mirrored[order]), groups[order])
    old_name = {"abcd"[new[k]]: "abcd"[k] for k in range(4)}
    found = {old_name[row.model]: row.rating for row in two.rows}
    for row in one.rows:
        assert found[row.model].value == pytest.approx(row.rating.value, abs=1e-7)
        assert found[row.model].high == pytest.approx(row.rating.high, abs=1e-7)
    for first, second in zip(one.coefficients, two.coefficients, strict=True):
        assert second.estimate.low == pytest.approx(first.estimate.low, abs=1e-7)


def test_features_that_say_nothing_change_nothing() -> None:
    played, _ = styled(4)
    board = rank_models(played, None, None, Covariates(("bold",), np.zeros((400, 1))))
    plain = rank_models(played)
    assert [row.rating.value for row in board.rows] == pytest.approx(
        [row.rating.value for row in plain.rows], abs=1e-8
    )
    assert board.coefficients[0].estimate.value is None
    assert board.intervals is None


def test_without_groups_there_are_coefficients_without_intervals() -> None:
    played, covariates = styled(4)
    estimate = rank_models(played, None, None, covariates).coefficients[0].estimate
    assert estimate.value is not None
    assert estimate.low is None


def test_ties_may_follow_davidson_or_be_left_out_with_covariates() -> None:
    played, covariates = styled(5, n=4_000, ties=True)
    groups = np.arange(4_000) // 8
    davidson = ranked(played, covariates, groups, ties="davidson")
    fit = fit_controlled(played, covariates, has_tie_parameter=True)
    assert davidson.log_tie == fit.parameters[-1]
    expected = fit.model.moments(fit.parameters).tie.sum()
    assert expected == pytest.approx(played.is_tie.sum(), abs=1e-6)
    decided = ranked(played, covariates, groups, ties="exclude")
    for one, two in zip(davidson.rows, decided.rows, strict=True):
        assert one.rating.value == pytest.approx(two.rating.value, abs=0.12)
    without = played.take(~played.is_tie)
    same = ranked(without, covariates.take(~played.is_tie), groups[~played.is_tie], ties="davidson")
    assert same.log_tie == -np.inf
    assert same.rows[0].rating.value == pytest.approx(decided.rows[0].rating.value, abs=1e-8)


def test_features_that_follow_from_the_models_are_named() -> None:
    played, covariates = styled(6)
    own = np.array([3.0, 1.0, 2.0, 0.0])
    constant = own[played.left] - own[played.right]
    with pytest.raises(InvalidArgument, match=r"models or from one another: size$"):
        fit_controlled(
            played,
            Covariates(
                ("length", "size"), np.column_stack([covariates.difference[:, 0], constant])
            ),
        )
    twice = covariates.difference[:, [0, 0]] * [1.0, 2.0]
    with pytest.raises(InvalidArgument, match="one another: one, two"):
        fit_controlled(played, Covariates(("one", "two"), twice))


@pytest.mark.parametrize(
    ("difference", "message"), [(np.zeros((3, 1)), "shape"), (np.full((400, 1), np.inf), "finite")]
)
def test_covariates_that_do_not_fit_are_refused(difference: np.ndarray, message: str) -> None:
    played, _ = styled(7)
    with pytest.raises(InvalidArgument, match=message):
        fit_controlled(played, Covariates(("length",), difference))


def test_a_feature_that_decides_every_result_has_no_finite_coefficient() -> None:
    played, _ = styled(8)
    oracle = Covariates(("oracle",), (played.score - 0.5)[:, None])
    with pytest.raises(NoFiniteStrengths):
        fit_controlled(played, oracle)


def test_models_must_be_linked_by_points_as_without_covariates() -> None:
    played = Comparisons.between(["p", "p"], ["q", "q"], [1, 1])
    with pytest.raises(DisconnectedComparisons):
        fit_controlled(played, Covariates(("length",), np.array([[0.1], [-0.2]])))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (RankingOptions(method="elo"), "covariates"),
        (RankingOptions(intervals="bootstrap"), "no bootstrap"),
        (RankingOptions(method="counting", intervals="sandwich"), "sandwich"),
    ],
)
def test_options_that_do_not_fit_covariates_are_refused(
    options: RankingOptions, message: str
) -> None:
    played, covariates = styled(9)
    with pytest.raises(InvalidArgument, match=message):
        rank_models(played, options, None, covariates)


def coverage(n_prompts: int, draws: int, *, by_prompt: bool = True) -> float:
    """Share of intervals of coefficients that hold the truth, eight comparisons a prompt.

    Prompts differ in taste for length; the truth is what very many comparisons give.
    """
    truth = fit_controlled(*_tasteful(10_000, np.random.default_rng(1))).parameters[4]
    covered = 0
    for draw in range(draws):
        sample = _tasteful(n_prompts, np.random.default_rng([n_prompts, draw]))
        n = len(sample[0])
        board = ranked(*sample, np.arange(n) // 8 if by_prompt else np.arange(n))
        estimate = board.coefficients[0].estimate
        covered += (estimate.low or 0) <= truth <= (estimate.high or 0)
    return covered / draws


def _tasteful(n_prompts: int, rng: np.random.Generator) -> tuple[Comparisons, Covariates]:
    n = 8 * n_prompts
    left = rng.integers(0, 4, n)
    right = (left + rng.integers(1, 4, n)) % 4
    longer = rng.normal(size=(n, 1))
    taste = np.repeat(rng.normal(0.5, 2.0, n_prompts), 8)
    odds = STRENGTH[left] - STRENGTH[right] + taste * longer[:, 0]
    score = (rng.random(n) < special.expit(odds)).astype(float)
    played = Comparisons(tuple("abcd"), left, right, score, np.ones(n))
    return played, Covariates(("length",), longer)


def test_intervals_of_coefficients_cover_and_ignoring_prompts_is_flagged() -> None:
    least = 0.95 - 3 * np.sqrt(0.95 * 0.05 / 120)
    assert coverage(60, 120) >= least
    assert coverage(60, 120, by_prompt=False) < least


@pytest.mark.slow
@pytest.mark.parametrize("n_prompts", [20, 50, 200])
def test_nominal_coverage_of_coefficients(n_prompts: int) -> None:
    found = coverage(n_prompts, 2_000)
    print(f"coefficient, {n_prompts} prompts: {found:.4f}")  # noqa: T201
    assert found >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / 2_000)


def test_features_of_any_size_have_the_same_coefficient() -> None:
    rng = np.random.default_rng(4)
    played = Comparisons.between(["p", "q"] * 50, ["q", "p"] * 50, rng.integers(0, 2, 100))
    feature = rng.normal(size=(100, 1))
    fits = [fit_controlled(played, Covariates(("f",), feature * by)) for by in (1.0, 1e200, 1e-200)]
    for fit in fits[1:]:
        np.testing.assert_allclose(fit.parameters, fits[0].parameters, atol=1e-9)
