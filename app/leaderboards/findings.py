"""What a reader must know before the first rank: whether there is any order, and any link."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from calibration.ranking import Comparisons, PairLayout, connected_components

_STEP_DOWN = (
    "all differences of two models at once: studentised, by groups of pairs, stepping down "
    "(simultaneous rank sets)"
)
_INTERVALS = "intervals of all models at once (each at 1 - error / models), where they do not meet"


class Ranked(Protocol):
    """A row with its set of ranks."""

    @property
    def rank_low(self) -> int:
        """Best rank it may have."""

    @property
    def rank_high(self) -> int:
        """Worst rank it may have."""


def rankable(
    rows: Sequence[Ranked], intervals: str | None, confidence_level: float
) -> dict[str, Any]:
    """Say whether any two models can be told apart, and what was tested to find out."""
    n = len(rows)
    told_apart = sum(row.rank_low - 1 for row in rows)
    pairs = n * (n - 1) // 2
    why = None
    if intervals is None:
        why = "there are no intervals, so that no difference can be told from chance"
    elif not told_apart:
        why = (
            f"the noise exceeds the spread: of {pairs} pairs of models none can be told apart at "
            f"the confidence level {confidence_level:g}, and every model may have any rank (tested "
            "by differences; an interval of one model alone is another test, and may look clearer)"
        )
    return {
        "rankable": why is None,
        "not_rankable_because": why,
        "ranking_test": {
            "test": _INTERVALS if intervals == "intervals" else _STEP_DOWN,
            "confidence_level": confidence_level,
            "model_pairs": pairs,
            "told_apart": told_apart,
        },
    }


@dataclass(frozen=True, slots=True)
class Links:
    """Sets of models that chains of points won link both ways; one set is what ratings need."""

    components: list[list[str]]

    @property
    def warning(self) -> str | None:
        """Say what more than one set means."""
        if len(self.components) < 2:
            return None
        return (
            f"the models fall into {len(self.components)} sets that no chain of points won links "
            "both ways: between them numbers compare opponents, not models"
        )


def connected(comparisons: Comparisons) -> Links:
    """Find the sets of linked models."""
    found = connected_components(PairLayout.of(comparisons).whole(), comparisons.models)
    return Links([list(names) for names in found])
