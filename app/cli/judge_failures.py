"""What of a judging went wrong, counted by pairs and by judges."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from app.client.bodies import BatchBody, VerdictBody


class JudgeFailures:
    """On how many pairs judges failed, and which judge on how many of those it was asked."""

    def __init__(self) -> None:
        self.pairs = 0
        self._judges: dict[str, dict[str, Any]] = {}

    @classmethod
    def of(cls, verdicts: Iterable[VerdictBody]) -> JudgeFailures:
        """Count them over verdicts."""
        counted = cls()
        for verdict in verdicts:
            counted.add(verdict)
        return counted

    @classmethod
    def of_sums(cls, batch: BatchBody) -> JudgeFailures:
        """Take them from a batch's sums, which do not say on how many pairs together."""
        counted = cls()
        for tier in batch["progress"]["tiers"]:
            counts = {"asked": tier["asked"], "failed": tier["failed"], "first_reason": None}
            counted._judges[tier["judge"]] = counts
            counted.pairs = max(counted.pairs, tier["failed"])
        return counted

    def add(self, verdict: VerdictBody) -> None:
        """Count one verdict."""
        is_whole = True
        for tier in verdict["tiers"]:
            fresh = {"asked": 0, "failed": 0, "first_reason": None}
            counts = self._judges.setdefault(tier["judge"], fresh)
            counts["asked"] += 1
            failure = tier["failure"]
            if failure is not None:
                is_whole = False
                counts["failed"] += 1
                counts["first_reason"] = counts["first_reason"] or _reason(failure)
        self.pairs += not is_whole

    def as_json(self) -> dict[str, Any]:
        """Return the counts as they are printed; judges that never failed are left out."""
        return {
            "pairs": self.pairs,
            "judges": {name: one for name, one in self._judges.items() if one["failed"]},
        }


def _reason(failure: Any) -> str:
    return f"{failure['kind']}: {failure['detail']}" if failure["detail"] else failure["kind"]
