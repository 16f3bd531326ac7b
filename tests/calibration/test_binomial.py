from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from calibration import binomial
from calibration.binomial import (
    critical_errors,
    labels_needed,
    lower_bound,
    occurs_more_often,
    p_value,
    two_sided_interval,
    unconditional_critical_errors,
    upper_bound,
    wilson_interval,
)
from calibration.errors import InvalidArgument

SIZES = [30, 50, 100, 200, 300, 500]


@pytest.mark.parametrize(
    ("n", "errors", "level", "expected"),
    [
        (30, 0, 0.1, 0.073881),
        (30, 1, 0.1, 0.123570),
        (30, 3, 0.1, 0.209299),
        (100, 5, 0.1, 0.090771),
        (100, 10, 0.1, 0.149883),
        (100, 10, 0.1 / 3, 0.171165),
        (57, 10, 0.1, 0.257358),
        (220, 14, 0.1, 0.090210),
        (220, 14, 0.1 / 3, 0.101727),
    ],
)
def test_upper_bound_has_its_known_values(
    n: int, errors: int, level: float, expected: float
) -> None:
    assert upper_bound(errors, n, level) == pytest.approx(expected, abs=5e-7)


@pytest.mark.parametrize(
    ("level", "target_risk", "expected"),
    [
        (0.1, 0.05, [-1, 0, 1, 5, 9, 18]),
        (0.1, 0.10, [0, 1, 5, 14, 22, 40]),
        (0.1, 0.15, [1, 3, 10, 23, 36, 64]),
        (0.1, 0.20, [2, 5, 14, 32, 50, 88]),
        (0.1 / 3, 0.05, [-1, -1, 0, 4, 7, 15]),
        (0.1 / 3, 0.10, [-1, 0, 4, 12, 20, 37]),
        (0.1 / 3, 0.15, [0, 2, 8, 20, 33, 60]),
        (0.1 / 3, 0.20, [1, 4, 12, 29, 47, 83]),
    ],
)
def test_critical_errors_have_their_known_values(
    level: float, target_risk: float, expected: list[int]
) -> None:
    assert critical_errors(SIZES, target_risk, level).tolist() == expected


def test_nothing_or_everything_wrong_bounds_at_one() -> None:
    assert upper_bound([0, 7], [0, 7], 0.1).tolist() == [1.0, 1.0]
    assert lower_bound([0, 0], [0, 7], 0.1).tolist() == [0.0, 0.0]


@given(st.integers(1, 400), st.data())
def test_p_value_is_the_binomial_distribution_function(n: int, data: st.DataObject) -> None:
    errors = data.draw(st.integers(0, n))
    risk = data.draw(st.floats(0.01, 0.99))
    assert p_value(errors, n, risk) == pytest.approx(stats.binom.cdf(errors, n, risk), abs=1e-10)


@given(st.integers(0, 3000), st.floats(0.01, 0.6), st.floats(0.001, 0.5))
def test_critical_errors_are_the_last_that_pass(n: int, risk: float, level: float) -> None:
    critical = int(critical_errors(n, risk, level))
    assert critical == -1 or p_value(critical, n, risk) <= level
    assert critical == n or p_value(critical + 1, n, risk) > level


@given(st.integers(1, 300), st.floats(0.02, 0.5), st.floats(0.01, 0.3))
def test_critical_errors_and_upper_bound_are_one_test(n: int, risk: float, level: float) -> None:
    errors = np.arange(n + 1)
    passes = errors <= critical_errors(n, risk, level)
    bounds = upper_bound(errors, n, level)
    # Where bound and target agree to rounding either answer is right.
    clear = np.abs(bounds - risk) > 1e-9
    assert ((bounds <= risk) == passes)[clear].all()


@pytest.mark.parametrize("n", [60, 100, 250, 700])
@pytest.mark.parametrize("target_risk", [0.05, 0.1, 0.2])
@pytest.mark.parametrize("level", [0.025, 0.075])
def test_unconditional_counts_keep_their_size_at_every_coverage(
    n: int, target_risk: float, level: float
) -> None:
    counts = unconditional_critical_errors(n, target_risk, level)
    trials = np.arange(n + 1)
    size = np.where(
        counts.critical >= 0, stats.binom.cdf(counts.critical, trials, target_risk), 0.0
    )
    coverage = np.linspace(0, 1, 2001)[:, None]
    assert (stats.binom.pmf(trials, n, coverage) @ size).max() <= level
    assert (counts.critical >= critical_errors(trials, target_risk, level)).all()


