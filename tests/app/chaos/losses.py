"""What a process that died, or a database that crashed, may cost: the calls that were in flight.

A judge was asked, the score is not in the database: whoever takes the work up must ask again. These
calls, open or answered, of the processes that a blow hit, are what was in flight. They are counted,
not estimated: every process asks the judge under an address of its own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.app.chaos.databases import ChaosDatabase
from tests.app.chaos.deployment import JudgeProcess

# scores that any process obtained are stored under the hash of the pair or of its mirror image
_STORED = """
SELECT pairs.id FROM pairs JOIN scores ON scores.content_hash = pairs.content_hash
WHERE scores.failure IS NULL
UNION
SELECT pairs.id FROM pairs JOIN scores ON scores.content_hash = pairs.swapped_hash
WHERE scores.failure IS NULL
"""


@dataclass(slots=True)
class Losses:
    """Calls that were in flight when something was killed, each counted once."""

    judge: JudgeProcess
    database: ChaosDatabase
    in_flight: int = 0
    largest: int = 0
    _counted: dict[str, Counter[str]] = field(default_factory=dict)

    def count(self, callers: Iterable[str]) -> None:
        """Count what these processes had asked and not stored; call it right after the blow."""
        calls = self.judge.calls()
        stored = {case for (case,) in self.database.select(_STORED)}
        for caller in callers:
            counted = self._counted.setdefault(caller, Counter())
            fresh = calls.get(caller, Counter()) - counted
            lost = Counter({case: n for case, n in fresh.items() if case not in stored})
            counted.update(lost)
            self.in_flight += lost.total()
            self.largest = max(self.largest, lost.total())
