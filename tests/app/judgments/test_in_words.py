"""Why a verdict has no answer, and what judges say together, as people read it."""

from __future__ import annotations

from typing import Any

import pytest

from app.judgments.in_words import said_together, why_unanswered

Json = dict[str, Any]


def tier(judge: str, confidence: float | None = None, **more: Any) -> Json:
    return {"judge": judge, "confidence": confidence, "failure": None, **more}


REFUSED = {"kind": "refused", "detail": ""}


@pytest.mark.parametrize(
    ("verdict", "said"),
    [
        ({"abstained_because": "budget", "tiers": []}, ["the budget did not cover it"]),
        ({"abstained_because": "it waits", "tiers": []}, ["it waits"]),
        ({"tiers": []}, ["no judge was asked: no judge may answer"]),
        ({"tiers": [tier("x")]}, ["x prefers neither"]),
        ({"tiers": [tier("x", failure=REFUSED)]}, ["x its server refused the question"]),
        (
            {"tiers": [tier("small", 0.6), tier("large", 0.7)]},
            ["small was 60.0% sure, and answers from 80.0%",
             "large was 70.0% sure, which is not enough"],
        ),
        ({"label": "a", "tiers": [tier("x", 0.9)]}, []),
    ],
)  # fmt: skip
def test_what_became_of_each_judge_is_told(verdict: Json, said: list[str]) -> None:
    thresholds = {"small": 0.8, "large": None}
    assert why_unanswered({"label": None, **verdict}, thresholds) == said


@pytest.mark.parametrize(
    ("own", "other", "sure", "said"),
    [
        (0.9, 0.6, 0.931, "other and own agree on a at 93%"),
        (0.9, 0.4, 0.857, "own says a and other b: together a at 86%"),
        # a judge that failed, or prefers neither, is on no side
        (0.9, None, 0.85, "own alone decides on a at 85%"),
        (0.9, 0.5, 0.85, "own alone decides on a at 85%"),
        # what one judge says alone is nothing said together
        (0.9, 0.6, 0.9, None),
        (None, 0.6, 0.6, None),
    ],
)
def test_what_judges_say_together_names_both_sides(
    own: float | None, other: float | None, sure: float, said: str | None
) -> None:
    tiers = [tier("other", p_a=other, p_tie=None), tier("own", p_a=own, p_tie=None)]
    verdict = {"label": "a", "confidence": sure, "judge": "own", "tiers": tiers}
    assert said_together(verdict) == said
    assert said_together({**verdict, "label": "tie"}) is None
