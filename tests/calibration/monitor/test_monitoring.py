from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.errors import InvalidArgument, UndeclaredBound
from calibration.monitor import (
    MonitorState,
    observe,
    observe_in_slices,
    start_monitor,
    start_sliced_monitor,
)
from calibration.monitor.wealth import alternatives, stakes_per_term

RISKS = st.sampled_from([0.01, 0.05, 0.1, 0.2, 0.4, 0.8])
LOSSES = st.lists(st.sampled_from([0.0, 1.0, 0.25, 0.6]), max_size=160)


def wealth(state: MonitorState) -> float:
    return float(np.exp(state.log_wealth))


def losses(n: int, risk: float = 0.1, seed: int = 0) -> np.ndarray[Any, np.dtype[np.float64]]:
    return (np.random.default_rng(seed).uniform(size=n) < risk).astype(np.float64)


def written_out_wealth(target_risk: float, seen: list[float]) -> float:
    """Every start as a product of its own, the rest as cash."""
    total, cash = 0.0, 1.0
    for start in range(0, len(seen) + 1, 25):
        j = start // 25 + 1
        weight = 1 / (1.7 * j * (1 + np.log(j)) ** 2)
        cash -= weight
        tests = []
        for rise in [0.15, 0.3, 0.5, 0.8, 1.2, 1.8, 2.6, 3.6, 5.0]:
            r = target_risk * (1 + rise)
            if r < 0.95:
                likelihood = [
                    loss * r / target_risk + (1 - loss) * (1 - r) / (1 - target_risk)
                    for loss in seen[start:]
                ]
                tests.append(np.prod(likelihood))
        total += weight * float(np.mean(tests))
    return total + cash


@pytest.mark.parametrize("target_risk", [0.05, 0.1, 0.3])
@pytest.mark.parametrize("n", [0, 1, 24, 25, 26, 130, 300])
def test_wealth_is_that_of_all_starts_written_out(target_risk: float, n: int) -> None:
    seen = losses(n, target_risk)
    state = observe(start_monitor(target_risk), seen)
    assert wealth(state) == pytest.approx(written_out_wealth(target_risk, seen.tolist()), rel=1e-10)


@given(RISKS, LOSSES)
def test_next_audit_is_a_fair_bet_at_the_target_risk(
    target_risk: float, before: list[float]
) -> None:
    state = observe(start_monitor(target_risk), before)
    lost, agreed = wealth(observe(state, [1.0])), wealth(observe(state, [0.0]))
    assert target_risk * lost + (1 - target_risk) * agreed == pytest.approx(wealth(state), rel=1e-9)
    assert lost > agreed > 0


@given(RISKS, LOSSES, st.floats(0, 1))
def test_soft_loss_lies_between_agreement_and_disagreement(
    target_risk: float, before: list[float], loss: float
) -> None:
    state = observe(start_monitor(target_risk), before)
    lost, agreed = wealth(observe(state, [1.0])), wealth(observe(state, [0.0]))
    expected = loss * lost + (1 - loss) * agreed
    assert wealth(observe(state, [loss])) == pytest.approx(expected, rel=1e-9)


@given(st.lists(st.tuples(st.booleans(), st.sampled_from([0.2, 0.8])), max_size=80))
def test_next_verdict_is_a_fair_bet_under_unequal_probabilities(
    before: list[tuple[bool, float]],
) -> None:
    state = start_monitor(0.2, min_audit_probability=0.2)
    state = observe(state, [float(lost) for lost, _ in before], [p for _, p in before])
    expected = 0.0
    for risk, probability in ((0.05, 0.2), (0.35, 0.8)):
        lost, agreed = (wealth(observe(state, [loss], [probability])) for loss in (1.0, 0.0))
        audited = risk * lost + (1 - risk) * agreed
        expected += 0.5 * (probability * audited + (1 - probability) * wealth(state))
    assert expected == pytest.approx(wealth(state), rel=1e-9)


