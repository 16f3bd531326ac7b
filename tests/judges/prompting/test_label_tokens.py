from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from judges.prompting.label_tokens import (
    LabelMatcher,
    LabelProbabilities,
    TokenLogprob,
    find_label_ids,
    read_label_logprobs,
    read_label_probabilities,
    read_sampled_label,
)
from judges.types import FailureKind, JudgeFailure
from tests.judges.spelling import Spelling

AB = LabelMatcher(["A", "B"])


def logs(**probabilities: float) -> list[tuple[str, object]]:
    return [(token, math.log(p)) for token, p in probabilities.items()]


def read(tokens: Any, matcher: LabelMatcher = AB) -> LabelProbabilities:
    said = read_label_probabilities(tokens, matcher)
    assert isinstance(said, LabelProbabilities)
    return said


def test_spellings_of_a_label_add_up_and_labels_are_renormalised() -> None:
    tokens = {"A": 0.2, " A": 0.1, "\nA": 0.05, "a": 0.05, "▁B": 0.1, "ĠB": 0.1, "The": 0.3}
    said = read({token: math.log(p) for token, p in tokens.items()})
    assert said.shares == pytest.approx((2 / 3, 1 / 3))
    assert said.outside_mass == pytest.approx(0.4)
    assert said.bound is None
    assert said.flags == ()


def test_case_counts_where_two_labels_differ_by_it_alone() -> None:
    said = read(logs(A=0.3, a=0.6), LabelMatcher(["A", "a"]))
    assert said.shares == pytest.approx((1 / 3, 2 / 3))


def test_a_longer_word_is_no_label() -> None:
    assert read(logs(A=0.2, Answer=0.5, B=0.2, AB=0.1)).outside_mass == pytest.approx(0.6)


def test_the_same_token_twice_counts_once() -> None:
    assert read([*logs(A=0.5, B=0.4), *logs(A=0.5)]).shares == pytest.approx((5 / 9, 4 / 9))


def test_a_missing_label_is_bounded_by_the_least_token_and_by_what_was_not_returned() -> None:
    said = read(logs(A=0.6, The=0.1))
    assert said.shares == (1.0, 0.0)
    assert said.flags == ("label_outside_top_logprobs",)
    assert said.bound == pytest.approx(0.1)
    assert read(logs(A=0.9, The=0.08)).bound == pytest.approx(0.02)


def test_three_labels_are_three_probabilities() -> None:
    said = read(logs(A=0.4, B=0.2, C=0.2, x=0.2), LabelMatcher(["A", "B", "C"]))
    assert said.shares == pytest.approx((0.5, 0.25, 0.25))


@pytest.mark.parametrize(
    "tokens",
    [
        [],
        logs(The=0.9),
        [("A", math.nan), ("B", -1.0)],
        [("A", math.inf)],
        [("A", -math.inf), ("B", -0.1)],
        [("A", 0.1)],
        [("A", None)],
        [("A", "-1")],
        [("A", True)],
        [("A", -(10**400))],
        [("A", -0.1), ("B", -0.1)],
        [("A", -9999.0)],
    ],
)
def test_impossible_or_missing_log_probs_are_a_typed_failure(tokens: Any) -> None:
    said = read_label_probabilities(tokens, AB)
    assert isinstance(said, JudgeFailure)
    assert said.kind is FailureKind.UNPARSEABLE


@pytest.mark.parametrize("logprob", [math.nan, math.inf, -math.inf, 0.4, None, "-1", [1]])
def test_an_unreadable_log_prob_of_another_token_is_ignored(logprob: Any) -> None:
    said = read([*logs(A=0.6, B=0.2), ("The", logprob)])
    assert said.shares == pytest.approx((0.75, 0.25))


def test_two_tokens_of_one_text_add_up() -> None:
    said = read([*logs(A=0.784, B=0.196), *logs(A=0.004)])
    assert said.shares[0] == pytest.approx(0.788 / 0.984)


def test_equal_entries_of_two_token_ids_are_two_tokens() -> None:
    entries = [TokenLogprob("A", -2.0, "[1]"), TokenLogprob("A", -2.0, "[2]"), ("B", -1.0)]
    assert read(entries).shares[0] == pytest.approx(2 / (2 + math.e))


def test_certainty_is_possible() -> None:
    assert read([("A", 0.0), ("B", -9999.0)]).shares == (1.0, 0.0)
    assert read([("A", 3e-8), ("B", -20.0)]).outside_mass == 0.0


@pytest.mark.parametrize(
    ("text", "p_a"), [("A", 1.0), (" b.\n", 0.0), ("[[A]]", 1.0), ("**B**", 0.0)]
)
def test_a_sampled_label_is_a_vote(text: str, p_a: float) -> None:
    said = read_sampled_label(text, AB)
    assert isinstance(said, LabelProbabilities)
    assert said.shares == (p_a, 1 - p_a)
    assert said.flags == ("no_logprobs",)
    assert said.outside_mass is None


@pytest.mark.parametrize("text", ["", "A or B", "Answer: A", "<think>", "C"])
def test_a_sampled_text_that_is_not_a_label_is_a_failure(text: str) -> None:
    assert isinstance(read_sampled_label(text, AB), JudgeFailure)


@given(st.dictionaries(st.sampled_from(["A", " A", "a", "B", "\nB", "x", "", "AB"]), st.floats()))
def test_any_numbers_give_probabilities_or_a_failure(tokens: dict[str, float]) -> None:
    said = read_label_probabilities(tokens, AB)
    if isinstance(said, LabelProbabilities):
        assert sum(said.shares) == pytest.approx(1)
        assert said.outside_mass is not None
        assert 0 <= said.outside_mass <= 1


def test_log_probs_by_id_are_read_exactly_or_named() -> None:
    found = find_label_ids(Spelling(), ("A", "B"))
    assert found.ids == ((65, 97), (66, 98))
    even = dict.fromkeys(found.all, math.log(0.2))
    said = read_label_logprobs(even, found)
    assert isinstance(said, LabelProbabilities)
    assert said.shares == (0.5, 0.5)
    assert said.outside_mass == pytest.approx(0.2)
    nothing = dict.fromkeys(found.all, -math.inf)
    for wrong, words in (
        ({}, "no log-probability of token 65"),
        ({**even, 97: math.nan}, "log-probability nan"),
        ({**even, 66: 1.0}, "log-probability 1.0"),
        (nothing, "every label has probability 0"),
    ):
        said = read_label_logprobs(wrong, found)
        assert isinstance(said, JudgeFailure)
        assert words in said.detail
