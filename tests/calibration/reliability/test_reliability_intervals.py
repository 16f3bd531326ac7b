from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest

from calibration.binomial import wilson_interval
from calibration.intervals import ClusterBootstrap
from calibration.reliability import (
    brier_parts,
    equal_width_edges,
    estimate_brier_score,
    estimate_log_loss,
    estimate_reliability,
    measure_reliability,
)
from tests.calibration.worlds.verdicts import World


def test_all_figures_are_those_of_the_sample_with_intervals_around() -> None:
    sample = World(2.0, group_size=2).draw(200, np.random.default_rng(0))
    boot = ClusterBootstrap.over(sample.group, np.random.default_rng(1))
    found = estimate_reliability(sample.confidence, sample.correct, boot)
    plain = asdict(measure_reliability(sample.confidence, sample.correct))
    parts = brier_parts(sample.confidence, sample.correct, equal_width_edges(10))
    assert parts is not None
    plain |= {f"brier_{name}": value for name, value in asdict(parts).items()}
    for name, estimate in asdict(found).items():
        assert estimate["value"] == pytest.approx(plain[name]), name
        assert estimate["n"] == len(sample.group)
        assert estimate["low"] <= estimate["value"] <= estimate["high"], name
        assert {type(estimate[end]) for end in ("value", "low", "high")} == {float}, name


def test_no_verdicts_have_no_figures() -> None:
    boot = ClusterBootstrap.over([], np.random.default_rng(1))
    for estimate in asdict(estimate_reliability([], [], boot)).values():
        assert (estimate["value"], estimate["low"], estimate["n"]) == (None, None, 0)


def test_losses_without_resamples_have_no_interval() -> None:
    for estimate in (estimate_brier_score, estimate_log_loss):
        assert estimate([0.7, 0.8], [1, 0]).low is None


@pytest.mark.parametrize("is_right", [True, False])
def test_losses_of_verdicts_all_alike_allow_for_others(is_right: bool) -> None:
    confidence = np.linspace(0.7, 0.9, 40)
    boot = ClusterBootstrap.over(np.arange(40), np.random.default_rng(1))
    low, high = wilson_interval(40 * is_right, 40, 0.95)
    other = high if low == 0 else low
    for estimate, loss in (
        (estimate_brier_score, np.square),
        (estimate_log_loss, lambda error: -np.log(1 - error)),
    ):
        found = estimate(confidence, np.full(40, is_right), boot)
        if_right, if_wrong = loss(1 - confidence).mean(), loss(confidence).mean()
        furthest = other * if_right + (1 - other) * if_wrong
        assert found.low is not None
        assert found.high is not None
        assert found.value is not None
        assert found.value == pytest.approx(if_right if is_right else if_wrong)
        assert (found.high if is_right else found.low) == pytest.approx(furthest)
        assert found.low < found.value < found.high


def test_losses_of_one_group_all_right_have_no_interval() -> None:
    boot = ClusterBootstrap.over(["one"] * 5, np.random.default_rng(1))
    assert estimate_brier_score(np.linspace(0.7, 0.9, 5), np.ones(5), boot).low is None


def test_certain_verdicts_cost_their_share_of_errors() -> None:
    boot = ClusterBootstrap.over(np.arange(50), np.random.default_rng(1))
    found = estimate_log_loss(np.ones(50), np.arange(50) >= 5, boot)
    cost = -np.log(1e-15)
    assert found.value == pytest.approx(0.1 * cost)
    low, high = wilson_interval(5, 50, 0.95)
    assert (found.low, found.high) == pytest.approx((low * cost, high * cost))


def test_certain_verdicts_may_err_although_none_did() -> None:
    confidence = np.repeat([1.0, 0.8, 0.7], [20, 40, 40])
    correct = np.arange(100) % 4 > 0
    correct[:20] = True
    boot = ClusterBootstrap.over(np.arange(100), np.random.default_rng(1))
    found = estimate_log_loss(confidence, correct, boot)
    plain = estimate_log_loss(np.where(confidence == 1, 0.999, confidence), correct, boot)
    assert found.value is not None
    assert found.low is not None
    assert found.high is not None
    assert plain.low is not None
    assert plain.high is not None
    unseen = 0.2 * -np.log(1e-15) * wilson_interval(0, 20, 0.95).high
    assert found.high - found.value == pytest.approx(
        np.hypot(unseen, plain.high - found.value), rel=0.01
    )
    assert found.value - found.low == pytest.approx(found.value - plain.low, rel=0.02)


def test_certain_verdicts_of_one_group_may_all_be_wrong() -> None:
    confidence, groups = (
        np.repeat([1.0, 0.8], [4, 60]),
        np.repeat([0, *range(1, 21)], [4, *[3] * 20]),
    )
    correct = np.arange(64) % 5 > 0
    correct[:4] = True
    boot = ClusterBootstrap.over(groups, np.random.default_rng(1))
    found = estimate_log_loss(confidence, correct, boot)
    assert found.high is not None
    assert found.high > 4 / 64 * 34


def test_certain_verdicts_all_right_may_yet_be_wrong() -> None:
    confidence = np.repeat([1.0, 0.8], 20)
    boot = ClusterBootstrap.over(np.arange(40), np.random.default_rng(1))
    found = estimate_log_loss(confidence, np.ones(40), boot)
    unseen = 0.5 * -np.log(1e-15) * wilson_interval(0, 20, 0.95).high
    assert found.low is not None
    assert found.value is not None
    assert found.high is not None
    assert found.low < found.value < found.value + unseen <= found.high
