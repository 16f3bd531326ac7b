"""One model's row: its place in words, and beside its numbers what no verdict is known of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from app.leaderboards.comparing import NO_VERDICT
from app.leaderboards.table import Table
from calibration.arrays import BoolArray
from calibration.powered import PoweredRow
from calibration.ranking import ModelRating


@dataclass(frozen=True, slots=True)
class Silence:
    """By model: the pairs that a verdict was looked for, and those without one by their reason."""

    asked: Counter[str]
    by_reason: dict[str, Counter[str]]

    @classmethod
    def of(cls, table: Table, members: BoolArray) -> Silence:
        """Count them over some pairs."""
        is_open = np.isin(table.reason, NO_VERDICT)
        asked = table.by_model(members & (is_open | (table.reason == "")))
        return cls(
            asked,
            {name: table.by_model(members & (table.reason == name)) for name in NO_VERDICT},
        )

    def unresolved(self, model: str) -> int:
        """Number of pairs of a model that have no verdict."""
        return sum(counts[model] for counts in self.by_reason.values())

    def share(self, model: str) -> float | None:
        """Share of the pairs of a model that have no verdict; None where it has no pair."""
        asked = self.asked[model]
        return self.unresolved(model) / asked if asked else None

    def of_model(self, model: str) -> dict[str, Any]:
        """Return what stands beside every number of a model."""
        asked = self.asked[model]
        abstained = self.by_reason["abstained"][model]
        return {
            "asked": asked,
            **{name: counts[model] for name, counts in self.by_reason.items()},
            "abstained_share": abstained / asked if asked else None,
            "unresolved": self.unresolved(model),
            "unresolved_share": self.share(model),
        }

    def warning(self) -> str | None:
        """Say what ranking by answered pairs alone may do; None where all are answered."""
        shares = {model: self.share(model) or 0.0 for model in self.asked}
        if not any(shares.values()):
            return None
        least, most = min(shares, key=shares.__getitem__), max(shares, key=shares.__getitem__)
        whose = f"{shares[least]:.1%} of those of {least}, {shares[most]:.1%} of those of {most}"
        if shares[least] == shares[most]:
            whose = f"{shares[least]:.1%} of those of every model"
        return (
            f"pairs without a verdict are not counted: {whose}. They are the hard ones, so answered pairs "
            "alone may favour some models; win_rate_bounds says how far, and prediction_powered "
            "corrects it where such pairs are labelled"
        )


def rank_text(low: int, high: int) -> str:
    """Say which ranks a model may have: `2nd`, or `tied for 2nd-4th`."""
    return ordinal(low) if low == high else f"tied for {ordinal(low)}-{ordinal(high)}"


def ordinal(number: int) -> str:
    """1st, 2nd, 3rd, 4th, 11th."""
    if number % 100 in (11, 12, 13):
        return f"{number}th"
    return f"{number}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th') }"


def row_of(
    rating: ModelRating, silence: Silence, distinct: Mapping[str, int], *, has_baseline: bool
) -> dict[str, Any]:
    """Return the row of a rating from comparisons, which are of so many `distinct` pairs."""
    bounds = None if has_baseline else _bounds(rating, silence.unresolved(rating.model))
    return {
        **_place(rating),
        "pairs": rating.n,
        "distinct_pairs": distinct[rating.model],
        "wins": rating.wins,
        "losses": rating.losses,
        "ties": rating.ties,
        **silence.of_model(rating.model),
        "win_rate_bounds": bounds,
    }


def powered_row_of(row: PoweredRow, silence: Silence) -> dict[str, Any]:
    """Return the row of a rating from predictions and labels."""
    return {
        **_place(row),
        "human_only": None if row.human_only is None else asdict(row.human_only),
        "pairs": row.n_predicted,
        "distinct_pairs": row.n_predicted,
        "labelled": row.rating.n,
        "wins": row.wins,
        "losses": row.losses,
        "ties": row.ties,
        **silence.of_model(row.model),
        "win_rate_bounds": None,
    }


def _place(row: ModelRating | PoweredRow) -> dict[str, Any]:
    return {
        "model": row.model,
        "rating": asdict(row.rating),
        "strength": row.strength,
        "win_rate": asdict(row.win_rate),
        "rank": row.rank,
        "rank_low": row.rank_low,
        "rank_high": row.rank_high,
        "rank_text": rank_text(row.rank_low, row.rank_high),
    }


def _bounds(rating: ModelRating, unresolved: int) -> dict[str, float] | None:
    """The win rate if every unresolved pair were lost, and if every one were won."""
    value = rating.win_rate.value
    if unresolved == 0 or value is None:
        return None
    points, total = value * rating.n, rating.n + unresolved
    return {"low": points / total, "high": (points + unresolved) / total}
