from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration import allocate_rank_labels, tied_models
from calibration.arrays import FloatArray
from calibration.errors import InvalidArgument
from calibration.plan.allocation import allocate_labels, confidence_strata, foreseen_deviation
from calibration.powered import HumanLabels
from tests.calibration.worlds.preferences import coverage


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


def test_old_labels_count_towards_the_shares() -> None:
    further = allocate_labels(100, [500, 500, 500], [0.2, 0.4, 0.4], labelled=[90, 10, 0])
    assert further.tolist() == [0, 45, 55]
    with pytest.raises(InvalidArgument, match="labelled"):
        allocate_labels(100, [500, 500], [0.2, 0.4], labelled=[501, 0])
    with pytest.raises(InvalidArgument, match="n_labels"):
        allocate_labels(100, [50, 60], [0.2, 0.4], labelled=[10, 10])


RING = [("a", "b"), ("b", "c"), ("c", "a"), ("d", "a")]


def test_labels_for_ranks_go_where_an_order_is_open() -> None:
    found = allocate_rank_labels(90, RING, [300] * 4, [0.4] * 4, tied=[("b", "c")])
    assert found.sum() == 90
    assert found[3] == 0
    assert found[1] == found.max()


def test_labels_for_ranks_shrink_the_variance_of_the_closest_pair() -> None:
    """What is allotted has a smaller sum of variance over squared gap than even shares."""
    tied, gaps = [("a", "b"), ("a", "c"), ("b", "c")], np.array([0.05, 0.2, 0.15])
    sizes, deviation = np.array([900, 400, 400, 900]), np.array([0.45, 0.3, 0.4, 0.5])
    models = RING

    def variance(n: FloatArray) -> float:
        total = 0.0
        for (first, second), gap in zip(tied, gaps, strict=True):
            c = np.zeros(4)
            for name, sign in ((first, 1), (second, -1)):
                sides = np.array([(a == name) - float(b == name) for a, b in models])
                c += sign * sides * sizes / (np.abs(sides) @ sizes)
            total += float(np.sum(c**2 * deviation**2 / np.maximum(n, 1e-9)) / gap**2)
        return total

    best = allocate_rank_labels(400, models, sizes, deviation, tied=tied, gaps=gaps)
    assert best.sum() == 400
    assert variance(best.astype(float)) < 0.95 * variance(np.full(4, 100.0))
    for i, j in ((0, 1), (1, 2), (2, 3), (3, 0)):
        moved = best.astype(float)
        moved[i], moved[j] = moved[i] + 8, moved[j] - 8
        assert variance(best.astype(float)) <= variance(moved) * 1.001


def test_labels_for_ranks_stop_where_all_is_labelled_or_nothing_is_open() -> None:
    none = allocate_rank_labels(90, RING, [300] * 4, [0.4] * 4, tied=[])
    assert none.tolist() == [0, 0, 0, 0]
    full = allocate_rank_labels(
        9_000, RING, [30] * 4, [0.4] * 4, tied=[("b", "c")], labelled=[30, 0, 10, 0]
    )
    assert full.tolist() == [0, 30, 20, 0]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"sizes": [1]}, "sizes"),
        ({"deviation": [0.4, 0.4, 0.4, -1]}, "deviation"),
        ({"gaps": [0.1, 0.2]}, "gaps"),
        ({"tied": [("b", "nobody")]}, "nobody"),
        ({"labelled": [1]}, "labelled"),
        ({"smallest_gap": 0.0}, "smallest_gap"),
    ],
)
def test_what_is_wrong_with_rank_labels_is_named(changed: dict[str, Any], message: str) -> None:
    settings = {"sizes": [30] * 4, "deviation": [0.4] * 4, "tied": [("b", "c")], **changed}
    sizes, deviation = settings.pop("sizes"), settings.pop("deviation")
    with pytest.raises(InvalidArgument, match=message):
        allocate_rank_labels(9, RING, sizes, deviation, **settings)


def test_models_are_tied_where_their_ranks_overlap() -> None:
    found = tied_models(["a", "b", "c", "d"], [1, 1, 2, 4], [1, 3, 3, 4])
    assert found == (("a", "b"), ("b", "c"))
    with pytest.raises(InvalidArgument, match="rank_low"):
        tied_models(["a"], [1, 2], [1, 2])
