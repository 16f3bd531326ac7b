from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.errors import InvalidArgument
from calibration.selective import area_under_risk_coverage, risk_coverage_curve, selective_risk

NAN = float("nan")
CONFIDENCE = [0.9, 0.8, 0.8, 0.7, NAN]
CORRECT = [1, 1, 0, 0, NAN]


def test_risk_and_coverage_at_a_threshold() -> None:
    found = selective_risk(CONFIDENCE, CORRECT, 0.8)
    assert (found.answered, found.coverage) == (3, 0.6)
    assert found.risk == pytest.approx(1 / 3)
    assert selective_risk(CONFIDENCE, CORRECT, 0.95).risk is None
    assert selective_risk([], [], 0.5).coverage == 0.0


def test_ties_enter_the_curve_together() -> None:
    curve = risk_coverage_curve(CONFIDENCE, CORRECT)
    np.testing.assert_allclose(curve.thresholds, [0.9, 0.8, 0.7])
    np.testing.assert_allclose(curve.coverage, [0.2, 0.6, 0.8])
    np.testing.assert_allclose(curve.risk, [0, 1 / 3, 1 / 2])


def test_area_is_the_mean_risk_over_ranked_pairs() -> None:
    expected = (0 + 1 / 3 + 1 / 3 + 1 / 2) / 4
    assert area_under_risk_coverage(CONFIDENCE, CORRECT) == pytest.approx(expected)
    assert area_under_risk_coverage([NAN], [NAN]) is None


@given(st.lists(st.tuples(st.floats(0.5, 1), st.booleans()), min_size=1, max_size=20))
def test_order_of_rows_does_not_matter(rows: list[tuple[float, bool]]) -> None:
    confidence, correct = (np.array(column, dtype=float) for column in zip(*rows, strict=True))
    order = np.argsort(-correct, kind="stable")
    here = risk_coverage_curve(confidence, correct)
    there = risk_coverage_curve(confidence[order], correct[order])
    np.testing.assert_allclose(here.risk, there.risk)
    np.testing.assert_allclose(here.coverage, there.coverage)


@pytest.mark.parametrize(
    ("confidence", "correct"), [([0.5], [1, 1]), ([[0.5]], [[1]]), ([0.5], [2])]
)
def test_bad_arrays_are_refused(confidence: object, correct: object) -> None:
    with pytest.raises(InvalidArgument):
        selective_risk(np.array(confidence), np.array(correct), 0.5)
