from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from calibration.errors import InvalidArgument
from calibration.estimate import Estimate
from calibration.powered import (
    HumanLabels,
    PredictionPoweredStrengths,
    predicted_comparisons,
    prediction_powered_strengths,
)
from calibration.ranking import DisconnectedComparisons, PairLayout, fit_strengths
from tests.calibration.worlds.leaderboards import (
    FAVOURED,
    MODELS,
    Arena,
    draw_arena,
    true_log_strengths,
)


def values(found: PredictionPoweredStrengths) -> list[float]:
    return [row.log_strength.value or 0.0 for row in found.rows]


def ends(estimate: Estimate | None) -> tuple[float, float]:
    assert estimate is not None
    assert estimate.low is not None
    assert estimate.high is not None
    return estimate.low, estimate.high


@pytest.fixture(name="arena")
def _arena() -> Arena:
    return draw_arena("self_preferring", 150, np.random.default_rng(0))


def fitted(arena: Arena, rows: NDArray[np.bool_]) -> list[float]:
    played = replace(arena.predicted, score=arena.outcome).take(rows)
    return list(fit_strengths(PairLayout.of(played).whole(), MODELS).log_strength[0])


def test_weight_zero_is_the_fit_of_the_labels(arena: Arena) -> None:
    labels = arena.labels(60, np.random.default_rng(1))
    found = prediction_powered_strengths(arena.predicted, labels, prediction_weight=0)
    is_labelled = ~np.isnan(np.asarray(labels.value))
    assert values(found) == pytest.approx(fitted(arena, is_labelled), abs=1e-7)
    assert all(row.human_only == row.log_strength for row in found.rows)
    assert found.effective_labels == pytest.approx(480)
    assert (found.n_labelled, found.n_predicted) == (480, 1200)
    assert (found.n_groups, found.n_labelled_groups) == (150, 60)


def test_perfect_judge_gives_the_fit_of_all(arena: Arena) -> None:
    perfect = replace(arena.predicted, score=arena.outcome)
    found = prediction_powered_strengths(perfect, arena.labels(60, np.random.default_rng(1)))
    assert found.prediction_weight == pytest.approx(1, abs=1e-9)
    assert values(found) == pytest.approx(fitted(arena, np.ones(1200, np.bool_)), abs=1e-6)
    everything = HumanLabels(arena.outcome, groups=arena.prompt)
    whole = prediction_powered_strengths(perfect, everything, prediction_weight=0)
    assert np.diag(found.covariance) == pytest.approx(np.diag(whole.covariance), rel=0.01)


def test_strengths_solve_the_powered_score_equations(arena: Arena) -> None:
    labels = arena.labels(60, np.random.default_rng(1))
    found = prediction_powered_strengths(arena.predicted, labels, prediction_weight=0.4)
    theta, played = np.array(values(found)), arena.predicted
    expected = 1 / (1 + np.exp(theta[played.right] - theta[played.left]))
    value = np.asarray(labels.value)
    is_labelled = ~np.isnan(value)
    score = 0.4 * (played.score - expected) / 1200
    score[is_labelled] += ((value - expected) - 0.4 * (played.score - expected))[is_labelled] / 480
    sums = np.bincount(played.left, score, 6) - np.bincount(played.right, score, 6)
    assert sums == pytest.approx(np.zeros(6), abs=1e-9)
    assert theta.sum() == pytest.approx(0, abs=1e-9)
    assert found.covariance.sum(axis=0) == pytest.approx(np.zeros(6), abs=1e-9)


def test_covariance_is_that_of_the_groups_left_out_in_turn(arena: Arena) -> None:
    labels = arena.labels(60, np.random.default_rng(1))
    found = prediction_powered_strengths(arena.predicted, labels, prediction_weight=0.4)
    value, left_out = np.asarray(labels.value), []
    for prompt in range(150):
        kept = arena.prompt != prompt
        part = prediction_powered_strengths(
            arena.predicted.take(kept),
            HumanLabels(value[kept], groups=arena.prompt[kept]),
            prediction_weight=0.4,
        )
        left_out.append(values(part))
    deviation = np.array(left_out) - np.mean(left_out, axis=0)
    jackknife = deviation.T @ deviation * 149 / 150
    assert np.diag(found.covariance) == pytest.approx(np.diag(jackknife), rel=0.1)


