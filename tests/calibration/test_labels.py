from __future__ import annotations

import numpy as np
import pytest

from calibration.errors import InvalidArgument
from calibration.labels import (
    MISSING,
    TIE,
    A,
    B,
    mean_sign,
    mirrored,
    plurality,
    rated_twice,
    rating_counts,
    vote_counts,
)


def test_votes_are_counted_and_missing_ones_are_not() -> None:
    counts = vote_counts([0, 0, 2, 2, 2], [A, TIE, B, B, MISSING], 3)
    assert counts.tolist() == [[1, 0, 1], [0, 0, 0], [0, 2, 0]]


@pytest.mark.parametrize("code", [-2, 3])
def test_unknown_codes_are_refused(code: int) -> None:
    with pytest.raises(InvalidArgument, match="category must be codes"):
        vote_counts([0], [code], 1)


def test_ratings_become_counts_of_distinct_values() -> None:
    counts, values = rating_counts([[1.0, np.nan, 3.0], [3.0, 3.0, 2.5]])
    assert values.tolist() == [1.0, 2.5, 3.0]
    assert counts.tolist() == [[1, 0, 1], [0, 1, 2]]


@pytest.mark.parametrize("n_values", [1, 4, 32, 33, 400])
def test_counts_of_ratings_do_not_depend_on_how_distinct_values_are_found(n_values: int) -> None:
    rng = np.random.default_rng(n_values)
    table = rng.integers(n_values, size=(700, 20)) / 4 - 3
    table[0, 0] = 1e6  # too rare for any sample to hold it surely
    table[rng.random(table.shape) < 0.3] = np.nan
    counts, values = rating_counts(table)
    assert values.tolist() == np.unique(table[~np.isnan(table)]).tolist()
    assert (counts @ values).tolist() == pytest.approx(np.nansum(table, axis=1))
    assert counts.sum(axis=1).tolist() == (~np.isnan(table)).sum(axis=1).tolist()


def test_units_rated_once_are_emptied() -> None:
    assert rated_twice([[1, 0], [2, 0], [1, 1]]).tolist() == [[0, 0], [2, 0], [1, 1]]


def test_ratings_that_are_all_missing_count_nothing() -> None:
    assert rating_counts([[np.nan], [np.nan]]).counts.tolist() == [[0], [0]]


def test_plurality_needs_a_single_top_label() -> None:
    votes = [[2, 1, 0], [1, 1, 0], [0, 0, 0], [0, 1, 2], [2, 2, 5]]
    assert plurality(votes).tolist() == [A, MISSING, MISSING, TIE, TIE]


def test_mean_sign_looks_at_the_difference_of_votes() -> None:
    votes = [[1, 0, 2], [1, 2, 0], [1, 1, 0], [0, 0, 3], [0, 0, 0]]
    assert mean_sign(votes).tolist() == [A, B, TIE, TIE, MISSING]


def test_mirror_exchanges_the_sides_alone() -> None:
    assert mirrored([A, B, TIE, MISSING]).tolist() == [B, A, TIE, MISSING]
