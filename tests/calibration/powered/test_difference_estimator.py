from __future__ import annotations

import numpy as np
import pytest
from scipy import special, stats

from calibration.powered import HumanLabels
from calibration.powered.difference import FittedMean, fit_mean
from calibration.powered.labels import labelled_sample


def fitted(value: float, variance: float, unseen: float = 0.0) -> FittedMean:
    return FittedMean(value, variance, 40.0, unseen, np.zeros(1))


@pytest.mark.parametrize(("value", "inside"), [(1.3, 1.0), (-0.2, 0.0), (0.5, 0.5)])
def test_interval_of_a_value_beyond_the_scale_keeps_a_width(value: float, inside: float) -> None:
    found = fitted(value, 0.01).estimate(50, 0.95)
    half = 0.1 * stats.t.isf(0.025, 40)
    assert found.value == inside
    assert found.low is not None
    assert found.high is not None
    assert 0.8 * half < found.high - found.low < 3 * half
    assert 0 <= found.low <= inside <= found.high <= 1


def test_interval_lies_on_the_logit_scale() -> None:
    found = fitted(0.8, 0.0025).estimate(50, 0.95)
    reach = 0.05 * stats.t.isf(0.025, 40) / (0.8 * 0.2)
    assert found.low == pytest.approx(special.expit(special.logit(0.8) - reach))
    assert found.high == pytest.approx(special.expit(special.logit(0.8) + reach))


@pytest.mark.parametrize("value", [0.95, 0.99, 0.999, 1 - 1e-9, 1.0])
def test_interval_near_the_end_of_the_scale_does_not_stretch_over_all_of_it(value: float) -> None:
    found = fitted(value, 0.0004).estimate(50, 0.95)
    assert found.low is not None
    assert value - 4 * 0.04 < found.low < value - 0.02


def test_unknown_variance_gives_no_interval() -> None:
    found = fitted(0.4, np.nan).estimate(1, 0.95)
    assert (found.value, found.low, found.high) == (0.4, None, None)


def test_settled_pairs_need_no_labels() -> None:
    labels = HumanLabels([1.0, 0.0, 1.0, 0.0, np.nan, np.nan])
    settled = np.array([np.nan, np.nan, np.nan, np.nan, 1.0, 1.0])
    found = fit_mean(np.full(6, 0.5), labelled_sample(labels, 6), 0.0, settled)
    assert found.value == pytest.approx((0.5 * 4 + 2) / 6)
