from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from calibration.errors import InvalidArgument
from calibration.intervals import ClusterBootstrap, bootstrap, estimate_mean


def over(groups: Any, n_resamples: int = 400) -> ClusterBootstrap:
    return ClusterBootstrap.over(groups, np.random.default_rng(1), n_resamples=n_resamples)


def test_limits_are_quantiles_of_studentised_resamples() -> None:
    rng = np.random.default_rng(0)
    values, groups = rng.exponential(size=60), np.arange(60) % 17
    boot = over(groups)

    def mean_and_error(multiplicity: np.ndarray) -> tuple[float, float]:
        weight = multiplicity[groups]
        mean = (weight @ values) / weight.sum()
        totals = np.array([(values - mean)[groups == g].sum() for g in range(17)])
        return mean, np.sqrt((multiplicity * totals**2).sum() * 17 / 16) / weight.sum()

    mean, error = mean_and_error(np.ones(17))
    ratios = []
    for drawn in np.concatenate(list(boot.multiplicities(1))).astype(float):
        again, spread = mean_and_error(drawn)
        ratios.append((again - mean) / spread)
    low, high = np.quantile(ratios, [0.025, 0.975])
    found = estimate_mean(values, boot)
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(mean - high * error)
    assert found.high == pytest.approx(mean - low * error)
    assert found.n == 60


def test_small_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    values, boot = np.random.default_rng(0).exponential(size=60), over(np.arange(60) // 2)
    whole = estimate_mean(values, boot)
    monkeypatch.setattr(bootstrap, "_BLOCK_CELLS", 100)
    again = estimate_mean(values, boot)
    assert (again.low, again.high) == pytest.approx((whole.low, whole.high))


def test_long_tail_is_reached_for_on_its_own_side() -> None:
    found = estimate_mean(np.random.default_rng(3).exponential(size=40), over(np.arange(40)))
    assert found.value is not None
    assert found.low is not None
    assert found.high is not None
    assert found.high - found.value > 1.2 * (found.value - found.low)


def test_interval_is_cut_where_the_mean_can_lie() -> None:
    values = np.array([0.0] * 9 + [1.0, 0.6, 0.4])
    wide = estimate_mean(values, over(np.arange(12)))
    cut = estimate_mean(values, over(np.arange(12)), within=(0.1, 0.4))
    assert wide.high is not None
    assert wide.high > 0.4
    assert (cut.low, cut.high) == (0.1, 0.4)


def test_groups_taken_out_do_not_count() -> None:
    values = np.random.default_rng(5).exponential(size=30)
    boot = over(np.arange(60)).take(np.arange(30))
    assert estimate_mean(values, boot).high is not None
    assert estimate_mean([], over([])).value is None


@pytest.mark.parametrize(
    ("values", "groups"),
    [([1.0, 2.0, 4.0], [0, 0, 0]), ([3.0] * 9, range(9)), ([0.0] * 30 + [1.0], range(31))],
)
def test_no_interval_where_the_spread_is_not_seen(values: list[float], groups: Any) -> None:
    found = estimate_mean(values, over(groups))
    assert found.value == pytest.approx(np.mean(values))
    assert (found.low, found.high) == (None, None)


def test_no_interval_without_resamples() -> None:
    found = estimate_mean([1.0, 2.0])
    assert (found.value, found.low, found.n, found.confidence_level) == (1.5, None, 2, 0.95)


@pytest.mark.parametrize("values", [[1.0, np.nan], [np.inf, 1.0], [[1.0, 2.0]]])
def test_values_must_be_numbers(values: Any) -> None:
    with pytest.raises(InvalidArgument, match=r"^values"):
        estimate_mean(values)


def test_resamples_of_other_rows_are_refused() -> None:
    with pytest.raises(InvalidArgument, match=r"^bootstrap"):
        estimate_mean([1.0, 2.0], over([0, 1, 2]))