@pytest.mark.parametrize("target_risk", [0.01, 0.1, 0.5, 0.8])
@pytest.mark.parametrize("smallest", [0.01, 0.3, 1.0])
def test_bets_stay_below_three_quarters_of_what_an_audit_can_cost(
    target_risk: float, smallest: float
) -> None:
    bets = stakes_per_term(target_risk, smallest)
    assert (bets > 0).all()
    assert (bets <= 0.75 * smallest / target_risk + 1e-12).all()


def test_alternatives_stay_below_95_percent() -> None:
    np.testing.assert_allclose(alternatives(0.4), [0.46, 0.52, 0.6, 0.72, 0.88])


@settings(max_examples=60)
@given(RISKS, st.lists(st.integers(0, 90), min_size=1, max_size=8), st.booleans())
def test_a_stream_may_be_cut_anywhere(
    target_risk: float, cuts: list[int], is_weighted: bool
) -> None:
    seen = losses(sum(cuts), 2 * target_risk, seed=len(cuts))
    drawn = np.random.default_rng(1).uniform(0.1, 1, seen.size) if is_weighted else None
    start = start_monitor(
        target_risk, average_run_length=30, min_audit_probability=0.1 if is_weighted else None
    )
    whole, parts = observe(start, seen, drawn), start
    for place, size in zip(np.cumsum([0, *cuts]), cuts, strict=False):
        part = slice(place, place + size)
        parts = observe(parts, seen[part], None if drawn is None else drawn[part])
    assert_same(whole, parts)


def assert_same(left: MonitorState, right: MonitorState) -> None:
    for name, value in left.to_dict().items():
        other = right.to_dict()[name]
        if value is None or isinstance(value, int):
            assert value == other, name
        else:
            np.testing.assert_allclose(value, other, rtol=1e-12, atol=1e-12, err_msg=name)


@given(RISKS, LOSSES)
def test_state_survives_json(target_risk: float, seen: list[float]) -> None:
    state = observe(start_monitor(target_risk), seen)
    text = json.dumps(state.to_dict(), allow_nan=False)
    assert MonitorState.from_dict(json.loads(text)) == state


def test_state_does_not_grow() -> None:
    short, long = (observe(start_monitor(0.1), losses(n)) for n in (10, 20_000))
    assert len(short.log_stakes) == len(long.log_stakes) == 9
    assert len(json.dumps(long.to_dict())) < 1000


def test_observing_leaves_the_state_as_it_was() -> None:
    state = start_monitor(0.1)
    observe(state, np.ones(100))
    assert state == start_monitor(0.1)
    assert observe(state, []) == state


def test_alarm_comes_at_the_first_audit_that_brings_the_wealth_to_its_level() -> None:
    seen = losses(200, 0.3).tolist()
    path = [written_out_wealth(0.1, seen[:n]) for n in range(1, 201)]
    first = next(n for n, total in enumerate(path, 1) if total >= 20)
    state = observe(start_monitor(0.1, 0.05), seen)
    assert state.is_alarmed
    assert state.alarm_at == first
    assert state.p_value == pytest.approx(1 / max(path))


def test_alarm_is_never_withdrawn() -> None:
    alarmed = observe(start_monitor(0.1), np.ones(20))
    calm = observe(alarmed, np.zeros(5000))
    assert calm.alarm_at == alarmed.alarm_at == 3
    assert calm.log_wealth < 0
    assert calm.p_value == alarmed.p_value < 0.05


def test_nothing_overflows() -> None:
    risen, fallen = (observe(start_monitor(0.1), np.full(30_000, loss)) for loss in (1.0, 0.0))
    assert np.isfinite([risen.log_wealth, *risen.log_stakes, *risen.log_warning_stakes]).all()
    assert np.isfinite([fallen.log_wealth, *fallen.log_stakes, *fallen.log_warning_stakes]).all()
    assert risen.p_value == 0.0
    assert fallen.p_value == 1.0
    assert not fallen.is_alarmed


