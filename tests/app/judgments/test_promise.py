from __future__ import annotations

from typing import Any

import pytest

from app.judgments.promise import Attendance, suspended_because


def tiers(judge: str, failed: int, asked: int, kind: str = "timeout") -> list[list[dict[str, Any]]]:
    failure = {"kind": kind, "detail": ""}
    return [[{"judge": judge, "failure": failure if i < failed else None}] for i in range(asked)]


@pytest.mark.parametrize(
    ("calibrated", "failed", "asked", "is_suspended"),
    [
        ((0, 200), 0, 100, False),
        ((0, 200), 1, 100, True),
        ((10, 200), 5, 100, False),
        ((10, 200), 12, 100, True),
        ((0, 0), 1, 1, True),
        ((200, 200), 100, 100, False),
    ],
)
def test_more_failures_than_in_calibration_suspend(
    calibrated: tuple[int, int], failed: int, asked: int, is_suspended: bool
) -> None:
    baseline = {"dear": {"failed": calibrated[0], "asked": calibrated[1]}}
    why = suspended_because(baseline, Attendance.of(tiers("dear", failed, asked)))
    assert (why is not None) == is_suspended
    assert why is None or "dear" in why


def test_a_deadline_suspends_however_often_the_judge_failed_before() -> None:
    baseline = {"dear": {"failed": 150, "asked": 200}}
    seen = Attendance.of(tiers("dear", 1, 100, kind="deadline"))
    assert "deadline" in (suspended_because(baseline, seen) or "")


def test_counts_survive_storage_and_addition() -> None:
    one = Attendance.of(tiers("dear", 2, 5))
    other = Attendance.from_json(one.as_json())
    both = one.plus(other)
    assert both.asked["dear"] == 10
    assert both.failed["dear"] == 4
