from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.errors import InvalidArgument
from calibration.labels import MISSING, TIE, A, B, mirrored
from calibration.preference import LabelRule, TieRule, correctness, preference

NAN = float("nan")
# Votes for a, b, tie.
VOTES = [[2, 1, 0], [1, 1, 0], [0, 1, 2], [0, 0, 0], [1, 0, 1], [0, 3, 0]]


def test_the_more_probable_response_is_preferred() -> None:
    found = preference([0.9, 0.2, 0.5, NAN])
    assert found.label.tolist() == [A, B, MISSING, MISSING]
    np.testing.assert_array_equal(found.confidence, [0.9, 0.8, NAN, NAN])
    assert found.is_failed.tolist() == [False, False, False, True]
    assert found.has_no_preference.tolist() == [False, False, True, False]


def test_mass_on_a_tie_is_set_aside_unless_tie_is_a_class() -> None:
    p_a, p_tie = [0.45, 0.0, 0.25], [0.2, 1.0, 0.5]
    decided = preference(p_a, p_tie)
    assert decided.confidence[0] == pytest.approx(0.5625)
    assert decided.has_no_preference.tolist() == [False, True, True]
    three = preference(p_a, p_tie, ties="class")
    assert three.label.tolist() == [A, TIE, TIE]
    assert three.confidence.tolist() == [0.45, 1.0, 0.5]


def test_equal_responses_above_a_tie_are_no_preference_with_tie_as_a_class() -> None:
    assert preference([0.4], [0.2], ties="class").has_no_preference.all()


def test_a_response_as_probable_as_a_tie_wins() -> None:
    assert preference([0.4, 0.2], [0.4, 0.4], ties="class").label.tolist() == [A, B]


def test_a_judge_without_ties_on_some_pairs_has_none_there() -> None:
    assert preference([0.9], [NAN], ties="class").confidence.tolist() == [0.9]


@given(st.floats(0, 1), st.floats(0, 1), st.sampled_from(["exclude", "class"]))
def test_swapping_the_responses_mirrors_the_preference(x: float, y: float, ties: TieRule) -> None:
    p_tie = round(x * 0.9, 6)
    p_a = round(y * (1 - p_tie), 6)
    here = preference([p_a], [p_tie], ties=ties)
    there = preference([max(1 - p_a - p_tie, 0.0)], [p_tie], ties=ties)
    np.testing.assert_array_equal(here.confidence, there.confidence)
    assert mirrored(here.label).tolist() == there.label.tolist()


@given(st.floats(0, 1))
def test_swapping_without_ties_mirrors_to_the_last_bit(p_a: float) -> None:
    np.testing.assert_array_equal(preference([p_a]).confidence, preference([1 - p_a]).confidence)


@pytest.mark.parametrize(
    ("p_a", "p_tie"),
    [([1.1], None), ([0.5], [-0.1]), ([0.7], [0.4]), ([0.7, 0.2], [0.1, 0.1, 0.1])],
)
def test_impossible_probabilities_are_refused(p_a: list[float], p_tie: list[float] | None) -> None:
    with pytest.raises(InvalidArgument, match="p_"):
        preference(p_a, p_tie)


def test_no_preference_may_be_read_as_a_tie() -> None:
    assert preference([0.9, 0.5, NAN]).label_or_tie.tolist() == [A, TIE, MISSING]


@pytest.mark.parametrize(
    ("label_rule", "ties", "agreement_of_a"),
    [
        ("majority", "exclude", [1, NAN, NAN, NAN, NAN, 0]),
        ("majority", "error", [1, NAN, 0, NAN, NAN, 0]),
        ("majority", "half", [1, NAN, 0.5, NAN, NAN, 0]),
        ("majority", "class", [1, NAN, 0, NAN, NAN, 0]),
        ("random_annotator", "exclude", [2 / 3, 0.5, 0, NAN, 1, 0]),
        ("random_annotator", "error", [2 / 3, 0.5, 0, NAN, 0.5, 0]),
        ("random_annotator", "half", [2 / 3, 0.5, 1 / 3, NAN, 0.75, 0]),
        ("random_annotator", "class", [2 / 3, 0.5, 0, NAN, 0.5, 0]),
    ],
)
def test_agreement_under_each_rule(
    label_rule: LabelRule, ties: TieRule, agreement_of_a: list[float]
) -> None:
    labels = np.full((6, 1), A)
    found = correctness(labels, VOTES, label_rule=label_rule, ties=ties)
    np.testing.assert_allclose(found.agreement[:, 0], agreement_of_a)
    np.testing.assert_array_equal(found.counts, ~np.isnan(agreement_of_a))


def test_pairs_left_out_are_counted_by_reason() -> None:
    labels = np.full((6, 1), A)
    found = correctness(labels, VOTES, label_rule="majority", ties="exclude")
    assert (found.unlabelled, found.undecided, found.tied) == (1, 2, 1)


def test_a_tie_verdict_agrees_with_ties_where_tie_is_a_class() -> None:
    labels = np.full((6, 1), TIE)
    found = correctness(labels, VOTES, label_rule="random_annotator", ties="class")
    np.testing.assert_allclose(found.agreement[:, 0], [0, 0, 2 / 3, NAN, 0.5, 0])


def test_no_verdict_has_no_agreement_but_the_pair_counts() -> None:
    found = correctness([[MISSING, A]], [[1, 0, 0]], label_rule="majority", ties="exclude")
    np.testing.assert_array_equal(found.agreement, [[NAN, 1.0]])
    assert found.counts.all()


@given(st.lists(st.tuples(*[st.integers(0, 4)] * 3), min_size=1, max_size=8), st.data())
def test_swapping_the_responses_changes_no_agreement(
    votes: list[tuple[int, int, int]], data: st.DataObject
) -> None:
    ties: TieRule = data.draw(st.sampled_from(["exclude", "error", "half", "class"]))
    rule: LabelRule = data.draw(st.sampled_from(["majority", "random_annotator"]))
    labels = np.array([[A, B]] * len(votes))
    here = correctness(labels, votes, label_rule=rule, ties=ties)
    swapped = np.array(votes)[:, [1, 0, 2]]
    there = correctness(mirrored(labels), swapped, label_rule=rule, ties=ties)
    np.testing.assert_array_equal(here.agreement, there.agreement)


@pytest.mark.parametrize(
    ("label", "votes", "ties", "match"),
    [
        ([[1]], [[1, 0]], "exclude", "human_counts"),
        ([[1]], [[1, -1, 0]], "exclude", "negative"),
        ([1], [[1, 0, 0]], "exclude", "label must have shape"),
        ([[TIE]], [[1, 0, 0]], "exclude", "label must be one of"),
        ([[-128]], [[1, 0, 0]], "class", "label must be one of"),
        ([[257]], [[1, 0, 0]], "exclude", "label must be one of"),
        ([[0.5]], [[1, 0, 0]], "class", "label must be one of"),
        ([[NAN]], [[1, 0, 0]], "exclude", "label must be one of"),
        ([[1]], [[1, np.inf, 0]], "exclude", "finite"),
        ([[1]], [[1, NAN, 0]], "exclude", "finite"),
        ([[1]], [[1, 0, 0]], "maybe", "ties must be one of"),
    ],
)
def test_correctness_names_what_is_wrong(label: Any, votes: Any, ties: Any, match: str) -> None:
    with pytest.raises(InvalidArgument, match=match):
        correctness(label, votes, label_rule="majority", ties=ties)
