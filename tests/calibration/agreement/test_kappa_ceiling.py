from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.agreement import compare_kappa_with_ceiling, fleiss_kappa
from calibration.errors import InvalidArgument
from calibration.intervals import Groups
from calibration.labels import MISSING, A, B


def test_both_kappas_by_hand() -> None:
    # units 1 and 2 count: one vote is no pair, and the last unit has no label of the judge
    counts = np.array([[2, 1], [0, 2], [1, 0], [2, 0]])
    found = compare_kappa_with_ceiling([A, B, A, MISSING], counts)
    q = (2 / 3 + 0) / 2
    people = ((1 / 3 + 1) / 2 - (q**2 + (1 - q) ** 2)) / (1 - (q**2 + (1 - q) ** 2))
    judge = ((2 / 3 + 1) / 2 - 0.5) / 0.5
    assert found.people.value == pytest.approx(people)
    assert found.people.n == 2
    assert found.judge.value == pytest.approx(judge)
    assert found.difference.value == pytest.approx(judge - people)


@settings(deadline=None)
@given(seed=st.integers(0, 10_000))
def test_people_have_fleiss_kappa_where_all_units_have_as_many_votes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    votes = rng.integers(0, 3, size=(30, 4))
    counts = np.stack([(votes == k).sum(axis=1) for k in range(3)], axis=1)
    found = compare_kappa_with_ceiling(rng.integers(0, 3, 30), counts)
    assert found.people.value == pytest.approx(fleiss_kappa(counts).value)


@pytest.mark.parametrize(("accuracy", "is_like_people"), [(0.8, True), (1.0, False), (0.6, False)])
def test_only_a_judge_like_one_more_person_meets_the_ceiling(
    accuracy: float, is_like_people: bool
) -> None:
    rng = np.random.default_rng(5)
    truth = rng.integers(0, 2, 3_000)
    right = rng.random((3_000, 5)) < np.array([accuracy, 0.8, 0.8, 0.8, 0.8])
    said = np.where(right, truth[:, None], 1 - truth[:, None])
    counts = np.stack([(said[:, 1:] == k).sum(axis=1) for k in (A, B)], axis=1)
    bootstrap = Groups.of(np.arange(3_000) // 3)
    found = compare_kappa_with_ceiling(said[:, 0], counts, bootstrap)
    assert found.difference.low is not None
    assert found.difference.high is not None
    assert (found.difference.low < 0 < found.difference.high) is is_like_people


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="same number"):
        compare_kappa_with_ceiling([A], [[1, 1], [2, 0]])
    with pytest.raises(InvalidArgument):
        compare_kappa_with_ceiling([2], [[1, 1]])


def test_nothing_in_common_is_no_value() -> None:
    found = compare_kappa_with_ceiling([MISSING], [[2, 0]])
    assert (found.people.value, found.judge.value, found.difference.n) == (None, None, 0)