@pytest.mark.parametrize(("n", "expected"), [(100, 1.3), (250, 1.2), (500, 1.1)])
def test_unconditional_level_is_enlarged_as_much_as_sizes_allow(n: int, expected: float) -> None:
    nominal = unconditional_critical_errors(n, 0.2, 0.075).nominal_level
    assert nominal / 0.075 == pytest.approx(expected, abs=0.05)


def test_unconditional_counts_are_the_ordinary_ones_for_large_samples() -> None:
    counts = unconditional_critical_errors(2001, 0.1, 0.075)
    assert (counts.critical == critical_errors(np.arange(2002), 0.1, 0.075)).all()
    assert counts.nominal_level == 0.075


@given(st.integers(0, 200), st.data(), st.floats(0.5, 0.99))
def test_intervals_match_scipy(n: int, data: st.DataObject, level: float) -> None:
    successes = data.draw(st.integers(0, n))
    exact, score = two_sided_interval(successes, n, level), wilson_interval(successes, n, level)
    if n == 0:
        assert [float(end) for end in (*exact, *score)] == [0.0, 1.0, 0.0, 1.0]
        return
    test = stats.binomtest(successes, n)
    theirs_exact, theirs_score = (
        test.proportion_ci(level, "exact"),
        test.proportion_ci(level, "wilson"),
    )
    for ours, theirs in ((exact, theirs_exact), (score, theirs_score)):
        assert float(ours.low) == pytest.approx(theirs.low, abs=1e-8)
        assert float(ours.high) == pytest.approx(theirs.high, abs=1e-8)


def test_a_higher_rate_takes_proof() -> None:
    assert not occurs_more_often(2, 100, 1, 100, 0.05)
    assert occurs_more_often(9, 100, 1, 100, 0.05)
    assert occurs_more_often(3, 20, 0, 200, 0.05)
    assert not occurs_more_often(1, 200, 0, 200, 0.05)
    assert not occurs_more_often(0, 1000, 0, 10, 0.05)
    assert not occurs_more_often(10, 10, 10, 10, 0.05)


@given(st.integers(1, 200), st.integers(1, 200), st.data())
def test_a_higher_rate_is_fishers_exact_test(n: int, n_before: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(0, n))
    before = data.draw(st.integers(0, n_before))
    table = np.array([[count, n - count], [before, n_before - before]])
    p = stats.fisher_exact(table, alternative="greater").pvalue
    if abs(p - 0.05) > 1e-9:
        assert occurs_more_often(count, n, before, n_before, 0.05) == (p <= 0.05)


@pytest.mark.parametrize(("n_before", "n"), [(185, 203), (200, 2000), (150, 10_000)])
@pytest.mark.parametrize("rate", [0.01, 0.05, 0.1])
def test_equal_rates_are_seldom_told_apart(n_before: int, n: int, rate: float) -> None:
    """The first of both rates is an estimate, too: taken as known it alarmed in up to .95."""
    rng = np.random.default_rng(0)
    counts, before = rng.binomial(n, rate, 500), rng.binomial(n_before, rate, 500)
    alarms = sum(
        occurs_more_often(int(c), n, int(b), n_before, 0.05)
        for c, b in zip(counts, before, strict=True)
    )
    assert alarms / 500 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 500)


@pytest.mark.parametrize(("errors", "n"), [(3, 2), (-1, 2)])
def test_impossible_counts_are_refused(errors: int, n: int) -> None:
    with pytest.raises(InvalidArgument, match="0 <= errors <= n"):
        upper_bound(errors, n, 0.1)


@pytest.mark.parametrize("level", [0.0, 1.0, float("nan")])
def test_levels_outside_the_open_interval_are_refused(level: float) -> None:
    with pytest.raises(InvalidArgument, match="failure_probability"):
        upper_bound(1, 2, level)
    with pytest.raises(InvalidArgument, match="level"):
        critical_errors(2, 0.1, level)


def test_wilson_interval_at_a_level_next_to_one_is_finite() -> None:
    low, high = wilson_interval(7, 10, float(np.nextafter(1.0, 0.0)))
    assert 0.0 < low < 0.7 < high < 1.0


def test_labels_that_were_counted_are_not_counted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {"risk_estimate": 0.0625, "target_risk": 0.2, "failure_probability": 0.1}
    first = labels_needed(coverage=0.5, **asked)
    monkeypatch.delattr(binomial, "critical_errors")
    assert labels_needed(coverage=0.5, **asked) == first
