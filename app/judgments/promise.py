"""Suspends a certificate's promise where judges fail or answer otherwise than in calibration.

The promise is on the whole cascade. A cheap judge alone may err more often than the target while
the expensive one makes up for it, so an outage of the expensive judge breaks the promise. A judge
that failed in calibration and answers now was never tested. One that answers in another manner (in
one order alone, without log-probabilities) is another judge. Where a judge fails, or answers in some
manner, at another rate than in calibration (Fisher's exact test on the pairs that reach it), the
run's verdicts are suspended.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from judges.types import FailureKind, manner_of

# the probability that a run is suspended although nothing has changed, shared by all judges
LEVEL = 0.05
_COUNTS = ("asked", "failed", "cut_off", "not_recorded", "manners")
# no further call helps here: the score has to come with the pair
_FROM_RECORDS = (FailureKind.NOT_RECORDED, FailureKind.RECORDED)
# no judge's name has a line break
_SEPARATOR = "\n"


@dataclass(frozen=True, slots=True)
class AnswerCounts:
    """Counts, for each judge of a run, of the questions, failures and kinds of answers."""

    asked: Counter[str]
    failed: Counter[str]
    cut_off: Counter[str]
    not_recorded: Counter[str]
    manners: Counter[str]

    @classmethod
    def of(cls, tiers_of_verdicts: Iterable[Iterable[Mapping[str, Any]]]) -> AnswerCounts:
        """Count the tiers of verdicts in the form users see."""
        seen = cls(*(Counter[str]() for _ in _COUNTS))
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
            self.not_recorded[judge] += failure["kind"] in _FROM_RECORDS
        elif manner := manner_of(tier.get("flags", ())):
            self.manners[f"{judge}{_SEPARATOR}{manner}"] += 1

    def add(self, judge: str, asked: int, failed: int, manners: Mapping[str, int]) -> None:
        """Add many answers of one judge; the ordinary manner has the empty name."""
        if asked:
            self.asked[judge] += asked
            self.failed[judge] += failed
        for manner, count in manners.items():
            if manner:
                self.manners[f"{judge}{_SEPARATOR}{manner}"] += count

    def plus(self, other: AnswerCounts) -> AnswerCounts:
        """Return the counts of both runs together."""
        return AnswerCounts(*(getattr(self, name) + getattr(other, name) for name in _COUNTS))

    def as_json(self) -> dict[str, dict[str, int]]:
        """Return the counts as they are stored with a shard."""
        return {name: getattr(self, name) for name in _COUNTS}

    @classmethod
    def from_json(cls, counts: Mapping[str, Mapping[str, int]]) -> AnswerCounts:
        """Read stored counts."""
        return cls(*(Counter(counts.get(name, {})) for name in _COUNTS))


def suspended_because(
    calibrated: Mapping[str, Mapping[str, Any]], seen: AnswerCounts
) -> str | None:
    """Return why the promise does not hold for a run; None if it holds.

    `calibrated` holds, per judge, the pairs `asked` and `failed` in calibration and the `manners`
    in which it answered, counted. A manner that never occurred there occurs too often as soon as it
    occurs once, and so does a failure of a judge that no calibration pair reached.
    """
    # half of the level is for outages, which endanger most; the other two kinds share the rest
    level = LEVEL / (2 * max(len(seen.asked), 1))
    for judge, asked in seen.asked.items():
        baseline = calibrated.get(judge, {"asked": 0, "failed": 0})
        why = _too_many_failures(judge, asked, baseline, seen, level)
        # where no calibration pair reached a judge, its answers have nothing to be compared with
        if why is None and baseline["asked"]:
            why = _too_few_failures(judge, asked, baseline, seen, level / 2) or _other_manner(
                judge, baseline, seen, level / 2
            )
        if why:
            return why
    return None


def _too_many_failures(
    judge: str, asked: int, baseline: Mapping[str, Any], seen: AnswerCounts, level: float
) -> str | None:
    failed = seen.failed[judge]
    if failed and seen.cut_off[judge]:
        return f"{judge} had not answered {seen.cut_off[judge]} pairs by the deadline"
    if not _is_more(failed, asked, baseline["failed"], baseline["asked"], level):
        return None
    remedy = "import its scores of" if seen.not_recorded[judge] else "ask again for"
    return f"{_failures(judge, asked, baseline, seen)}: {remedy} the missing pairs"


def _too_few_failures(
    judge: str, asked: int, baseline: Mapping[str, Any], seen: AnswerCounts, level: float
) -> str | None:
    answered, n = asked - seen.failed[judge], baseline["asked"]
    if not _is_more(answered, asked, n - baseline["failed"], n, level):
        return None
    counts = _failures(judge, asked, baseline, seen)
    return f"{counts}: what it could not answer then was not tested; certify it as it answers now"


def _failures(judge: str, asked: int, baseline: Mapping[str, Any], seen: AnswerCounts) -> str:
    return (
        f"{judge} failed on {seen.failed[judge]} of {asked} pairs, in calibration on "
        f"{baseline['failed']} of {baseline['asked']}"
    )


def _other_manner(
    judge: str, baseline: Mapping[str, Any], seen: AnswerCounts, level: float
) -> str | None:
    """Return whether some manner, the ordinary one included, is more frequent than it was."""
    known = baseline.get("manners", {})
    named = {
        key.partition(_SEPARATOR)[2]: count
        for key, count in seen.manners.items()
        if key.partition(_SEPARATOR)[0] == judge
    }
    answered = seen.asked[judge] - seen.failed[judge]
    before = baseline["asked"] - baseline["failed"]
    shares = {manner: (count, known.get(manner, 0)) for manner, count in named.items()}
    shares["as usual"] = (answered - sum(named.values()), before - sum(known.values()))
    for manner, (count, count_before) in shares.items():
        is_new = count > 0 and not count_before
        if is_new or _is_more(count, answered, count_before, before, level / len(shares)):
            return (
                f"{judge} answered {count} of {answered} pairs in another manner ({manner}), in "
                f"calibration {count_before} of {before}: certify it as it answers now"
            )
    return None


def _is_more(count: int, n: int, count_before: int, n_before: int, level: float) -> bool:
    """Return whether something happens more often than it did."""
    if not count:
        return False
    from calibration.binomial import occurs_more_often  # a mere look needs no statistics

    return not n_before or occurs_more_often(count, n, count_before, n_before, level)