def test_swapping_the_sides_changes_nothing(arena: Arena) -> None:
    labels = arena.labels(60, np.random.default_rng(1))
    played = arena.predicted
    swapped = replace(played, left=played.right, right=played.left, score=1 - played.score)
    mirrored = replace(labels, value=1 - np.asarray(labels.value))
    straight = prediction_powered_strengths(played, labels)
    mirror = prediction_powered_strengths(swapped, mirrored)
    assert values(mirror) == pytest.approx(values(straight), abs=1e-8)
    assert mirror.covariance == pytest.approx(straight.covariance, abs=1e-8)


def test_order_of_comparisons_and_names_of_models_change_nothing(arena: Arena) -> None:
    labels = arena.labels(60, np.random.default_rng(1))
    order = np.random.default_rng(2).permutation(1200)
    turned = np.array([3, 0, 5, 1, 4, 2])
    played = arena.predicted.take(order)
    renamed = replace(played, left=turned[played.left], right=turned[played.right])
    shuffled = HumanLabels(np.asarray(labels.value)[order], groups=arena.prompt[order])
    straight = prediction_powered_strengths(arena.predicted, labels)
    other = prediction_powered_strengths(renamed, shuffled)
    assert np.array(values(other))[turned] == pytest.approx(values(straight), abs=1e-8)
    for model, place in enumerate(turned):
        interval = other.rows[place].log_strength
        assert ends(interval) == pytest.approx(ends(straight.rows[model].log_strength), abs=1e-8)


def test_judge_that_favours_a_model_is_corrected(arena: Arena) -> None:
    truth = true_log_strengths()[FAVOURED]
    alone = HumanLabels(arena.predicted.score, groups=arena.prompt)
    by_judge = prediction_powered_strengths(arena.predicted, alone).rows[FAVOURED].log_strength
    assert ends(by_judge)[0] > truth
    labels = arena.labels(60, np.random.default_rng(1))
    row = prediction_powered_strengths(arena.predicted, labels).rows[FAVOURED]
    low, high = ends(row.log_strength)
    assert low < truth < high
    assert np.ptp(ends(row.human_only)) > high - low


def test_few_prompts_are_resampled(arena: Arena) -> None:
    labels = arena.labels(20, np.random.default_rng(1))
    found = prediction_powered_strengths(arena.predicted, labels, rng=0, confidence_level=0.9)
    assert found.interval == "bootstrap"
    assert found.draws.shape == (1000, 6)
    assert found.draws.sum(axis=1) == pytest.approx(np.zeros(1000), abs=1e-6)
    for row, error in zip(found.rows, np.sqrt(np.diag(found.covariance)), strict=True):
        low, high = ends(row.log_strength)
        assert low < (row.log_strength.value or 0.0) < high
        assert row.log_strength.confidence_level == 0.9
        assert high - low == pytest.approx(2 * 1.73 * error, rel=0.3)


def test_one_labelled_prompt_gives_no_interval() -> None:
    arena = draw_arena("fair", 100, np.random.default_rng(0))
    labels = arena.labels(1, np.random.default_rng(1))
    found = prediction_powered_strengths(
        arena.predicted, labels, prediction_weight=0.9, rng=np.random.default_rng(2)
    )
    assert all(row.log_strength.low is row.log_strength.high is None for row in found.rows)


def test_many_prompts_are_not(arena: Arena) -> None:
    found = prediction_powered_strengths(
        arena.predicted, arena.labels(60, np.random.default_rng(1))
    )
    assert found.interval == "sandwich"
    assert found.draws.shape == (0, 6)


