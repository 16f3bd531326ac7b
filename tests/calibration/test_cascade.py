from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from calibration.cascade import accepts, asked, cascade_cost, composition, decide
from calibration.errors import InvalidArgument

NAN, INF = float("nan"), float("inf")
CONFIDENCE = hnp.arrays(
    np.float64,
    st.tuples(st.integers(0, 12), st.just(3)),
    elements=st.one_of(st.just(NAN), st.floats(0, 1)),
)
THRESHOLDS = hnp.arrays(np.float64, 3, elements=st.one_of(st.just(INF), st.floats(0, 1)))


def test_the_first_judge_that_is_sure_enough_answers() -> None:
    confidence = [[0.9, 0.9], [0.7, 0.9], [0.7, 0.7], [0.8, 0.0]]
    assert decide(confidence, [0.8, 0.8]).tolist() == [0, 1, -1, 0]


def test_a_failure_escalates() -> None:
    assert decide([[NAN, 0.9], [NAN, NAN]], [0.5, 0.5]).tolist() == [1, -1]


def test_an_infinite_threshold_never_answers() -> None:
    assert decide([[1.0, INF]], [INF, INF]).tolist() == [-1]


def test_confidences_meet_thresholds_at_twelve_decimals() -> None:
    assert decide([[0.3]], [0.1 + 0.2]).tolist() == [0]
    assert decide([[0.1 + 0.2]], [0.3]).tolist() == [0]
    assert decide([[0.299999999999]], [0.3]).tolist() == [-1]


@given(CONFIDENCE, THRESHOLDS)
def test_deciding_is_the_loop_over_judges(confidence: np.ndarray, thresholds: np.ndarray) -> None:
    expected = []
    for row in np.round(confidence, 12):
        judges = (
            i for i, c in enumerate(row) if c >= round(thresholds[i], 12) and thresholds[i] < INF
        )
        expected.append(next(judges, -1))
    assert decide(confidence, thresholds).tolist() == expected


@given(CONFIDENCE, THRESHOLDS, st.integers(0, 2))
def test_a_judge_that_always_fails_changes_no_answer(
    confidence: np.ndarray, thresholds: np.ndarray, place: int
) -> None:
    more = np.insert(confidence, place, NAN, axis=1)
    answers = decide(more, np.insert(thresholds, place, 0.5))
    shifted = np.where(answers > place, answers - 1, answers)
    assert shifted.tolist() == decide(confidence, thresholds).tolist()


@given(CONFIDENCE, THRESHOLDS)
def test_judges_are_asked_until_one_answers(confidence: np.ndarray, thresholds: np.ndarray) -> None:
    def asks(pair: np.ndarray) -> list[bool]:
        asked_so_far, is_answered = [], False
        for sure, threshold in zip(pair.tolist(), thresholds.tolist(), strict=True):
            asked_so_far.append(not is_answered and threshold != np.inf)
            is_answered |= accepts(sure, threshold)
        return asked_so_far

    found = asked(decide(confidence, thresholds), thresholds)
    assert found.tolist() == [asks(pair) for pair in confidence]


def test_every_judge_asked_is_paid() -> None:
    cost = cascade_cost([0, 1, 2, -1], [0.9, 0.8, 0.7], [1.0, 5.0, 100.0])
    assert cost.per_pair == pytest.approx((1 + 6 + 106 + 106) / 4)
    assert cost.relative == pytest.approx(cost.per_pair / 100)
    assert cost.composition.tolist() == [0.25, 0.25, 0.25]


def test_a_judge_that_can_never_answer_is_not_asked() -> None:
    assert cascade_cost([0, -1], [0.9, INF, INF], [1.0, 5.0, 100.0]).per_pair == pytest.approx(1.0)


def test_free_judges_have_no_relative_cost() -> None:
    assert cascade_cost([0], [0.9], [0.0]).relative is None


def test_weights_count_in_composition_and_cost() -> None:
    cost = cascade_cost([0, 1], [0.9, 0.8], [1.0, 4.0], [3.0, 1.0])
    assert cost.composition.tolist() == [0.75, 0.25]
    assert cost.per_pair == pytest.approx(0.75 * 1 + 0.25 * 5)


def test_no_pairs_have_no_composition() -> None:
    assert composition([], 2).tolist() == [0.0, 0.0]
    assert cascade_cost([], [0.5], [1.0]).per_pair == 0.0


@pytest.mark.parametrize("thresholds", [[], [NAN], [[0.5]]])
def test_bad_thresholds_are_refused(thresholds: list[float]) -> None:
    with pytest.raises(InvalidArgument, match="thresholds"):
        decide([[0.5]], thresholds)


def test_shapes_must_match() -> None:
    with pytest.raises(InvalidArgument, match="confidence"):
        decide([[0.5]], [0.5, 0.5])
    with pytest.raises(InvalidArgument, match="costs"):
        cascade_cost([0], [0.5], [1.0, -1.0])
