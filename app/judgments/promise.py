"""Whether the promise of a certificate holds for a run: not where a judge fails more than it did.

The promise is on the whole cascade. A cheap judge's verdicts alone may err more often than the
target and be carried by the dear judge's, so an outage of the dear judge breaks it. Where a judge
fails on more pairs than in calibration (exact binomial test), the run's verdicts are suspended.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from calibration.binomial import exceeds_rate
from judges.types import FailureKind

LEVEL = 0.05


@dataclass(frozen=True, slots=True)
class Attendance:
    """How often each judge was asked in a run, how often it failed, and at a deadline."""

    asked: Counter[str]
    failed: Counter[str]
    cut_off: Counter[str]

    @classmethod
    def of(cls, tiers_of_verdicts: Iterable[Iterable[Mapping[str, Any]]]) -> Attendance:
        """Count the tiers of verdicts in the form users see."""
        seen = cls(Counter(), Counter(), Counter())
        for tiers in tiers_of_verdicts:
            for tier in tiers:
                seen._count(tier)
        return seen

    def _count(self, tier: Mapping[str, Any]) -> None:
        judge, failure = tier["judge"], tier["failure"]
        self.asked[judge] += 1
        if failure is not None:
            self.failed[judge] += 1
            self.cut_off[judge] += failure["kind"] == FailureKind.DEADLINE

    def plus(self, other: Attendance) -> Attendance:
        """Return the counts of both runs together."""
        return Attendance(
            self.asked + other.asked, self.failed + other.failed, self.cut_off + other.cut_off
        )

    def as_json(self) -> dict[str, dict[str, int]]:
        """Return the counts as they are stored with a shard."""
        return {"asked": self.asked, "failed": self.failed, "cut_off": self.cut_off}

    @classmethod
    def from_json(cls, counts: Mapping[str, Mapping[str, int]]) -> Attendance:
        """Read stored counts."""
        return cls(*(Counter(counts.get(k, {})) for k in ("asked", "failed", "cut_off")))


def suspended_because(calibrated: Mapping[str, Mapping[str, int]], seen: Attendance) -> str | None:
    """Return why the promise does not hold for a run, None where it does.

    `calibrated` holds, per judge, the pairs `asked` and `failed` in calibration. A judge that
    never failed there has failed too often as soon as it fails once.
    """
    for judge, failed in seen.failed.items():
        if not failed:
            continue
        if seen.cut_off[judge]:
            return f"{judge} had not answered {seen.cut_off[judge]} pairs by the deadline"
        baseline = calibrated.get(judge, {"asked": 0, "failed": 0})
        rate = baseline["failed"] / baseline["asked"] if baseline["asked"] else 0.0
        if rate == 0 or exceeds_rate(failed, seen.asked[judge], rate, LEVEL):
            return (
                f"{judge} failed on {failed} of {seen.asked[judge]} pairs, in calibration on "
                f"{baseline['failed']} of {baseline['asked']}: ask again for the missing pairs"
            )
    return None
