"""False alarms, delays and coverage of the monitor on streams whose risk is known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from calibration.arrays import FloatArray
from calibration.binomial import upper_bound
from calibration.monitor import (
    Drift,
    alarm_times,
    detection_delay,
    observe,
    prompt_losses,
    risk_bounds,
    risk_so_far,
    start_monitor,
)
from tests.calibration.simulation import allowed_share
from tests.calibration.worlds.audits import (
    Adversary,
    alarmed_share,
    careful_near_the_alarm,
    clustered,
    even,
    rests_when_behind,
    runs_in_bursts,
    unequal,
    waits_until_all_is_staked,
)

SMALL, FULL, AUDITS = 300, 4000, 5000
ADVERSARIES: dict[str, Callable[[float], Adversary]] = {
    "careful near the alarm": careful_near_the_alarm,
    "waits": lambda risk: waits_until_all_is_staked(risk, 500),
    "rests when behind": rests_when_behind,
    "bursts": runs_in_bursts,
}


def false_alarms(losses: FloatArray, target_risk: float = 0.1) -> float:
    return float(np.isfinite(alarm_times(start_monitor(target_risk), losses)).mean())


def unequal_false_alarms(streams: int, verdicts: int, *, is_declared: bool) -> float:
    """Verdicts of risk .2 over all; the hard ones are audited more often."""
    alarms = 0
    for stream in range(streams):
        rng = np.random.default_rng([4, stream])
        losses, drawn = unequal((0.05, 0.2), (0.35, 0.8), verdicts, rng)
        if is_declared:
            state = observe(start_monitor(0.2, min_audit_probability=0.2), losses, drawn)
        else:
            state = observe(start_monitor(0.2), losses)
        alarms += state.is_alarmed
    return alarms / streams


def peeking_false_alarms(losses: FloatArray, target_risk: float) -> float:
    """An exact bound at .05, computed anew every 50 audits."""
    seen = np.arange(50, losses.shape[1] + 1, 50)
    lost = np.cumsum(losses, axis=1)[:, seen - 1]
    lower = 1 - upper_bound(seen - lost, np.broadcast_to(seen, lost.shape), 0.05)
    return float((lower > target_risk).any(axis=1).mean())


def misses_of_the_risk_so_far(streams: int, audits: int, every: int) -> float:
    """Share of streams in which the interval ever misses a risk that jumps between .02 and .3."""
    missed = 0
    for stream in range(streams):
        rng = np.random.default_rng([5, stream])
        risk = np.repeat(rng.choice([0.02, 0.3], size=audits // 100), 100)
        lost = np.cumsum(rng.uniform(size=audits) < risk)
        truth = np.cumsum(risk) / np.arange(1, audits + 1)
        for n in range(every, audits + 1, every):
            low, high = risk_bounds(float(lost[n - 1]), n, 0.05)
            if not low <= truth[n - 1] <= high:
                missed += 1
                break
    return missed / streams


@pytest.mark.parametrize("target_risk", [0.05, 0.1, 0.2])
def test_false_alarms_at_the_target_risk(target_risk: float) -> None:
    losses = even(target_risk, SMALL, AUDITS, np.random.default_rng(0))
    assert false_alarms(losses, target_risk) <= allowed_share(0.05, SMALL)


def test_false_alarms_on_soft_losses() -> None:
    rng = np.random.default_rng(1)
    losses = rng.choice([0.0, 0.25, 0.5, 1.0], size=(SMALL, 2000), p=[0.82, 0.06, 0.09, 0.03])
    assert losses.mean() == pytest.approx(0.09, abs=0.002)
    assert false_alarms(losses, 0.09) <= allowed_share(0.05, SMALL)


@pytest.mark.parametrize("name", ADVERSARIES)
def test_no_adversary_within_the_risk_raises_more_alarms(name: str) -> None:
    share = alarmed_share(
        start_monitor(0.1), ADVERSARIES[name](0.1), SMALL, 1500, np.random.default_rng(2)
    )
    assert share <= allowed_share(0.05, SMALL)


def test_answers_of_one_prompt_are_one_audit() -> None:
    losses = clustered(0.1, SMALL, 1000, 5, np.random.default_rng(3))
    assert false_alarms(losses.mean(axis=2)) <= allowed_share(0.05, SMALL)
    means = prompt_losses(losses[0].ravel(), np.repeat(np.arange(1000), 5))
    np.testing.assert_allclose(means, losses[0].mean(axis=1))


def test_harness_flags_answers_of_one_prompt_taken_as_independent() -> None:
    losses = clustered(0.1, SMALL, 1000, 5, np.random.default_rng(3))
    assert false_alarms(losses.reshape(SMALL, -1)) > 0.5


def test_harness_flags_exact_bounds_looked_at_again_and_again() -> None:
    losses = even(0.1, SMALL, AUDITS, np.random.default_rng(0))
    assert peeking_false_alarms(losses, 0.1) > 0.15


@pytest.mark.parametrize("is_declared", [True, False])
def test_unequal_probabilities_must_be_told(is_declared: bool) -> None:
    share = unequal_false_alarms(150, 3000, is_declared=is_declared)
    assert (share <= allowed_share(0.05, 150)) is is_declared


def test_a_rise_is_noticed_under_unequal_probabilities() -> None:
    alarms = 0
    for stream in range(60):
        rng = np.random.default_rng([6, stream])
        losses, drawn = unequal((0.2, 0.2), (0.4, 0.8), 3000, rng)
        alarms += observe(start_monitor(0.2, min_audit_probability=0.2), losses, drawn).is_alarmed
    assert alarms >= 55


def test_delay_after_a_rise() -> None:
    delay = detection_delay(
        start_monitor(0.1), Drift(0.08, 0.2, 500), np.random.default_rng(7), runs=300, horizon=1500
    )
    assert delay.median is not None
    assert delay.median <= 1.2 * 185
    assert delay.early_alarms / 300 <= allowed_share(0.05, 300)


def test_early_warnings_are_no_more_frequent_than_wanted() -> None:
    losses = even(0.1, 1, 40_000, np.random.default_rng(8))[0]
    state = observe(start_monitor(0.1, average_run_length=200), losses)
    assert 40_000 / 600 <= state.warnings <= 40_000 / 200


def test_risk_so_far_covers_a_moving_risk_at_all_times() -> None:
    assert misses_of_the_risk_so_far(100, 2000, 50) <= allowed_share(0.05, 100)


@pytest.mark.slow
@pytest.mark.parametrize("target_risk", [0.05, 0.1, 0.2])
def test_false_alarms_at_the_target_risk_over_many_streams(target_risk: float) -> None:
    losses = even(target_risk, FULL, AUDITS, np.random.default_rng(10))
    share = false_alarms(losses, target_risk)
    print(f"risk = target = {target_risk}: false alarms {share:.4f}")  # noqa: T201
    assert share <= allowed_share(0.05, FULL)


@pytest.mark.slow
@pytest.mark.parametrize("name", ADVERSARIES)
def test_no_adversary_within_the_risk_raises_more_alarms_over_many_streams(name: str) -> None:
    share = alarmed_share(
        start_monitor(0.1), ADVERSARIES[name](0.1), 2000, AUDITS, np.random.default_rng(11)
    )
    print(f"adversary that {name}: false alarms {share:.4f}")  # noqa: T201
    assert share <= allowed_share(0.05, 2000)


@pytest.mark.slow
def test_prompts_over_many_streams() -> None:
    losses = clustered(0.1, 2000, 2000, 5, np.random.default_rng(12))
    share, naive = (
        false_alarms(losses.mean(axis=2)),
        false_alarms(losses[:500, :1000].reshape(500, -1)),
    )
    print(f"one audit a prompt: {share:.4f}, one an answer: {naive:.4f}")  # noqa: T201
    assert share <= allowed_share(0.05, 2000)
    assert naive > 0.8


@pytest.mark.slow
def test_unequal_probabilities_over_many_streams() -> None:
    share = unequal_false_alarms(2000, 10_000, is_declared=True)
    print(f"unequal audit probabilities: false alarms {share:.4f}")  # noqa: T201
    assert share <= allowed_share(0.05, 2000)


@pytest.mark.slow
@pytest.mark.parametrize(("risk", "longest"), [(0.2, 1.2 * 185), (0.15, 1.2 * 619)])
def test_delay_after_a_rise_over_many_streams(risk: float, longest: float) -> None:
    delay = detection_delay(
        start_monitor(0.1), Drift(0.08, risk, 500), np.random.default_rng(13), runs=2000
    )
    print(f".08 to {risk} at audit 500: median delay {delay.median}")  # noqa: T201
    assert delay.median is not None
    assert delay.median <= longest


@pytest.mark.slow
def test_risk_so_far_covers_over_many_streams() -> None:
    share = misses_of_the_risk_so_far(1000, 3000, 30)
    print(f"the risk so far is ever missed in {share:.4f}")  # noqa: T201
    assert share <= allowed_share(0.05, 1000)


@pytest.mark.slow
def test_weighted_risk_so_far_covers_over_many_streams() -> None:
    missed = 0
    for stream in range(500):
        rng = np.random.default_rng([14, stream])
        state = start_monitor(0.2, min_audit_probability=0.2)
        for _ in range(20):
            state = observe(state, *unequal((0.05, 0.2), (0.35, 0.8), 200, rng))
            estimate = risk_so_far(state)
            if not (estimate.low or 0.0) <= 0.2 <= (estimate.high or 1.0):
                missed += 1
                break
    print(f"the weighted risk so far is ever missed in {missed / 500:.4f}")  # noqa: T201
    assert missed / 500 <= allowed_share(0.05, 500)
