"""Reasons: which verdicts get one, and what a reader is told of its words."""

from __future__ import annotations

import pytest

from judges.reasons import ReasonSettings, checked_choice, prefers_other
from judges.types import Label

AB = ("A", "B")


@pytest.mark.parametrize(
    ("text", "label", "is_other"),
    [
        ("A names three colours, so A is better.", "a", False),
        ("A is longer, so B is better.", "a", True),
        ("B is better written, but A is right, so A is better.", "a", False),
        ("B is better at form. A answers the question.", "a", False),
        ("Response B is clearly the better one.", "a", True),
        ("Response B isn't better than response A.", "a", False),
        ("B is not better.", "a", False),
        ("Answer A is worse than answer B.", "a", True),
        ("I prefer **B** because it is short.", "a", True),
        ("I would choose the second response.", "a", True),
        ("The first response is stronger.", "a", False),
        ("The latter is superior overall.", "a", True),
        ("Verdict: B", "a", True),
        ('The winner is "B".', "b", False),
        ("B wins.", "a", True),
        ("Better response: A", "b", True),
        ("A is better.", "tie", True),
        ("Both are equally good.", "tie", False),
        ("a is better than nothing, it is a start", "b", False),
        ("", "a", False),
    ],
)
def test_the_last_preference_of_a_reason_is_held_against_its_label(
    text: str, label: Label, is_other: bool
) -> None:
    assert prefers_other(text, label, AB) == is_other


def test_labels_of_ones_own_are_recognised() -> None:
    assert prefers_other("(1) is longer, so (2) is better", "a", ("(1)", "(2)"))
    assert not prefers_other("left is better", "a", ("left", "right", "tie"))


@pytest.mark.parametrize("wanted", ["disagreements", "answered", "abstained", "all", "sample:0.1"])
def test_what_may_be_wanted(wanted: str) -> None:
    assert checked_choice(wanted) == wanted


@pytest.mark.parametrize("wanted", ["never", "sample:", "sample:0", "sample:2", "sample:nan", ""])
def test_what_may_not_be_wanted(wanted: str) -> None:
    with pytest.raises(ValueError, match="none of"):
        checked_choice(wanted)


def test_the_share_of_a_sample() -> None:
    assert ReasonSettings(wanted="sample:0.1").share == 0.1
    assert ReasonSettings(wanted="all").share == 1.0
    assert ReasonSettings().share is None
