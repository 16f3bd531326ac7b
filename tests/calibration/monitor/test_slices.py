from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from calibration import (
    SlicedMonitor,
    detectable_risk,
    observe,
    observe_in_slices,
    start_monitor,
    start_sliced_monitor,
)
from calibration.errors import InvalidArgument
from calibration.monitor import alarm_times
from tests.calibration.worlds.audits import even

NAMES = ("law", "maths", "poems")


def stream(n: int, rates: dict[str, float], seed: int = 0) -> tuple[Any, list[str]]:
    rng = np.random.default_rng(seed)
    slices = [NAMES[i] for i in rng.integers(0, 3, n)]
    return rng.uniform(size=n) < [rates[name] for name in slices], slices


def test_each_slice_has_the_monitor_of_its_own_audits() -> None:
    losses, slices = stream(300, dict.fromkeys(NAMES, 0.2))
    found = observe_in_slices(start_sliced_monitor(0.1, NAMES, 0.06), losses, slices)
    assert found.whole == observe(start_monitor(0.1, 0.03), losses)
    own = losses[np.array(slices) == "maths"]
    assert found.slices["maths"] == observe(start_monitor(0.1, 0.01), own)
    one_by_one = start_sliced_monitor(0.1, NAMES, 0.06)
    for loss, name in zip(losses, slices, strict=True):
        one_by_one = observe_in_slices(one_by_one, [loss], [name])
    assert one_by_one.whole.log_wealth == pytest.approx(found.whole.log_wealth)


def test_slices_share_one_failure_probability() -> None:
    runs, alarms = 400, 0
    for seed in range(runs):
        losses, slices = stream(300, dict.fromkeys(NAMES, 0.2), seed)
        found = observe_in_slices(start_sliced_monitor(0.2, NAMES, 0.1), losses, slices)
        alarms += found.is_alarmed
    assert alarms / runs <= 0.1 + 3 * np.sqrt(0.09 / runs)


def test_the_slice_that_moved_is_named() -> None:
    named = 0
    for seed in range(100):
        losses, slices = stream(900, {"law": 0.1, "maths": 0.1, "poems": 0.35}, seed)
        found = observe_in_slices(start_sliced_monitor(0.12, NAMES), losses, slices)
        named += found.by_evidence[0] == "poems"
    assert named >= 95


def test_audits_of_unknown_slices_count_in_the_whole() -> None:
    found = observe_in_slices(start_sliced_monitor(0.1, ["law"]), [1, 0, 1], ["law", None, "tax"])
    assert (found.whole.audits, found.slices["law"].audits, found.unwatched) == (3, 1, 2)


def test_unequal_probabilities_go_to_each_slice() -> None:
    start = start_sliced_monitor(0.1, NAMES, min_audit_probability=0.2)
    found = observe_in_slices(start, [1, 0], ["law", "maths"], [0.2, 0.5])
    assert found.slices["law"].weight_total == pytest.approx(5)
    assert found.whole.weight_total == pytest.approx(7)


def test_state_survives_json() -> None:
    losses, slices = stream(50, dict.fromkeys(NAMES, 0.2))
    found = observe_in_slices(start_sliced_monitor(0.1, NAMES), losses, slices)
    assert SlicedMonitor.from_dict(json.loads(json.dumps(found.to_dict()))) == found
    for name, value in (("unwatched", 51), ("unwatched", "x"), ("more", 1)):
        with pytest.raises(InvalidArgument, match=name):
            SlicedMonitor.from_dict(found.to_dict() | {name: value})


def test_slices_must_fit() -> None:
    with pytest.raises(InvalidArgument, match="slices"):
        start_sliced_monitor(0.1, ["law", "law"])
    with pytest.raises(InvalidArgument, match="slices must have 1"):
        observe_in_slices(start_sliced_monitor(0.1, NAMES), [1], ["law", "law"])


@pytest.mark.parametrize("since", [0, 120])
def test_a_risk_that_is_detectable_has_raised_the_alarm_that_often(since: int) -> None:
    calm = observe(start_monitor(0.1), np.zeros(500))
    risk = detectable_risk(calm, since=since, probability=0.7)
    assert risk is not None
    rng = np.random.default_rng(0)
    before = even(0.1, 400, since, rng)
    times = alarm_times(start_monitor(0.1), np.hstack([before, even(risk, 400, 500 - since, rng)]))
    assert 0.65 <= np.isfinite(times).mean() <= 0.97


def test_more_audits_detect_less_drift() -> None:
    states = [observe(start_monitor(0.1), np.zeros(n)) for n in (10, 100, 1_000, 10_000)]
    risks = [detectable_risk(state) for state in states]
    assert all(risks[i] > risks[i + 1] > 0.1 for i in range(3))  # type: ignore[operator]
    assert detectable_risk(states[0], since=10) is None
    assert detectable_risk(observe(start_monitor(0.5), [0.0] * 2)) is None


def test_drift_under_unequal_probabilities_is_told_as_if_they_were_equal() -> None:
    state = observe(start_monitor(0.1, min_audit_probability=0.5), np.zeros(300), [0.5] * 300)
    weighted, plain = (
        detectable_risk(state),
        detectable_risk(observe(start_monitor(0.1), np.zeros(300))),
    )
    assert weighted is not None
    assert plain is not None
    assert weighted == pytest.approx(plain, abs=0.02)


@pytest.mark.parametrize(("field", "value"), [("since", 11), ("since", -1), ("probability", 1.0)])
def test_drift_out_of_range_is_refused(field: str, value: Any) -> None:
    with pytest.raises(InvalidArgument, match=field):
        detectable_risk(observe(start_monitor(0.1), np.zeros(10)), **{field: value})


def test_e_value_is_cut_where_json_has_no_number() -> None:
    state = observe(start_monitor(0.1), np.ones(2_000))
    assert state.e_value == pytest.approx(1e300)
    assert observe(start_monitor(0.1, 0.04), [0.0]).alarm_level == 25
    assert replace(state, cash=1.0).e_value > 20
