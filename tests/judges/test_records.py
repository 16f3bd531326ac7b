"""Recorded scores, as rows carry them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from judges.errors import RecordInvalid
from judges.records import recorded_fingerprint, score_from_record
from judges.types import FailureKind, Score
from tests.judges.pairs import pair_of, probability


def read(record: object) -> Score:
    return score_from_record("gpt-4", record)


@pytest.mark.parametrize(
    ("record", "p_a"),
    [
        ({"p_a": 0.93}, 0.93),
        ({"p_a": 1}, 1.0),
        ({"p_a": 0.2, "annotators": [[0.9, 0.9]], "label": "a"}, 0.2),
        ({"annotators": [[0.81, 0.74], [0.66, 0.90]], "label": "b"}, 0.7775),
        ({"annotators": [[0.8, None]]}, 0.8),
        ({"label_original": "a", "label_swapped": "b", "label": "a"}, 0.5),
        ({"label_original": "A", "label_swapped": "model_a"}, 1.0),
        ({"label_original": "tie", "label_swapped": "b"}, 0.25),
        ({"label_original": None, "label_swapped": "b", "label": "tie"}, 0.0),
        ({"label_swapped": "a"}, 1.0),
        ({"label": "B", "raw": "model_b", "inconsistent": False}, 0.0),
        ({"label": "tie"}, 0.5),
        ({"label": "a", "inconsistent": True}, 0.5),
        ({"ratings": [7, 4]}, 1.0),
        ({"ratings": [4, 7]}, 0.0),
        ({"annotators": [[0.8, 0.6], [None, None]]}, 0.7),
    ],
)
def test_the_first_form_that_is_present_gives_p_a(record: dict[str, Any], p_a: float) -> None:
    assert read(record).p_a == p_a


@pytest.mark.parametrize(
    "record",
    [
        None,
        math.nan,
        {"p_a": None, "label": "a"},
        {"p_a": math.nan},
        {"annotators": None},
        {"annotators": [[None, math.nan]]},
        {"label_original": None, "label_swapped": None, "label": "tie"},
        {"label": None},
        {"label": math.nan, "inconsistent": True},
        {"ratings": [7, None]},
        {"ratings": [math.nan, 7]},
    ],
)
def test_null_and_nan_say_that_the_judge_failed(record: object) -> None:
    score = read(record)
    assert score.p_a is None
    assert score.failure is not None
    assert score.failure.kind is FailureKind.RECORDED


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"p_a": 1.3}, r"judges\.gpt-4\.p_a: 1\.3 is not between 0 and 1"),
        ({"p_a": -1}, r"judges\.gpt-4\.p_a: -1 is not between"),
        ({"p_a": 10**400}, r"judges\.gpt-4\.p_a: .* is not between"),
        ({"p_a": "0.5"}, r"judges\.gpt-4\.p_a: '0\.5' is not a number"),
        ({"p_a": True}, r"judges\.gpt-4\.p_a: True is not a number"),
        ({"p_a": 0.7, "p_tie": 0.4}, r"judges\.gpt-4\.p_tie: .* more than 1"),
        ({"annotators": []}, r"judges\.gpt-4\.annotators: \[\] is not a list"),
        ({"annotators": "ab"}, r"judges\.gpt-4\.annotators: 'ab' is not a list"),
        ({"annotators": [[0.5, 0.5], [0.5]]}, r"judges\.gpt-4\.annotators\.1: \[0\.5\] is not"),
        ({"annotators": [[0.5, 2]]}, r"judges\.gpt-4\.annotators\.0\.1: 2 is not between"),
        ({"annotators": [[0.5, 0.7, 0.4]]}, r"judges\.gpt-4\.annotators\.0: .* more than 1"),
        ({"label_original": "x"}, r"judges\.gpt-4\.label_original: 'x' is not a label"),
        ({"label": "a", "inconsistent": 1}, r"judges\.gpt-4\.inconsistent: 1 is not true"),
        ({"p_a": 0.5, "tokens": -1}, r"judges\.gpt-4\.tokens: -1 is not"),
        ({"p_a": 0.5, "cost": "free"}, r"judges\.gpt-4\.cost: 'free' is not a number"),
        ({"p_a": 0.5, "seconds": math.inf}, r"judges\.gpt-4\.seconds: inf is not"),
        ({"p_a": 0.5, "tokens": {"prompt": "1"}}, r"judges\.gpt-4\.tokens\.prompt: '1'"),
        ({"p_a": 0.5, "model": ["m"]}, r"judges\.gpt-4\.model: .* is not a string"),
        ({"ratings": 7}, r"judges\.gpt-4\.ratings: 7 is not \[of a, of b\]"),
        ({"ratings": [7, 4, 1]}, r"judges\.gpt-4\.ratings: \[7, 4, 1\] is not"),
        ({"ratings": [7, "x"]}, r"judges\.gpt-4\.ratings\.1: 'x' is not a number"),
        ({"ratings": [7, -math.inf]}, r"judges\.gpt-4\.ratings\.1: -inf is not a number from -"),
        ({}, r"judges\.gpt-4: no score in it"),
        ([0.5], r"judges\.gpt-4: \[0\.5\] is not an object"),
        ("a", r"judges\.gpt-4: 'a' is not an object"),
    ],
)
def test_what_cannot_be_read_names_the_field(record: object, message: str) -> None:
    with pytest.raises(RecordInvalid, match=rf"^{message}"):
        read(record)


def test_orders_are_kept_and_a_lone_one_is_flagged() -> None:
    both = read({"label_original": "a", "label_swapped": "b"})
    assert both.annotators == ((1.0, 0.0),)
    assert both.flags == ()
    lone = read({"label_original": None, "label_swapped": "b"})
    assert lone.annotators == ((None, 0.0),)
    assert lone.flags == ("single_order",)
    # an annotator who answered in neither order is missing, and the others count
    assert read({"annotators": [[None, None], [0.8, 0.6]]}).flags == ("annotators_missing:1",)


def test_a_tie_probability_is_kept_beside_p_a() -> None:
    lone = read({"p_a": 0.5, "p_tie": 0.2})
    assert (lone.p_a, lone.p_tie, lone.p_b) == (0.5, 0.2, 0.3)
    third = read({"annotators": [[0.5, 0.3, 0.2], [0.7, 0.5, 0.2]]})
    assert (third.p_a, third.p_tie) == (0.5, 0.2)
    assert read({"annotators": [[0.5, 0.3]], "p_tie": 0.1}).p_tie == 0.1
    assert read({"p_a": 0.5}).p_tie is None


def test_cost_tokens_time_and_criterion_are_kept() -> None:
    score = read({"p_a": 0.5, "cost": 0.01, "seconds": 2, "tokens": 120, "criterion": "style"})
    assert (score.cost_usd, score.seconds, score.usage.prompt) == (0.01, 2.0, 120)
    assert score.flags == ("criterion:style",)
    assert read({"p_a": 0.5, "tokens": {"prompt": 9, "completion": 1}}).usage.completion == 1


def test_the_fingerprint_is_of_name_model_and_prompt_hash() -> None:
    score = read({"p_a": 0.5, "model": "gpt-4-0613", "prompt_hash": 17})
    assert score.fingerprint == recorded_fingerprint("gpt-4", "gpt-4-0613", "17")
    prints = {
        recorded_fingerprint("gpt-4"),
        recorded_fingerprint("gpt-4", "m"),
        recorded_fingerprint("gpt-4", None, "m"),
        recorded_fingerprint("gpt-3"),
    }
    assert len(prints) == 4


json_like = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text("abAB1.", max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner),
    max_leaves=6,
)
fields = st.sampled_from(
    ["p_a", "p_tie", "annotators", "label", "label_original", "inconsistent", "tokens", "model"]
)


@given(st.dictionaries(fields, json_like))
def test_any_json_is_a_score_or_names_its_field(record: dict[str, Any]) -> None:
    with suppress_named("judges.gpt-4"):
        score = read(record)
        assert (score.p_a is None) == (score.failure is not None)


@contextmanager
def suppress_named(path: str) -> Iterator[None]:
    try:
        yield
    except RecordInvalid as error:
        if not str(error).startswith(path):
            raise


@given(st.lists(st.tuples(probability, probability), min_size=1, max_size=5))
def test_mirrored_annotators_give_the_mirrored_score(rows: list[tuple[float, float]]) -> None:
    score = read({"annotators": rows})
    swapped = read({"annotators": score.mirrored().annotators})
    assert swapped == score.mirrored()
    assert swapped.mirrored() == score


@given(probability)
def test_a_recorded_score_mirrors_twice_into_itself(p_a: float) -> None:
    pair = pair_of(recorded={"gpt-4": read({"p_a": p_a})})
    assert pair.swapped().swapped().recorded == pair.recorded
