from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from calibration.agreement import mean_p_value


def test_without_zeros_it_is_about_the_binomial_test() -> None:
    """With no 0 seen, the least favourable p0 is near 0: -1 or 1 with probability (1 - mean) / 2."""
    wanted = stats.binom.cdf(18, 60, 0.6)
    assert mean_p_value(42, 0, 18, 0.2) == pytest.approx(wanted, abs=5e-3)
    assert mean_p_value(42, 0, 18, 0.2) >= wanted


@pytest.mark.parametrize(
    ("counts", "mean"),
    [((0, 12, 0), 0.2), ((1, 3, 0), 0.1), ((2, 2, 2), 0.15), ((0, 0, 5), 0.0), ((3, 0, 0), 0.5)],
)
def test_results_with_so_small_a_p_value_are_no_more_probable_than_it_says(
    counts: tuple[int, int, int], mean: float
) -> None:
    """All results are enumerated, for every probability of a 0 that the mean allows."""
    n = sum(counts)
    results = [(a, b, n - a - b) for a, b in product(range(n + 1), repeat=2) if a + b <= n]
    p_values = np.array([mean_p_value(*result, mean=mean) for result in results])
    own = mean_p_value(*counts, mean=mean)
    for zero in np.linspace(0, 1 - mean, 21):
        chances = np.maximum([(1 - zero - mean) / 2, zero, (1 - zero + mean) / 2], 0)
        mass = stats.multinomial.pmf(results, n, chances / chances.sum())
        assert mass[p_values <= own].sum() <= own + 1e-9


@settings(deadline=None)
@given(st.integers(0, 12), st.integers(0, 12), st.integers(1, 12), st.floats(0, 0.6))
def test_better_results_have_smaller_p_values(
    below: int, zero: int, above: int, mean: float
) -> None:
    p_value = mean_p_value(below, zero, above, mean)
    assert 0 < p_value <= 1
    better = mean_p_value(below + above, zero, 0, mean)
    assert better <= p_value + 1e-9


def test_zeros_alone_are_evidence_once_there_are_too_many_for_the_mean() -> None:
    assert mean_p_value(0, 10, 0, 0.2) == pytest.approx(0.8**10, abs=2e-4)
    assert mean_p_value(0, 200, 0, 0.2) == 1e-4
