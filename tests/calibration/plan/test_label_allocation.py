from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.errors import InvalidArgument
from calibration.plan.labels import allocate_labels, confidence_strata, foreseen_deviation
from calibration.powered import HumanLabels
from tests.calibration.preference_worlds import coverage


def test_labels_go_where_many_pairs_are_unsure() -> None:
    found = allocate_labels(200, [1000, 1000, 2000], [0.5, 0.25, 0.125])
    assert found.tolist() == [100, 50, 50]


def test_every_stratum_keeps_its_fewest_and_none_gets_more_than_its_pairs() -> None:
    assert allocate_labels(60, [1000, 20, 8], [0.01, 0.5, 0.0]).tolist() == [32, 20, 8]
    assert allocate_labels(40, [1000, 1000], [0.5, 0.0]).tolist() == [25, 15]
    assert allocate_labels(10, [100, 100], [0.0, 0.0], fewest=0).tolist() == [5, 5]


@given(
    st.lists(st.tuples(st.integers(0, 300), st.floats(0, 1)), min_size=1, max_size=6),
    st.integers(0, 20),
    st.floats(0, 1),
)
def test_labels_are_shared_out_exactly(
    strata: list[tuple[int, float]], fewest: int, fill: float
) -> None:
    sizes = np.array([size for size, _ in strata])
    floor = np.minimum(sizes, fewest)
    n_labels = int(floor.sum() + fill * (sizes.sum() - floor.sum()))
    found = allocate_labels(n_labels, sizes, [spread for _, spread in strata], fewest=fewest)
    assert found.sum() == n_labels
    assert (found >= floor).all()
    assert (found <= sizes).all()


@pytest.mark.parametrize(
    ("field", "arguments"),
    [
        ("n_labels", {"n_labels": 20}),
        ("n_labels", {"n_labels": 201}),
        ("sizes", {"deviation": [0.5]}),
        ("sizes", {"sizes": [-1, 100]}),
        ("sizes", {"sizes": [10.5, 100]}),
        ("sizes", {"sizes": [np.nan, 100]}),
        ("sizes", {"sizes": [], "deviation": [], "n_labels": 0}),
        ("deviation", {"deviation": [0.5, np.nan]}),
        ("deviation", {"fewest": -1}),
    ],
)
def test_wrong_arguments_are_named(field: str, arguments: dict[str, Any]) -> None:
    usual: dict[str, Any] = {"n_labels": 100, "sizes": [100, 100], "deviation": [0.5, 0.5]}
    with pytest.raises(InvalidArgument, match=f"^{field}"):
        allocate_labels(**{**usual, **arguments})


def test_strata_are_terciles_of_confidence_and_blind_to_sides() -> None:
    prediction = np.array([0.5, 0.55, 0.7, 0.25, 0.95, 0.02])
    assert confidence_strata(prediction).tolist() == [0, 0, 1, 1, 2, 2]
    assert confidence_strata(1 - prediction).tolist() == [0, 0, 1, 1, 2, 2]
    assert confidence_strata([0.0, 1.0, 1.0]).tolist() == [0, 0, 0]


def test_strata_need_every_prediction() -> None:
    with pytest.raises(InvalidArgument, match=r"^prediction"):
        confidence_strata([0.5, np.nan])
    with pytest.raises(InvalidArgument, match=r"^n_strata"):
        confidence_strata([0.5], 0)
    with pytest.raises(InvalidArgument, match=r"^prediction"):
        confidence_strata([])


def test_calibrated_predictions_foresee_their_errors() -> None:
    found = foreseen_deviation([0.5, 0.5, 1.0, np.nan, 0.9], ["x", "x", "y", "x", "z"])
    assert found == pytest.approx([0.5, 0.0, 0.3])
    with pytest.raises(InvalidArgument, match=r"^strata"):
        foreseen_deviation([0.5, 0.5], ["x"])


def test_unequal_shares_narrow_the_interval() -> None:
    even = coverage("three_judges", "label_any", 200, draws=60)
    shared = coverage("three_judges", "label_strata", 200, draws=60)
    assert shared.relative_width < even.relative_width


def test_labels_of_an_allocation_are_labels() -> None:
    strata = confidence_strata(np.linspace(0, 1, 90))
    shares = allocate_labels(60, np.bincount(strata), [0.5, 0.4, 0.1])
    value = np.full(90, np.nan)
    for stratum, share in enumerate(shares):
        value[np.flatnonzero(strata == stratum)[:share]] = 1.0
    assert np.isfinite(HumanLabels(value, strata=strata).value).sum() == 60
