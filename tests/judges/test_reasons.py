"""Reasons: which verdicts get one, and what a reader is told of its words."""

from __future__ import annotations

from typing import Any

import pytest

from judges.base import JudgeHealth, JudgeSpec
from judges.cascade import Tier, judge_pair
from judges.reasons import ReasonSettings, checked_choice, prefers_other, wanted_of
from judges.types import Label, Pair, Score
from tests.judges.pairs import pair_of

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


class Telling:
    """A judge that gives reasons, except without `settings`."""

    def __init__(self, name: str, settings: ReasonSettings | None, **score: Any) -> None:
        self.spec = JudgeSpec(name, "scripted", None, scored_by={"name": name})
        self.reasons, self._score = settings, score

    async def score(self, pair: Pair) -> Score:
        return Score(self.spec.name, self.spec.fingerprint, **self._score)

    async def health(self) -> JudgeHealth:
        return JudgeHealth(True)

    async def aclose(self) -> None: ...

    async def explain(self, *_: Any) -> Any:
        raise AssertionError("nobody asks")

    def most_reason_usd(self, _: Pair) -> float:
        return 0.0


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        (({"p_a": 0.6}, {"p_a": 0.3}), ("2", "b")),
        # who has no preference, or has stored votes without words of its own, has no reason either
        (({"p_a": 0.6}, {"p_a": 0.5}), ("1", "a")),
        (({"p_a": 0.6}, {"p_a": 0.3, "annotators": ()}), ("1", "a")),
        (({"p_a": 0.5}, {"p_a": 0.5}), None),
        (({"p_a": 0.6}, None), ("1", "a")),
    ],
)
async def test_the_last_judge_with_a_preference_says_why(
    scores: tuple[dict[str, Any] | None, ...], said: tuple[str, str] | None
) -> None:
    everything = ReasonSettings(wanted="all")
    judges: list[Any] = [
        Telling(str(n), everything, annotators=((0.6, 0.6),), **one)
        if one is not None and "annotators" not in one
        else Telling(str(n), everything if one else None, **(one or {"p_a": 0.2}))
        for n, one in enumerate(scores, start=1)
    ]
    verdict = await judge_pair(pair_of(), [Tier(one, 0.99) for one in judges])
    wanted = wanted_of(verdict, {one.spec.name: one for one in judges}, "hash", "exclude")
    found = None if wanted is None else (wanted.judge.spec.name, wanted.label)
    assert found == said
