from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

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
    assert found.low == pytest.approx(max(inside - half, 0))
    assert found.high == pytest.approx(min(inside + half, 1))


def test_unknown_variance_gives_no_interval() -> None:
    found = fitted(0.4, np.nan).estimate(1, 0.95)
    assert (found.value, found.low, found.high) == (0.4, None, None)


def test_settled_pairs_need_no_labels() -> None:
    labels = HumanLabels([1.0, 0.0, 1.0, 0.0, np.nan, np.nan])
    settled = np.array([np.nan, np.nan, np.nan, np.nan, 1.0, 1.0])
    found = fit_mean(np.full(6, 0.5), labelled_sample(labels, 6), 0.0, settled)
    assert found.value == pytest.approx((0.5 * 4 + 2) / 6)
