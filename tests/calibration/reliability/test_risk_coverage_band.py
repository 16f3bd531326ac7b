from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.binomial import two_sided_interval
from calibration.errors import InvalidArgument
from calibration.intervals import Groups
from calibration.reliability import risk_coverage_band, selective_risk

NAN = float("nan")


def verdicts(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    confidence = rng.uniform(0.5, 1, n)
    return confidence, rng.random(n) < confidence


def test_each_node_is_the_selective_risk_at_its_threshold() -> None:
    confidence, correct = verdicts(200)
    confidence[:20] = NAN
    band = risk_coverage_band(confidence, correct)
    assert len(band.thresholds) == 18  # those at .90 and .95 of all pairs lie among the failures
    assert (np.diff(band.thresholds) < 0).all()
    for k, threshold in enumerate(band.thresholds):
        point = selective_risk(confidence, correct, threshold)
        assert point.answered == band.answered[k]
        assert point.coverage == band.coverage[k]
        assert point.risk == pytest.approx(band.risk[k])
    assert band.answered[:-1].tolist() == list(range(10, 180, 10))
    assert band.answered[-1] == 180


def test_pointwise_limits_are_exact_and_simultaneous_ones_share_the_error() -> None:
    confidence, correct = verdicts(300)
    point = risk_coverage_band(confidence, correct, kind="pointwise", nodes=10)
    every = risk_coverage_band(confidence, correct, kind="simultaneous", nodes=10)
    errors = np.round(point.risk * point.answered)
    alone, shared = (two_sided_interval(errors, point.answered, level) for level in (0.95, 0.995))
    np.testing.assert_allclose(point.low, alone.low)
    np.testing.assert_allclose(point.high, alone.high)
    np.testing.assert_allclose(every.low, shared.low)
    np.testing.assert_allclose(every.high, shared.high)
    assert (every.kind, every.confidence_level) == ("simultaneous", 0.95)


def test_given_thresholds_are_the_nodes() -> None:
    confidence, correct = verdicts(50)
    band = risk_coverage_band(confidence, correct, nodes=[0.6, 0.9, 0.6, 0.999999])
    assert band.thresholds.tolist() == [0.999999, 0.9, 0.6]
    assert band.answered[0] == 0
    assert np.isnan(band.risk[0])
    assert (band.low[0], band.high[0]) == (0, 1)


def test_tied_confidences_are_never_split() -> None:
    confidence, correct = np.repeat([0.9, 0.7], 50), np.arange(100) % 5 > 0
    band = risk_coverage_band(confidence, correct)
    assert band.answered.tolist() == [50, 100]
    assert risk_coverage_band(np.full(9, 0.8), np.ones(9)).answered.tolist() == [9]
    counted = risk_coverage_band(confidence, correct, nodes=np.array([3])[0])
    assert counted.answered.tolist() == [50, 100]


def test_confidences_below_zero_are_answered_by_the_last_node() -> None:
    assert risk_coverage_band([-3.0, 1.0], [0, 1], nodes=1).answered.tolist() == [2]


@pytest.mark.parametrize(("confidence", "correct"), [([], []), ([NAN, NAN], [NAN, NAN])])
def test_nothing_scored_leaves_one_empty_node(
    confidence: list[float], correct: list[float]
) -> None:
    band = risk_coverage_band(confidence, correct)
    assert (band.answered.tolist(), band.coverage.tolist()) == ([0], [0])
    assert (band.low.tolist(), band.high.tolist()) == ([0], [1])


def test_pairs_of_one_prompt_are_not_independent() -> None:
    confidence, correct = (np.repeat(column, 5) for column in verdicts(60))
    boot = Groups.of(np.arange(300) // 5)
    prompts = risk_coverage_band(confidence, correct, boot, nodes=[0.0])
    rows = risk_coverage_band(confidence, correct, nodes=[0.0])
    once = risk_coverage_band(*verdicts(60), nodes=[0.0])
    assert prompts.high - prompts.low > 1.5 * (rows.high - rows.low)
    assert prompts.high == pytest.approx(once.high, abs=0.02)


def test_one_group_says_nothing() -> None:
    boot = Groups.of(["one"] * 30)
    band = risk_coverage_band(*verdicts(30), boot, nodes=[0.0])
    assert (band.low[0], band.high[0]) == (0, 1)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 60), st.integers(1, 5), st.integers(0, 1000))
def test_order_of_rows_does_not_matter(n: int, decimals: int, seed: int) -> None:
    confidence, correct = verdicts(n, seed)
    confidence = np.round(confidence, decimals)
    order = np.random.default_rng(seed).permutation(n)
    straight = risk_coverage_band(confidence, correct)
    shuffled = risk_coverage_band(confidence[order], correct[order])
    np.testing.assert_array_equal(straight.thresholds, shuffled.thresholds)
    np.testing.assert_allclose(straight.high, shuffled.high)
    assert (straight.low <= straight.risk).all()
    assert (straight.risk <= straight.high).all()


@pytest.mark.parametrize(
    "options", [{"nodes": 0}, {"nodes": []}, {"nodes": [NAN]}, {"kind": "everywhere"}]
)
def test_impossible_settings_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument):
        risk_coverage_band([0.7], [1], **options)
