from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from calibration.errors import InvalidArgument
from calibration.monitor import (
    DetectionDelay,
    Drift,
    alarm_times,
    detection_delay,
    draw_audits,
    draw_prompt_audits,
    observe,
    prompt_losses,
    start_monitor,
)
from tests.calibration.worlds.audits import even

STATE = start_monitor(0.1)
DRIFT = Drift(0.08, 0.3, 100)


def test_many_streams_alarm_when_each_alone_does() -> None:
    start = observe(STATE, even(0.1, 1, 40, np.random.default_rng(0))[0])
    streams = even(0.2, 30, 200, np.random.default_rng(1))
    alone = [observe(start, stream).alarm_at for stream in streams]
    expected = [np.inf if at is None else at - 40 for at in alone]
    assert np.isinf(expected).any()
    np.testing.assert_array_equal(alarm_times(start, streams), expected)


def test_many_streams_of_unequal_probability_alarm_when_each_alone_does() -> None:
    start, rng = start_monitor(0.1, min_audit_probability=0.3), np.random.default_rng(2)
    streams, drawn = even(0.3, 20, 150, rng), rng.uniform(0.3, 1, (20, 150))
    alone = [observe(start, *rows).alarm_at for rows in zip(streams, drawn, strict=True)]
    expected = [np.inf if at is None else at for at in alone]
    np.testing.assert_array_equal(alarm_times(start, streams, drawn), expected)


def test_delay_is_counted_from_the_change_over_streams_silent_before_it() -> None:
    delay = detection_delay(
        STATE, Drift(0.3, 1.0, 20), np.random.default_rng(0), runs=400, horizon=60
    )
    assert 0 < delay.early_alarms < 400
    assert delay.early_alarms + delay.delays.size == 400
    assert delay.delays.min() >= 1
    assert delay.detected_share == 1.0
    assert delay.quantile(1.0) == delay.delays.max() < 60
    assert delay.median == 3


def test_delay_past_the_horizon_is_not_a_number() -> None:
    delay = detection_delay(STATE, DRIFT, np.random.default_rng(0), runs=100, horizon=40)
    assert 0 < delay.detected_share < 0.5
    assert delay.median is None
    assert delay.quantile(0.01) is not None


def test_delay_is_undefined_where_every_stream_alarmed_early() -> None:
    delay = DetectionDelay(np.zeros(0), 7)
    assert delay.median is None
    assert delay.detected_share == 0.0


def test_delay_goes_on_from_a_monitor_in_use() -> None:
    rng = np.random.default_rng(3)
    tired = observe(STATE, np.zeros(3000))
    drift = Drift(0.08, 0.2, 0)
    late, early = (
        detection_delay(s, drift, rng, runs=200, horizon=1500).median for s in (tired, STATE)
    )
    assert late is not None
    assert early is not None
    assert late > 1.5 * early


@pytest.mark.parametrize(
    ("drift", "counts", "message"),
    [
        (replace(DRIFT, risk_before=-0.1), {}, "risk_before"),
        (replace(DRIFT, risk_after=1.1), {}, "risk_after"),
        (replace(DRIFT, at=-1), {}, "at must"),
        (DRIFT, {"runs": 0}, "runs"),
        (DRIFT, {"horizon": 0}, "horizon"),
    ],
)
def test_a_plan_out_of_range_is_refused(drift: Drift, counts: dict[str, int], message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        detection_delay(STATE, drift, np.random.default_rng(0), **counts)


def test_no_delay_after_the_alarm_or_for_unequal_probabilities() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(InvalidArgument, match="alarm already"):
        detection_delay(observe(STATE, np.ones(9)), DRIFT, rng)
    with pytest.raises(InvalidArgument, match="min_audit_probability"):
        detection_delay(start_monitor(0.1, min_audit_probability=0.5), DRIFT, rng)


def test_quantile_level_must_be_a_share() -> None:
    with pytest.raises(InvalidArgument, match="level"):
        DetectionDelay(np.ones(3), 0).quantile(0.0)


def test_verdicts_are_drawn_with_their_own_probability() -> None:
    probabilities = np.tile([0.0, 0.1, 0.9, 1.0], 5000)
    rows = draw_audits(probabilities, np.random.default_rng(0))
    assert (np.diff(rows) > 0).all()
    drawn = np.bincount(rows % 4, minlength=4) / 5000
    np.testing.assert_allclose(drawn, [0, 0.1, 0.9, 1], atol=0.02)


def test_prompts_are_drawn_evenly_with_one_verdict_each() -> None:
    prompts = np.array(["one", "two", "two", "two"])
    counts = np.zeros(4)
    rng = np.random.default_rng(0)
    for _ in range(4000):
        rows = draw_prompt_audits(prompts, 0.5, rng)
        assert np.unique(prompts[rows]).size == rows.size
        counts[rows] += 1
    np.testing.assert_allclose(counts / 4000, [1 / 2, 1 / 6, 1 / 6, 1 / 6], atol=0.03)


def test_losses_of_a_prompt_become_their_mean_in_order_of_appearance() -> None:
    means = prompt_losses([1, 0, 1, 1, 0.5], ["z", "a", "z", "a", "m"])
    np.testing.assert_allclose(means, [1.0, 0.5, 0.5])
    assert prompt_losses([], []).size == 0


@pytest.mark.parametrize("probabilities", [[0.5, 1.1], [-0.1], [float("nan")], 0.5])
def test_probabilities_of_a_draw_are_checked(probabilities: float | list[float]) -> None:
    with pytest.raises(InvalidArgument, match="probabilities"):
        draw_audits(probabilities, np.random.default_rng(0))


def test_prompts_and_rate_are_checked() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(InvalidArgument, match="rate"):
        draw_prompt_audits([1, 2], 1.5, rng)
    with pytest.raises(InvalidArgument, match="prompts"):
        draw_prompt_audits([[1, 2]], 0.5, rng)
    with pytest.raises(InvalidArgument, match="losses"):
        prompt_losses([0.0], [1, 2])


@pytest.mark.parametrize("loss", [np.nan, -0.1, 1.1])
def test_losses_of_prompts_are_checked(loss: float) -> None:
    with pytest.raises(InvalidArgument, match="losses"):
        prompt_losses([loss, 0.0], ["p", "q"])


def test_a_change_comes_after_a_whole_number_of_audits() -> None:
    with pytest.raises(InvalidArgument, match="at must be a whole number"):
        detection_delay(start_monitor(0.1), Drift(0.1, 0.2, 5.5), np.random.default_rng(0))  # type: ignore[arg-type]
