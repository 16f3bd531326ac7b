"""Judges that answer from the scores that came with a pair; they call no model.

So a log of any judge can be certified and replayed through the same cascade as a live one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Final

from judges.base import JudgeHealth, JudgeSpec
from judges.probability import Preference, mean_preference
from judges.records import (
    preferences_by_order,
    recorded_fingerprint,
    recorded_spec,
    score_from_record,
)
from judges.types import FailureKind, JudgeFailure, Pair, Score, TokenUsage

__all__ = ["Jury", "RecordedJudge", "recorded_fingerprint", "score_from_record"]

_READY: Final = JudgeHealth(is_ready=True)


class RecordedJudge:
    """Answers with the pair's recorded score of this name, model and prompt hash."""

    def __init__(
        self,
        name: str,
        *,
        model: str | None = None,
        prompt_hash: str | None = None,
        fingerprint: str | None = None,
    ) -> None:
        """Answer for records of this model and prompt, or of exactly this fingerprint."""
        spec = recorded_spec(name, model, prompt_hash)
        self._spec = replace(spec, certified_fingerprint=fingerprint)
        self._fingerprint = self._spec.fingerprint

    @property
    def spec(self) -> JudgeSpec:
        """Return the judge's description."""
        return self._spec

    async def score(self, pair: Pair) -> Score:
        """Return the recorded score, or a `NOT_RECORDED` failure that says what is missing."""
        recorded = pair.recorded.get(self._spec.name)
        if recorded is None:
            return self._not_recorded("the pair has no recorded score of this name")
        if recorded.failure is not None:
            return replace(recorded, fingerprint=self._fingerprint)
        if recorded.fingerprint != self._fingerprint:
            return self._not_recorded(
                f"recorded by {recorded.fingerprint}, not by {self._fingerprint}"
                f" (model {self._spec.model}, prompt hash {self._spec.scored_by['prompt_hash']})"
            )
        return recorded

    async def health(self) -> JudgeHealth:
        """Say that it can: it calls nothing."""
        return _READY

    async def aclose(self) -> None:
        """Do nothing: nothing is open."""

    def _not_recorded(self, detail: str) -> Score:
        failure = JudgeFailure(FailureKind.NOT_RECORDED, detail)
        return Score(self._spec.name, self._fingerprint, p_a=None, failure=failure)


class Jury:
    """The mean of the recorded judges whose names match, each with one vote.

    A member that failed on a pair is left out; where all failed the jury failed.
    """

    def __init__(self, name: str, members: Sequence[str]) -> None:
        self._globs = tuple(sorted(set(members)))
        scored_by = {"members": list(self._globs)}
        self._spec = JudgeSpec(
            name=name, kind="jury", model=None, scored_by=scored_by, is_local=True
        )
        self._fingerprint = self._spec.fingerprint

    @property
    def spec(self) -> JudgeSpec:
        """Return the judge's description."""
        return self._spec

    async def score(self, pair: Pair) -> Score:
        """Return the mean p_a of the members that answered."""
        members = [pair.recorded[name] for name in sorted(pair.recorded) if self._is_member(name)]
        answered = [member for member in members if member.p_a is not None]
        if not members:
            return self._failed(
                FailureKind.NOT_RECORDED, f"no recorded score matches {', '.join(self._globs)}"
            )
        if not answered:
            return self._failed(FailureKind.RECORDED, f"all {len(members)} members failed")
        return self._verdict_of(members, answered)

    async def health(self) -> JudgeHealth:
        """Say that it can: it calls nothing."""
        return _READY

    async def aclose(self) -> None:
        """Do nothing: nothing is open."""

    def _is_member(self, name: str) -> bool:
        return any(fnmatchcase(name, glob) for glob in self._globs)

    def _verdict_of(self, members: list[Score], answered: list[Score]) -> Score:
        mean = mean_preference(
            Preference(m.p_a, m.p_tie or 0.0) for m in answered if m.p_a is not None
        )
        failed = len(members) - len(answered)
        costs = [member.cost_usd for member in members if member.cost_usd is not None]
        durations = [member.seconds for member in members if member.seconds is not None]
        return Score(
            self._spec.name,
            self._fingerprint,
            p_a=mean.p_a,
            p_tie=mean.p_tie if any(m.p_tie is not None for m in answered) else None,
            annotators=_rows_of_members(answered),
            usage=sum((member.usage for member in members), TokenUsage()),
            cost_usd=sum(costs) if len(costs) == len(members) else None,
            seconds=max(durations) if len(durations) == len(members) else None,
            flags=(f"members:{len(answered)}", *([f"members_failed:{failed}"] if failed else ())),
        )

    def _failed(self, kind: FailureKind, detail: str) -> Score:
        failure = JudgeFailure(kind, detail)
        return Score(self._spec.name, self._fingerprint, p_a=None, failure=failure)


def _rows_of_members(answered: list[Score]) -> tuple[tuple[float | None, ...], ...]:
    """Return one row a member, or no rows where some member's orders are unknown."""
    rows = [_mean_row(member) for member in answered]
    known = tuple(row for row in rows if row is not None)
    return known if len(known) == len(rows) else ()


def _mean_row(member: Score) -> tuple[float | None, ...] | None:
    if len(member.annotators) <= 1:
        return next(iter(member.annotators), None)
    by_order = zip(*map(preferences_by_order, member.annotators), strict=True)
    answered = ([p for p in order if p is not None] for order in by_order)
    first, second = (mean_preference(order) if order else None for order in answered)
    row = (first and first.p_a, second and second.p_a)
    if member.p_tie is None:
        return row
    return (*row, first.p_tie if first else 0.0, second.p_tie if second else 0.0)
