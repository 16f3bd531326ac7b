from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.agreement import compare_with_ceiling, leave_one_out_agreement
from calibration.errors import InvalidArgument
from calibration.intervals import Groups
from calibration.labels import MISSING, TIE, A, B


def test_judge_and_people_are_asked_the_same_held_out_votes() -> None:
    # Unit 1: two a-votes face {a, b} and no majority, the b-vote faces {a, a}: one held-out vote.
    # Unit 2: each of three b-votes faces {b, b}.
    counts = np.array([[2, 1, 0], [0, 3, 0], [3, 0, 0]])
    found = compare_with_ceiling([A, B, MISSING], counts)
    assert (found.people.value, found.people.n) == (0.75, 4)
    assert (found.judge.value, found.judge.n) == (1.0, 4)
    assert found.difference.value == 0.25
    assert compare_with_ceiling([TIE, B, A], counts).judge.value == pytest.approx(6 / 7)


def test_people_alone_are_the_ceiling_of_a_judge_that_answers_everything() -> None:
    counts = np.random.default_rng(1).integers(0, 4, size=(40, 3))
    for tie in (TIE, None):
        found = compare_with_ceiling(np.zeros(40), counts, tie=tie)
        assert found.people == leave_one_out_agreement(counts, tie=tie)


def test_a_judge_like_one_more_person_meets_the_ceiling() -> None:
    rng = np.random.default_rng(3)
    truth = rng.integers(0, 2, 3_000)
    votes = np.where(rng.random((3_000, 5)) < 0.8, truth[:, None], 1 - truth[:, None])
    counts = np.column_stack([(votes[:, :4] == k).sum(axis=1) for k in (A, B)])
    bootstrap = Groups.of(np.arange(3_000) // 3)
    found = compare_with_ceiling(votes[:, 4], counts, bootstrap, tie=None)
    assert found.difference.low is not None
    assert found.difference.high is not None
    assert found.difference.low < 0 < found.difference.high
    better = compare_with_ceiling(truth, counts, bootstrap, tie=None)
    assert better.difference.low is not None
    assert better.difference.low > 0.1


@settings(deadline=None)
@given(seed=st.integers(0, 10_000))
def test_sides_and_order_do_not_matter(seed: int) -> None:
    rng = np.random.default_rng(seed)
    counts, judge = rng.integers(0, 4, size=(25, 3)), rng.integers(-1, 3, 25)
    groups, order = np.arange(25) // 3, rng.permutation(25)
    bootstrap = Groups.of(groups)
    mirror = np.array([B, A, TIE, MISSING])
    one = compare_with_ceiling(judge, counts, bootstrap)
    two = compare_with_ceiling(
        mirror[judge][order], counts[order][:, [1, 0, 2]], bootstrap.take(order)
    )
    for first, second in zip(
        (one.people, one.judge, one.difference),
        (two.people, two.judge, two.difference),
        strict=True,
    ):
        assert (first.value, first.n) == (second.value, second.n)
        assert first.low == pytest.approx(second.low, abs=1e-9)


def test_other_numbers_of_units_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="same number"):
        compare_with_ceiling([A], np.ones((2, 3)))