@pytest.mark.parametrize("n", [1, 77, 400])
def test_early_warning_is_the_recursion_of_shiryaev_and_roberts(n: int) -> None:
    seen, rises = losses(n, 0.2), alternatives(0.1)
    statistic = np.zeros(9)
    warned: list[int] = []
    for place, loss in enumerate(seen, 1):
        statistic = (statistic + 1) * (rises / 0.1 if loss else (1 - rises) / 0.9)
        if statistic.mean() >= 200:
            statistic, warned = np.zeros(9), [*warned, place]
    state = observe(start_monitor(0.1, average_run_length=200), seen)
    np.testing.assert_allclose(np.expm1(state.log_warning_stakes), statistic, rtol=1e-9, atol=1e-9)
    assert (state.warnings, state.warned_at) == (len(warned), warned[-1] if warned else None)


def test_last_warning_is_kept_while_nothing_new_happens() -> None:
    warned = observe(start_monitor(0.1, average_run_length=50), np.ones(5))
    assert warned.warned_at is not None
    assert observe(warned, [0.0]).warned_at == warned.warned_at


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"target_risk": 0.0}, "target_risk"),
        ({"target_risk": 0.83}, "target_risk"),
        ({"target_risk": float("nan")}, "target_risk"),
        ({"failure_probability": 1.0}, "failure_probability"),
        ({"average_run_length": 1.0}, "average_run_length"),
        ({"average_run_length": float("inf")}, "average_run_length"),
        ({"min_audit_probability": 0.0}, "min_audit_probability"),
    ],
)
def test_settings_out_of_range_are_named(change: dict[str, float], field: str) -> None:
    values = {"target_risk": 0.1, **change}
    with pytest.raises(InvalidArgument, match=field):
        start_monitor(**values)
    with pytest.raises(InvalidArgument, match=field):
        MonitorState.from_dict(start_monitor(0.1).to_dict() | values)


@pytest.mark.parametrize("seen", [1.0, [1.2], [-0.1], [float("nan")], [[0.0, 1.0]]])
def test_losses_out_of_range_are_refused(seen: Any) -> None:
    with pytest.raises(InvalidArgument, match="losses"):
        observe(start_monitor(0.1), seen)


@pytest.mark.parametrize("drawn", [None, [0.5], [0.5, 0.09], [0.5, 1.1], [0.5, float("nan")]])
def test_probabilities_that_do_not_fit_are_refused(drawn: list[float] | None) -> None:
    with pytest.raises(InvalidArgument, match="probabilities"):
        observe(start_monitor(0.1, min_audit_probability=0.1), [0.0, 1.0], drawn)


def test_probabilities_need_a_declared_bound() -> None:
    with pytest.raises(UndeclaredBound, match="min_audit_probability"):
        observe(start_monitor(0.1), [0.0], [0.5])


@pytest.mark.parametrize("name", ["log_stakes", "log_warning_stakes"])
def test_stakes_that_do_not_fit_the_target_are_refused(name: str) -> None:
    plain = start_monitor(0.1).to_dict() | {name: [0.0]}
    with pytest.raises(InvalidArgument, match=name):
        MonitorState.from_dict(plain)


def test_fields_missing_or_unknown_are_named() -> None:
    plain = start_monitor(0.1).to_dict()
    plain["extra"] = plain.pop("cash")
    with pytest.raises(InvalidArgument, match="cash, extra"):
        MonitorState.from_dict(plain)


@pytest.mark.parametrize("value", ["x", True, [1.0], float("nan"), float("inf"), -1, None])
@pytest.mark.parametrize("name", [field.name for field in fields(MonitorState)])
def test_stored_values_that_no_monitor_can_have_are_named(name: str, value: Any) -> None:
    plain = observe(start_monitor(0.1), [1.0, 0.0, 1.0]).to_dict() | {name: value}
    if value is None and name in ("min_audit_probability", "alarm_at", "warned_at", "drawn"):
        assert getattr(MonitorState.from_dict(plain), name) is None
        return
    with pytest.raises(InvalidArgument, match=name):
        MonitorState.from_dict(plain)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("alarm_at", 4), ("alarm_at", 0), ("warned_at", 4), ("warnings", 4), ("cash", 0.0),
        ("cash", 1.5), ("loss_total", 3.5), ("audits", 2.5), ("alarm_at", 1.5),
    ],
)  # fmt: skip
def test_stored_values_must_fit_the_audits_seen(name: str, value: float) -> None:
    plain = observe(start_monitor(0.1), [1.0, 0.0, 1.0]).to_dict() | {name: value}
    with pytest.raises(InvalidArgument, match=name):
        MonitorState.from_dict(plain)


