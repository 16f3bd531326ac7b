from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics
from sklearn.calibration import calibration_curve

from calibration.errors import InvalidArgument
from calibration.intervals import Groups
from calibration.reliability import (
    auprc,
    auroc,
    brier_score,
    calibration_error,
    equal_mass_edges,
    equal_width_edges,
    log_loss,
    maximum_calibration_error,
    measure_reliability,
    reliability_bins,
)

Verdicts = tuple[np.ndarray, np.ndarray]


@st.composite
def some_verdicts(draw: st.DrawFn) -> Verdicts:
    """Confidences with many ties, and at least one right and one wrong verdict."""
    n = draw(st.integers(2, 80))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    correct = rng.random(n) < 0.7
    correct[:2] = True, False
    return np.round(rng.uniform(0.5, 1, n), draw(st.integers(1, 4))), correct


@settings(deadline=None)
@given(some_verdicts())
def test_areas_and_losses_are_those_of_scikit_learn(verdicts: Verdicts) -> None:
    confidence, correct = verdicts
    assert auroc(confidence, correct) == pytest.approx(metrics.roc_auc_score(correct, confidence))
    assert auprc(confidence, correct) == pytest.approx(
        metrics.average_precision_score(correct, confidence)
    )
    assert brier_score(confidence, correct) == pytest.approx(
        metrics.brier_score_loss(correct, confidence)
    )
    inside = np.minimum(confidence, 0.999)
    assert log_loss(inside, correct) == pytest.approx(metrics.log_loss(correct, inside))


@settings(deadline=None)
@given(some_verdicts(), st.permutations(range(80)))
def test_order_of_verdicts_does_not_matter(verdicts: Verdicts, order: list[int]) -> None:
    confidence, correct = verdicts
    rows = [i for i in order if i < len(correct)]
    shuffled = measure_reliability(confidence[rows], correct[rows])
    straight = measure_reliability(confidence, correct)
    for name in ("expected_calibration_error", "adaptive_calibration_error", "auroc", "auprc"):
        assert getattr(shuffled, name) == pytest.approx(getattr(straight, name), abs=1e-12)


@settings(deadline=None)
@given(some_verdicts(), st.integers(1, 12))
def test_bins_are_those_of_scikit_learn(verdicts: Verdicts, n_bins: int) -> None:
    confidence, correct = verdicts
    inside = np.clip(confidence, 0.501, 0.999) + 1e-6  # its bins are closed on the other side
    edges = np.linspace(0, 1, n_bins + 1)
    bins = [b for b in reliability_bins(inside, correct, edges) if b.n]
    accuracy, mean = calibration_curve(correct, inside, n_bins=n_bins)
    assert [b.accuracy.value for b in bins] == pytest.approx(accuracy.tolist())
    assert [b.mean_confidence for b in bins] == pytest.approx(mean.tolist())
    gaps = np.abs(accuracy - mean)
    shares = np.array([b.n for b in bins]) / len(correct)
    assert calibration_error(inside, correct, edges) == pytest.approx(gaps @ shares)
    assert maximum_calibration_error(inside, correct, edges) == pytest.approx(gaps.max())


@settings(deadline=None)
@given(some_verdicts())
def test_areas_see_the_ordering_alone(verdicts: Verdicts) -> None:
    confidence, correct = verdicts
    for area in (auroc, auprc):
        assert area(confidence**3 / 2, correct) == pytest.approx(area(confidence, correct))
    turned = auroc(1 - confidence, ~correct)
    assert turned == pytest.approx(auroc(confidence, correct))


def test_calibration_error_weighs_bins_by_their_verdicts() -> None:
    confidence = [0.55, 0.55, 0.95, 0.95, 0.95, 0.95]
    correct = [True, False, True, True, True, False]
    found = calibration_error(confidence, correct, equal_width_edges(5))
    assert found == pytest.approx(2 / 6 * 0.05 + 4 / 6 * 0.20)
    largest = maximum_calibration_error(confidence, correct, equal_width_edges(5))
    assert largest == pytest.approx(0.20)


def test_calibrated_confidences_have_little_error() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.5, 1, 200_000)
    found = measure_reliability(confidence, rng.random(200_000) < confidence)
    assert found.expected_calibration_error == pytest.approx(0, abs=0.01)
    assert found.adaptive_calibration_error == pytest.approx(0, abs=0.01)


