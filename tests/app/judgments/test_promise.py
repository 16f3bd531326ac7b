from __future__ import annotations

from typing import Any

import pytest

from app.judgments.promise import AnswerCounts, suspended_because


def tiers(judge: str, failed: int, asked: int, kind: str = "timeout") -> list[list[dict[str, Any]]]:
    failure = {"kind": kind, "detail": ""}
    return [[{"judge": judge, "failure": failure if i < failed else None}] for i in range(asked)]


@pytest.mark.parametrize(
    ("calibrated", "failed", "asked", "is_suspended"),
    [
        ((0, 200), 0, 100, False),
        ((0, 200), 1, 100, False),
        ((0, 200), 4, 100, True),
        ((0, 100), 1, 1, True),
        ((10, 200), 5, 100, False),
        ((10, 200), 12, 100, False),
        ((10, 200), 16, 100, True),
        ((4, 185), 0, 203, False),
        ((0, 0), 1, 1, True),
        ((200, 200), 100, 100, False),
        ((100, 200), 50, 100, False),
        ((100, 200), 5, 100, True),
        ((200, 200), 99, 100, True),
        ((0, 0), 0, 50, False),
    ],
)
def test_other_failures_than_in_calibration_suspend(
    calibrated: tuple[int, int], failed: int, asked: int, is_suspended: bool
) -> None:
    baseline = {"dear": {"failed": calibrated[0], "asked": calibrated[1]}}
    why = suspended_because(baseline, AnswerCounts.of(tiers("dear", failed, asked)))
    assert (why is not None) == is_suspended
    assert why is None or "dear" in why


def test_a_deadline_suspends_however_often_the_judge_failed_before() -> None:
    baseline = {"dear": {"failed": 150, "asked": 200}}
    seen = AnswerCounts.of(tiers("dear", 1, 100, kind="deadline"))
    assert "deadline" in (suspended_because(baseline, seen) or "")


def test_counts_survive_storage_and_addition() -> None:
    one = AnswerCounts.of(tiers("dear", 2, 5))
    other = AnswerCounts.from_json(one.as_json())
    both = one.plus(other)
    assert both.asked["dear"] == 10
    assert both.failed["dear"] == 4


def answered(*flags: tuple[str, int]) -> AnswerCounts:
    """A run whose answers carry these flags, that often each."""
    return AnswerCounts.of(
        [{"judge": "dear", "failure": None, "flags": [flag]}] for flag, n in flags for _ in range(n)
    )


BASELINE = {"dear": {"asked": 200, "failed": 0, "manners": {"members:5": 190, "members:4": 10}}}


@pytest.mark.parametrize(
    ("seen", "named"),
    [
        (answered(("members:5", 95), ("members:4", 5)), None),
        (answered(("members:5", 70), ("members:4", 30)), "members:4"),
        (answered(("members:5", 99), ("members:1", 1)), "members:1"),
        (answered(("members:5", 99), ("model_differs:other", 1)), "model_differs"),
        (answered(("delimiter_neutralised", 3)), "as usual"),
    ],
)
def test_answers_in_another_manner_suspend(seen: AnswerCounts, named: str | None) -> None:
    why = suspended_because(BASELINE, seen)
    assert (why is not None) == (named is not None)
    assert named is None or named in (why or "")


@pytest.mark.parametrize("flag", ["no_logprobs", "single_order", "annotators_missing:2"])
def test_a_judge_that_never_answered_so_is_another_judge(flag: str) -> None:
    baseline = {"dear": {"asked": 200, "failed": 0, "manners": {}}}
    assert flag in (suspended_because(baseline, answered((flag, 1), ("", 99))) or "")
    assert suspended_because(baseline, answered(("response_neutralised", 99))) is None


def test_scores_that_were_never_recorded_are_to_be_imported() -> None:
    baseline = {"dear": {"asked": 200, "failed": 0, "manners": {}}}
    why = suspended_because(baseline, AnswerCounts.of(tiers("dear", 3, 9, kind="not_recorded")))
    assert "import its scores" in (why or "")