def written_out_by_number(target_risk: float, seen: dict[int, float]) -> float:
    """Every start as a product over the audits drawn after it, the rest as cash."""
    total, cash = 0.0, 1.0
    for start in range(0, max(seen) + 1, 25):
        j = start // 25 + 1
        weight = 1 / (1.7 * j * (1 + np.log(j)) ** 2)
        cash -= weight
        risks = alternatives(target_risk)
        tests = [
            np.prod([
                loss * r / target_risk + (1 - loss) * (1 - r) / (1 - target_risk)
                for number, loss in seen.items()
                if number > start
            ])
            for r in risks
        ]  # fmt: skip
        total += weight * float(np.mean(tests))
    return total + cash


@given(RISKS, st.permutations(range(1, 81)), st.integers(1, 80))
@settings(max_examples=30)
def test_numbered_audits_count_alike_in_any_order(
    target_risk: float, order: list[int], n: int
) -> None:
    lost = losses(80, target_risk)
    came = order[:n]
    state = observe(start_monitor(target_risk), lost[np.array(came) - 1], numbers=came)
    expected = written_out_by_number(target_risk, {number: lost[number - 1] for number in came})
    assert wealth(state) == pytest.approx(expected, rel=1e-9)
    again = MonitorState.from_dict(json.loads(json.dumps(state.to_dict(), allow_nan=False)))
    assert again == state
    late = order[n] if n < len(order) else 7
    worse, better = (wealth(observe(again, [loss], numbers=[late])) for loss in (1.0, 0.0))
    fair = target_risk * worse + (1 - target_risk) * better
    assert fair == pytest.approx(wealth(state), rel=1e-9)


def test_numbers_in_order_change_nothing_and_the_state_stays_small() -> None:
    seen = losses(4_000, 0.12)
    plain = observe(start_monitor(0.1), seen)
    numbered = observe(start_monitor(0.1), seen, numbers=np.arange(1, 4_001))
    assert numbered.log_wealth == pytest.approx(plain.log_wealth)
    assert numbered.p_value == pytest.approx(plain.p_value)
    assert len(numbered.later_starts) == 100
    # what a monitor saw before audits were numbered stays, and it goes on either way
    for state in (plain, numbered):
        assert observe(state, [1.0, 0.0]).log_wealth == pytest.approx(
            observe(state, [1.0, 0.0], numbers=[4_001, 4_002]).log_wealth
        )


def test_late_answers_from_before_a_rise_do_not_hide_it() -> None:
    before, after = losses(1_000, 0.02), losses(300, 0.3, seed=1)
    seen = np.concatenate([before, after])
    order = np.random.default_rng(2).permutation(seen.size)
    blind = observe(start_monitor(0.1), seen[order])
    numbered = observe(start_monitor(0.1), seen[order], numbers=order + 1)
    assert not blind.is_alarmed
    assert numbered.is_alarmed


@pytest.mark.parametrize("numbers", [[1], [0, 1], [1.0, 2.0], [[1, 2]]])
def test_numbers_that_do_not_fit_are_refused(numbers: Any) -> None:
    with pytest.raises(InvalidArgument, match="numbers"):
        observe(start_monitor(0.1), [0.0, 1.0], numbers=numbers)
    with pytest.raises(InvalidArgument, match="numbers"):
        observe_in_slices(start_sliced_monitor(0.1, ["x"]), [0.0], ["x"], numbers=[1])
