from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from calibration.agreement import (
    agreement_by_difficulty,
    agreement_rate,
    bins_by_edges,
    bins_by_quantile,
    cohens_kappa,
    measure_by_bin,
    vote_entropy,
    vote_margin,
)
from calibration.errors import InvalidArgument
from calibration.intervals import Groups
from calibration.labels import MISSING, TIE, A, B


def test_margin_is_the_lead_of_the_first_over_the_second() -> None:
    found = vote_margin([[3, 1, 0], [2, 2, 0], [0, 0, 5], [0, 0, 0]])
    assert found[:3].tolist() == [0.5, 0.0, 1.0]
    assert np.isnan(found[3])
    assert vote_margin([[4]]).tolist() == [1.0]


def test_entropy_is_that_of_scipy_over_its_largest_value() -> None:
    counts = np.array([[3, 1, 0], [2, 2, 2], [0, 0, 5], [0, 0, 0]])
    found = vote_entropy(counts)
    wanted = stats.entropy(counts[:3], axis=1) / np.log(3)
    assert found[:3] == pytest.approx(wanted, abs=1e-12)
    assert np.isnan(found[3])
    with pytest.raises(InvalidArgument, match="two categories"):
        vote_entropy([[1], [2]])


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), n_bins=st.integers(1, 5), distinct=st.integers(1, 30))
def test_quantile_bins_are_in_order_and_never_part_equals(
    seed: int, n_bins: int, distinct: int
) -> None:
    rng = np.random.default_rng(seed)
    difficulty = rng.integers(distinct, size=60).astype(float)
    difficulty[:5] = np.nan
    bins = bins_by_quantile(difficulty, n_bins)
    assert (bins.number[:5] == MISSING).all()
    assert bins.n_bins <= n_bins
    for number in range(bins.n_bins):
        own = difficulty[bins.number == number]
        assert own.size
        if number:
            assert own.min() > difficulty[bins.number == number - 1].max()


def test_distinct_difficulties_make_terciles() -> None:
    bins = bins_by_quantile(np.random.default_rng(0).permutation(90) / 7)
    assert np.bincount(bins.number).tolist() == [30, 30, 30]


def test_no_known_difficulty_is_one_empty_bin() -> None:
    bins = bins_by_quantile([np.nan, np.nan])
    assert (bins.n_bins, bins.number.tolist()) == (1, [MISSING, MISSING])


def test_units_on_an_edge_are_in_the_easier_bin() -> None:
    assert bins_by_edges([0.0, 0.5, 0.6, 2.0], [0.5, 1.0]).number.tolist() == [0, 0, 1, 2]


def test_bins_that_make_no_sense_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="increase"):
        bins_by_edges([0.0], [1.0, 1.0])
    with pytest.raises(InvalidArgument, match="positive"):
        bins_by_quantile([0.0], 0)


def test_agreement_of_each_bin_is_that_of_its_units() -> None:
    rng = np.random.default_rng(3)
    people, judge = rng.integers(-1, 3, 200), rng.integers(-1, 3, 200)
    difficulty = rng.random(200)
    bootstrap = Groups.of(np.arange(200) // 4)
    bins = bins_by_quantile(difficulty)
    found = agreement_by_difficulty(people, judge, bins, bootstrap, among=(A, B))
    assert len(found.agreement) == 3
    for number, estimate in enumerate(found.agreement):
        rows = bins.number == number
        own = agreement_rate(people[rows], judge[rows], bootstrap.take(rows), among=(A, B))
        assert estimate == own
    easy, hard = found.agreement[0].value or 0, found.agreement[-1].value or 0
    assert found.fall.value == pytest.approx(easy - hard)
    assert found.edges == tuple(bins.edges)


def test_a_fall_is_seen_and_its_absence_is_not() -> None:
    rng = np.random.default_rng(4)
    people, difficulty = rng.integers(0, 2, 900), rng.random(900)
    groups = Groups.of(np.arange(900) // 3)
    bins = bins_by_quantile(difficulty)
    falls = []
    for right in (0.95 - 0.4 * difficulty, np.full(900, 0.75)):
        judge = np.where(rng.random(900) < right, people, 1 - people)
        fall = agreement_by_difficulty(people, judge, bins, groups).fall
        assert fall.low is not None
        falls.append(fall.low > 0)
    assert falls == [True, False]


def test_a_single_bin_has_no_fall() -> None:
    found = agreement_by_difficulty([A, B], [A, TIE], bins_by_quantile([1.0, 1.0]))
    assert found.fall.value is None
    assert found.agreement[0].value == 0.5


def test_any_measure_may_be_taken_by_bin() -> None:
    rng = np.random.default_rng(5)
    people, judge = rng.integers(0, 3, 90), rng.integers(0, 3, 90)
    bins = bins_by_edges(np.arange(90), [29, 59])
    found = measure_by_bin(bins, lambda rows: cohens_kappa(people[rows], judge[rows]))
    assert found[1] == cohens_kappa(people[30:60], judge[30:60])