def test_confidence_on_an_edge_belongs_to_the_upper_bin() -> None:
    bins = reliability_bins([0.5, 0.6, 1 - 0.4, 0.9999, 1.0], [1, 1, 0, 1, 1], [0.5, 0.6, 0.9, 1.0])
    assert [b.n for b in bins] == [1, 2, 2]
    with_certain = reliability_bins([0.95, 1.0], [1, 0], [0.5, 0.9, 1.0, 1.0])
    assert [b.n for b in with_certain] == [0, 1, 1]
    assert with_certain[0].mean_confidence is None
    assert with_certain[0].accuracy.value is None


def test_bins_carry_wilson_intervals() -> None:
    found = reliability_bins([0.7] * 20, [True] * 13 + [False] * 7, [0.5, 1.0])[0]
    assert found.mean_confidence == pytest.approx(0.7)
    assert found.accuracy.value == 0.65
    assert found.accuracy.low == pytest.approx(0.4329, abs=1e-4)
    assert found.accuracy.high == pytest.approx(0.8188, abs=1e-4)


def test_bins_by_group_have_wider_intervals() -> None:
    correct = np.repeat(np.arange(20) % 3 > 0, 10)
    boot = Groups.of(np.repeat(np.arange(20), 10))
    by_row = reliability_bins(np.full(200, 0.7), correct, [0.5, 1.0])[0].accuracy
    by_group = reliability_bins(np.full(200, 0.7), correct, [0.5, 1.0], boot)[0].accuracy
    assert by_row.low is not None
    assert by_group.low is not None
    assert by_group.low < by_row.low - 0.05


def test_equal_mass_bins_hold_equally_many() -> None:
    confidence = np.random.default_rng(1).beta(8, 2, 1000) / 2 + 0.5
    edges = equal_mass_edges(confidence, 8)
    sizes = [b.n for b in reliability_bins(confidence, confidence > 0, edges)]
    assert len(sizes) == 8
    assert max(sizes) - min(sizes) <= 1


def test_equal_confidences_stay_in_one_bin() -> None:
    assert equal_mass_edges([0.8] * 50, 10).tolist() == [0.5, 0.8, 1.0]


def test_nothing_is_defined_without_verdicts() -> None:
    found = measure_reliability([], [])
    assert found.n == 0
    assert found.expected_calibration_error is None
    assert found.brier_score is found.log_loss is found.auroc is found.auprc is None
    assert found.maximum_calibration_error is None


def test_areas_need_both_kinds_of_verdicts() -> None:
    assert auroc([0.6, 0.7], [True, True]) is None
    assert auroc([0.6, 0.7], [False, False]) is None
    assert auprc([0.6, 0.7], [False, False]) is None
    assert auprc([0.6, 0.7], [True, True]) == 1


def test_certain_and_wrong_has_a_finite_log_loss() -> None:
    assert log_loss([1.0], [False]) == pytest.approx(-np.log(1e-15))


def test_three_classes_may_have_confidences_below_one_half() -> None:
    found = measure_reliability([0.4, 0.4, 0.9], [True, False, True], 5)
    assert found.expected_calibration_error == pytest.approx(2 / 3 * 0.1 + 1 / 3 * 0.1)
    assert found.maximum_calibration_error == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("confidence", "correct", "edges"),
    [
        ([0.7, np.nan], [True, True], [0.5, 1.0]),
        ([1.2], [True], [0.5, 1.0]),
        ([0.7, 0.8], [True], [0.5, 1.0]),
        ([0.7], [True], [0.8, 1.0]),
        ([0.7], [True], [1.0, 0.5]),
        ([0.7], [True], [0.5]),
        ([0.7], [True], [0.5, np.nan, 1.0]),
        ([0.7], [True], [[0.5, 1.0]]),
        ([0.7], [0.5], [0.5, 1.0]),
        ([0.7], [np.nan], [0.5, 1.0]),
    ],
)
def test_impossible_arguments_are_refused(
    confidence: list[float], correct: list[float], edges: list[float]
) -> None:
    for measure in (calibration_error, maximum_calibration_error, reliability_bins):
        with pytest.raises(InvalidArgument):
            measure(confidence, correct, edges)


def test_bins_are_at_least_one() -> None:
    assert len(equal_width_edges(1)) == len(equal_mass_edges([0.7, 0.8], 1)) == 2
    with pytest.raises(InvalidArgument, match=r"^n_bins"):
        equal_width_edges(0)
    with pytest.raises(InvalidArgument, match=r"^n_bins"):
        equal_mass_edges([0.7, 0.8], 0)
