"""Evidence that adds up: arrays, single answers, mirrored pairs, failures and learned weights."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.arrays import FloatArray
from calibration.errors import InvalidArgument
from calibration.labels import MISSING, A, B
from calibration.stack import (
    CLIP,
    Stack,
    learned_weights,
    log_odds,
    margins,
    stacked_preference,
    weighted_preference,
)

WEIGHTS = [[1.0, -0.3], [0.2, 0.7], [0.0, 1.1]]


def answers(n: int, seed: int = 0) -> FloatArray:
    """Probabilities of three judges, with certainty, ties, few decimals and failures."""
    rng = np.random.default_rng(seed)
    p_a = np.round(rng.beta(0.4, 0.4, (n, 3)), rng.integers(1, 16))
    p_a[rng.uniform(size=p_a.shape) < 0.1] = 0.5
    p_a[rng.uniform(size=p_a.shape) < 0.1] = np.nan
    return p_a


def heard(row: list[float], weights: list[list[float]] | None = None) -> list[tuple[int, float]]:
    stack = Stack(weights=weights)
    said = [stack.add(None if math.isnan(one) else one) for one in row]
    return [(one.label, one.confidence) for one in said]


@pytest.mark.parametrize("seed", range(4))
def test_a_live_stack_says_bit_for_bit_what_arrays_say(seed: int) -> None:
    p_a = answers(500, seed)
    said = stacked_preference(p_a)
    weighed = weighted_preference(p_a, WEIGHTS)
    for row, probabilities in enumerate(p_a.tolist()):
        labels, confidences = zip(*heard(probabilities), strict=True)
        assert list(labels) == said.label[row].tolist()
        assert np.array_equal(confidences, said.confidence[row], equal_nan=True)
        label, confidence = heard(probabilities, WEIGHTS)[-1]
        assert label == weighed.label[row, 0]
        assert np.array_equal(confidence, weighed.confidence[row, 0], equal_nan=True)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=5))
def test_swapping_the_responses_mirrors_the_verdict_exactly(p_a: list[float]) -> None:
    # b's probability as the grid of 12 decimals has it, so that both orders are the same pair
    first = np.round(np.array([p_a]), 12)
    said, mirrored = stacked_preference(first), stacked_preference(1.0 - first)
    assert np.array_equal(said.confidence, mirrored.confidence, equal_nan=True)
    swapped = np.where(said.label == MISSING, MISSING, 1 - said.label)
    assert np.array_equal(swapped, mirrored.label)


def test_evidence_that_cancels_is_no_preference() -> None:
    said = stacked_preference([[0.9, 0.1, 0.7], [0.6, 0.7, 0.5]])
    assert said.label.tolist() == [[A, MISSING, A], [A, A, A]]
    assert said.has_no_preference.tolist() == [[False, True, False], [False] * 3]


def test_four_judges_that_cancel_leave_nothing_of_their_rounding() -> None:
    assert stacked_preference([[0.7, 0.6, 0.3, 0.4]]).label[0, 3] == MISSING


def test_a_failed_judge_leaves_what_was_heard_before() -> None:
    said = stacked_preference([[np.nan, 0.8, np.nan], [np.nan] * 3])
    assert said.confidence[0, 1:].tolist() == [0.8, 0.8]
    assert said.is_failed.tolist() == [[True, False, False], [True] * 3]


def test_certainty_counts_as_the_clip() -> None:
    assert stacked_preference([[1.0]]).confidence[0, 0] == pytest.approx(1 - CLIP)
    assert log_odds([0.0]) == pytest.approx(-math.log((1 - CLIP) / CLIP))


def test_the_mass_on_a_tie_is_set_aside() -> None:
    assert stacked_preference([[0.6]], [[0.25]]).confidence[0, 0] == pytest.approx(0.8)
    assert heard([0.6]) != [Stack().add(0.6, 0.25)]
    assert Stack().add(0.6, 0.25).confidence == stacked_preference([[0.6]], [[0.25]]).confidence


@pytest.mark.parametrize("clip", [0.0, 0.5, -0.1])
def test_a_clip_that_leaves_nothing_is_refused(clip: float) -> None:
    with pytest.raises(InvalidArgument, match="clip"):
        log_odds([0.5], clip=clip)


def test_a_contrary_judge_is_turned_round_by_what_is_learned() -> None:
    rng = np.random.default_rng(1)
    people = rng.integers(0, 2, 200)
    sides = np.where(people == 1, 1.0, -1.0)
    # the first judge is right in .8 of pairs, the second wrong in .9
    first = np.where(rng.uniform(size=200) < 0.8, sides, -sides)
    second = np.where(rng.uniform(size=200) < 0.9, -sides, sides)
    evidence = np.column_stack([first, second]) * 2.0
    weights = learned_weights(evidence, np.column_stack([people, 1 - people]), rng)
    total = evidence @ weights[:, 0] + np.sign(evidence) @ weights[:, 1]
    assert weights[1].sum() < 0 < weights[0].sum()
    assert np.mean((total > 0) == (people == 1)) > 0.85


def test_pairs_that_teach_nothing_leave_no_weights() -> None:
    rng = np.random.default_rng(2)
    assert not learned_weights(np.zeros((0, 2)), np.zeros((0, 2)), rng).any()
    assert not learned_weights(np.ones((5, 2)), np.zeros((5, 2)), rng).any()
    assert weighted_preference([[0.9, 0.8]], np.zeros((2, 2))).label.tolist() == [[MISSING]]


def test_shapes_are_checked() -> None:
    with pytest.raises(InvalidArgument, match="p_a"):
        stacked_preference([0.5, 0.6])
    with pytest.raises(InvalidArgument, match="weights"):
        weighted_preference([[0.5, 0.6]], [[1.0, 1.0]])


def test_the_label_of_both_sides_is_reached() -> None:
    assert stacked_preference([[0.9], [0.2]]).label[:, 0].tolist() == [A, B]


def test_margins_are_quantiles_to_the_last_bit() -> None:
    rng = np.random.default_rng(0)
    for size in range(1, 60):
        evidence = np.cumsum(rng.normal(0, 2, (size, 3)), axis=1)
        taken = (evidence - evidence[:, [-1]]) * np.sign(evidence)
        expected = np.maximum(np.quantile(taken, 1.0 - 0.1, axis=0), 0.0)
        assert np.array_equal(margins(evidence), expected)
