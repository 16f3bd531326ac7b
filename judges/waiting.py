"""A judge that is configured but cannot be made yet: its examples or its model are missing."""

from __future__ import annotations

from judges.base import JudgeHealth, JudgeSpec
from judges.types import FailureKind, JudgeFailure, Pair, Score


class WaitingJudge:
    """Holds a configured judge's place; it fails on every pair and says what it waits for.

    `is_starting`: it will be made without being told.
    """

    def __init__(
        self, name: str, model: str | None, waits_for: str, *, is_starting: bool = False
    ) -> None:
        self._is_starting = is_starting
        self._failure = JudgeFailure(FailureKind.UNAVAILABLE, waits_for)
        self._spec = JudgeSpec(
            name=name, kind="waiting", model=model, scored_by={"name": name, "model": model}
        )

    @property
    def spec(self) -> JudgeSpec:
        """The place's description; the judge itself will have another fingerprint."""
        return self._spec

    async def score(self, pair: Pair) -> Score:
        """Return the failure."""
        return Score(self._spec.name, self._spec.fingerprint, p_a=None, failure=self._failure)

    async def health(self) -> JudgeHealth:
        """Say what is missing."""
        return JudgeHealth(False, self._failure.detail, self._is_starting)

    async def aclose(self) -> None:
        """Nothing is held open."""
