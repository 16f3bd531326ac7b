from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from calibration import CanaryState, flips_p_value, observe_canaries, start_canaries
from calibration.arrays import FloatArray
from calibration.errors import InvalidArgument
from calibration.monitor.canaries import POWERS, log_bets
from calibration.monitor.wealth import grown, restart_weights


def residuals(n: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.abs(np.random.default_rng(seed).normal(0, 0.1, n))


def test_wealth_is_that_of_all_starts_written_out() -> None:
    seen = residuals(60)
    state = observe_canaries(start_canaries(residuals(30, 1)), seen, 5)
    before = [float(f"{value:.2g}") for value in residuals(30, 1)]
    chance, shares = np.random.default_rng(5), []
    for residual in [float(f"{value:.2g}") for value in seen]:
        larger, equal = (np.array(before) > residual).sum(), (np.array(before) == residual).sum()
        shares.append((larger + (1 - chance.uniform()) * (equal + 1)) / (len(before) + 1))
        before.append(residual)
    total, cash = 0.0, 1.0
    for start in range(len(shares) + 1):
        weight = 1 / (1.7 * (start + 1) * (1 + np.log(start + 1)) ** 2)
        cash -= weight
        bets = [np.prod([power * p ** (power - 1) for p in shares[start:]]) for power in POWERS]
        total += weight * float(np.mean(bets))
    assert np.exp(state.log_wealth) == pytest.approx(total + cash, rel=1e-9)


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_a_change_is_seen_within_twenty_asks(noise: float) -> None:
    seen = 0
    for run in range(100):
        rng = np.random.default_rng(run)
        state = start_canaries(np.abs(rng.normal(0, noise, 80)))
        state = observe_canaries(state, np.abs(rng.normal(0, noise, 30)), rng)
        state = observe_canaries(state, np.abs(rng.normal(0.5, noise, 20)), rng)
        seen += state.is_alarmed
    assert seen >= 98


def test_flips_of_a_judge_without_probabilities_are_seen() -> None:
    rng = np.random.default_rng(0)
    state = observe_canaries(start_canaries(np.zeros(100)), np.zeros(300), rng)
    assert not state.is_alarmed
    state = observe_canaries(state, rng.uniform(size=40) < 0.4, rng)
    assert state.is_alarmed


@pytest.mark.parametrize("kind", ["continuous", "flips", "equal"])
def test_unchanged_judges_raise_few_alarms(kind: str) -> None:
    """At .05 instead of .001, so that there is something to count."""
    alarms, runs = 0, 300
    for run in range(runs):
        rng = np.random.default_rng(run)
        gamma = rng.gamma(0.3, size=150)
        draws = {"continuous": gamma, "flips": 1.0 * (gamma > 0.5), "equal": 0.0 * gamma}[kind]
        state = start_canaries(draws[:50], failure_probability=0.05)
        alarms += observe_canaries(state, draws[50:], rng).is_alarmed
    assert alarms <= runs * 0.05 + 3 * np.sqrt(runs * 0.05 * 0.95)


def test_an_average_as_reference_would_alarm_falsely() -> None:
    """Residuals from a mean that they are part of are smaller than later ones."""
    alarms, runs = 0, 200
    for run in range(runs):
        rng = np.random.default_rng(run)
        answers = rng.normal(size=(20, 2))
        reference = answers.mean(axis=1)
        base = np.abs(answers - reference[:, None]).ravel()
        canary = rng.integers(0, 20, 200)
        later = np.abs(rng.normal(size=200) - reference[canary])
        alarms += observe_canaries(start_canaries(base, 0.05), later, rng).is_alarmed
    assert alarms > runs * 0.05 + 3 * np.sqrt(runs * 0.05 * 0.95)


@pytest.mark.slow
def test_a_hundred_thousand_unchanged_asks_alarm_in_one_run_of_a_thousand_at_most() -> None:
    runs, asks, piece = 1500, 100_000, 2_000
    rng, alarms = np.random.default_rng(0), np.zeros(runs, dtype=bool)
    weights = restart_weights(np.arange(1.0, asks + 2.0))
    stakes = np.full((runs, POWERS.size), np.log(weights[0] / POWERS.size))
    cash = 1.0 - np.cumsum(weights)
    for start in range(0, asks, piece):
        shares = 1.0 - rng.uniform(size=(runs, piece))
        for run in range(runs):
            factors = log_bets(shares[run])
            entering = np.log(weights[start + 1 : start + 1 + piece] / POWERS.size)
            path = grown(stakes[run], factors, entering)
            total = np.logaddexp(
                np.logaddexp.reduce(path, axis=0), np.log(cash[start + 1 : start + 1 + piece])
            )
            alarms[run] |= bool(total.max() >= np.log(1000))
            stakes[run] = path[:, -1]
    allowed = 0.001 + 3 * np.sqrt(0.001 * 0.999 / runs)
    assert alarms.mean() <= allowed


def alarmed_share(baseline: FloatArray, later: FloatArray, runs: int, asks: int) -> float:
    """Return the share of runs that ever alarm, where residuals have few sizes.

    Args:
        baseline: Probability of each size, increasing, before the bets.
        later: The same of those that are bet on.
        runs: Watches side by side.
        asks: Bets of each.
    """
    rng, rows, sizes = np.random.default_rng(0), np.arange(runs), np.arange(baseline.size)
    weights = restart_weights(np.arange(1.0, asks + 2.0))
    cash, bounds = 1.0 - np.cumsum(weights), np.cumsum(later)[:-1]
    stakes = np.full((runs, POWERS.size), np.log(weights[0] / POWERS.size))
    seen = rng.multinomial(80, baseline, size=runs)
    at_least = np.zeros((runs, baseline.size + 1))
    at_least[:, :-1] = seen[:, ::-1].cumsum(axis=1)[:, ::-1]
    has_alarmed = np.zeros(runs, dtype=bool)
    for ask in range(asks):
        size = np.searchsorted(bounds, rng.uniform(size=runs), side="right")
        larger = at_least[rows, size + 1]
        equal = at_least[rows, size] - larger
        share = (larger + (1.0 - rng.uniform(size=runs)) * (equal + 1)) / (at_least[:, 0] + 1)
        stakes = stakes + log_bets(share).T
        wealth = np.logaddexp(np.logaddexp.reduce(stakes, axis=1), np.log(cash[ask]))
        has_alarmed |= wealth >= np.log(1000)
        stakes = np.logaddexp(stakes, np.log(weights[ask + 1] / POWERS.size))
        at_least[:, :-1] += sizes <= size[:, None]
    return float(has_alarmed.mean())


# residuals are equal in half of all asks of a busy server, and in all of an idle one
BUSY, IDLE = np.repeat([0.5, 0.5 / 19], [1, 19]), np.repeat([1.0, 0.0], [1, 19])


@pytest.mark.parametrize(
    ("runs", "asks"), [(200, 300), pytest.param(1500, 100_000, marks=pytest.mark.slow)]
)
def test_what_differs_by_itself_is_best_measured_on_a_busy_server(runs: int, asks: int) -> None:
    """Answers of an idle server differ less: were they the measure, load would look like a change."""
    alike, quieter = (alarmed_share(BUSY, later, runs, asks) for later in (BUSY, IDLE))
    louder = alarmed_share(IDLE, BUSY, runs, 100)
    print(f"{runs} runs of {asks} asks: {alike:.4f} alarm, {quieter:.4f} where the server idles "  # noqa: T201
          f"later, {louder:.4f} where it was idle first")  # fmt: skip
    allowed = 0.001 + 3 * np.sqrt(0.001 * 0.999 / runs)
    assert max(alike, quieter) <= allowed
    assert louder > 0.9


def test_state_survives_json_and_asks_may_come_one_by_one() -> None:
    rng, again = np.random.default_rng(3), np.random.default_rng(3)
    whole = parts = start_canaries(residuals(20))
    whole = observe_canaries(whole, residuals(40, 1), rng)
    for residual in residuals(40, 1):
        parts = CanaryState.from_dict(json.loads(json.dumps(parts.to_dict(), allow_nan=False)))
        parts = observe_canaries(parts, [residual], again)
    assert parts == whole
    assert parts.asks == 40


def test_state_stays_small() -> None:
    state = observe_canaries(start_canaries(), residuals(5_000), 0)
    assert len(state.residuals) < 400


def test_flips_are_tested_exactly() -> None:
    assert flips_p_value(0, 20, 0, 100) == 1.0
    assert flips_p_value(20, 20, 0, 100) == pytest.approx(4.5e-23, rel=0.3)


@pytest.mark.parametrize("seen", [[-0.1], [float("nan")], [[0.1]], [float("inf")]])
def test_residuals_out_of_range_are_refused(seen: Any) -> None:
    with pytest.raises(InvalidArgument, match="residuals"):
        observe_canaries(start_canaries(), seen, 0)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("failure_probability", 0.0),
        ("asks", 99),
        ("residuals", [[0.2, 3], [0.1, 9]]),
        ("residuals", [[0.1, 5], [0.2, 0], [0.3, 7]]),
        ("residuals", "x"),
        ("log_stakes", [0.0]),
        ("cash", 0.0),
        ("highest_log_wealth", -1.0),
        ("alarm_at", 7),
        ("more", 1),
    ],
)
def test_stored_values_that_no_watch_can_have_are_named(name: str, value: Any) -> None:
    plain = observe_canaries(start_canaries(residuals(9)), residuals(3), 0).to_dict()
    with pytest.raises(InvalidArgument, match=name):
        CanaryState.from_dict(plain | {name: value})
