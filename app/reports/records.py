"""All that a dataset records under one judge's name, whatever model or prompt gave it."""

from __future__ import annotations

from dataclasses import replace

from judges.base import JudgeHealth, JudgeSpec
from judges.records import recorded_spec
from judges.types import FailureKind, JudgeFailure, Pair, Score


class RecordsUnderName:
    """Answers with the record of this name and remembers what a table of numbers leaves out.

    A certificate is bound to one fingerprint; a report is not, it names all that it met.
    """

    def __init__(self, name: str) -> None:
        self._spec = recorded_spec(name)
        self.fingerprints: set[str] = set()
        self.flagged: set[str] = set()

    @property
    def spec(self) -> JudgeSpec:
        """The judge's description, with the fingerprints met so far."""
        met = ", ".join(sorted(self.fingerprints))
        return replace(self._spec, certified_fingerprint=met or None)

    async def score(self, pair: Pair) -> Score:
        """Return the pair's record, or a `NOT_RECORDED` failure."""
        record = pair.recorded.get(self._spec.name)
        if record is None:
            failure = JudgeFailure(FailureKind.NOT_RECORDED)
            return Score(self._spec.name, self._spec.fingerprint, p_a=None, failure=failure)
        if record.failure is None:
            self.fingerprints.add(record.fingerprint)
        if "inconsistent" in record.flags:
            self.flagged.add(pair.id)
        return record

    async def health(self) -> JudgeHealth:
        """Records are always at hand."""
        return JudgeHealth(is_ready=True)

    async def aclose(self) -> None:
        """Nothing is held open."""