def test_labels_too_few_to_stand_alone_are_enough_with_predictions() -> None:
    arena = draw_arena("fair", 200, np.random.default_rng(3))
    value = np.where((arena.predicted.left == 0) | (arena.predicted.right == 0), np.nan, 1.0)
    value = np.where(np.isnan(value), value, arena.outcome)
    # That model's labels were not drawn by chance: only the refusal to guess is looked at here.
    found = prediction_powered_strengths(
        arena.predicted, HumanLabels(value, groups=arena.prompt), prediction_weight=1
    )
    assert all(row.human_only is None for row in found.rows)
    assert found.effective_labels is None
    assert found.rows[0].log_strength.n == 0


def test_labels_that_all_agree_leave_room_for_disagreement() -> None:
    arena = draw_arena("fair", 150, np.random.default_rng(0))
    agreeing = replace(arena.predicted, score=arena.outcome)
    labels = replace(arena.labels(60, np.random.default_rng(1)), groups=None)
    found = prediction_powered_strengths(agreeing, labels, prediction_weight=1)
    row, n = found.rows[0], found.rows[0].log_strength.n
    low, high = ends(row.log_strength)
    error = float(np.sqrt(found.covariance[0, 0]))
    missed = np.sqrt(((high - low) / 2) ** 2 - (stats.t.isf(0.025, 1199) * error) ** 2)
    # three wins taken from the model's labels, as the rule of three allows
    value = np.asarray(labels.value)
    own = np.flatnonzero((arena.predicted.left == 0) & ~np.isnan(value) & (value == 1))[:3]
    less = value.copy()
    less[own] = 0
    moved = (
        prediction_powered_strengths(agreeing, HumanLabels(less), prediction_weight=1)
        .rows[0]
        .log_strength
    )
    assert n > 100
    assert row.log_strength.value is not None
    assert moved.value is not None
    assert missed == pytest.approx(row.log_strength.value - moved.value, rel=0.25)


def test_disconnected_models_are_named() -> None:
    compared = predicted_comparisons(
        ["v", "w"] * 40 + ["x", "y"] * 40, ["w", "v"] * 40 + ["y", "x"] * 40, [0.6] * 160
    )
    with pytest.raises(DisconnectedComparisons, match=r"\{v, w\} \| \{x, y\}"):
        prediction_powered_strengths(compared, HumanLabels([1.0, 0.0, 0.0, 1.0] * 40))


def test_predictions_that_say_nothing_have_no_weight() -> None:
    arena = draw_arena("fair", 100, np.random.default_rng(4))
    silent = replace(arena.predicted, score=np.full(800, np.nan))
    found = prediction_powered_strengths(silent, arena.labels(100, np.random.default_rng(0)))
    assert found.n_abstained == 800
    assert found.prediction_weight == pytest.approx(0, abs=1e-9)


def test_abstentions_must_have_been_audited(arena: Arena) -> None:
    is_abstained = np.arange(1200) < 400
    silent = replace(arena.predicted, score=np.where(is_abstained, np.nan, arena.predicted.score))
    value = np.where(is_abstained | (np.arange(1200) < 700), np.nan, arena.outcome)
    with pytest.raises(InvalidArgument, match=r"^labels\.value: no abstained pair is labelled"):
        prediction_powered_strengths(silent, HumanLabels(value, groups=arena.prompt))


@pytest.mark.parametrize("field", ["prediction_weight", "confidence_level"])
def test_wrong_options_are_named(arena: Arena, field: str) -> None:
    options: dict[str, float] = {field: 1.5}
    labels = arena.labels(60, np.random.default_rng(1))
    with pytest.raises(InvalidArgument, match=rf"^{field}"):
        prediction_powered_strengths(
            arena.predicted,
            labels,
            prediction_weight=options.get("prediction_weight"),
            confidence_level=options.get("confidence_level", 0.95),
        )
