"""Leaderboards as CSV: one line a model, those of slices behind those of the whole."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from io import StringIO
from typing import Any, Final

Body = Mapping[str, Any]

_PLAIN: Final = (
    "rank", "rank_low", "rank_high", "rank_text", "model", "strength", "pairs", "distinct_pairs", "wins", "losses",
    "ties", "asked", "abstained", "failed", "missing", "abstained_share", "labelled",
)  # fmt: skip
_ESTIMATES: Final = ("rating", "win_rate", "human_only")
COLUMNS: Final = (
    "group",
    "criterion",
    *_PLAIN,
    *(f"{name}{end}" for name in _ESTIMATES for end in ("", "_low", "_high")),
    "confidence_level",
    "method",
    "source",
    "rankable",
    "promise",
    "leaderboard",
)


def as_csv(body: Body) -> str:
    """Return a leaderboard as CSV with a header; what is not known is empty."""
    text = StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\r\n")
    writer.writeheader()
    writer.writerows(_lines(body))
    return text.getvalue()


def _lines(body: Body) -> Iterator[dict[str, Any]]:
    whole = {
        "method": body["method"],
        "source": body["source"],
        "promise": body.get("promise"),
        "leaderboard": body["id"],
        "confidence_level": body["confidence_level"],
    }
    scopes = [("", body), *((part["group"], part) for part in body["groups"])]
    for group, scope in scopes:
        own = {**whole, "group": group, "rankable": scope.get("rankable")}
        yield from ({**own, **_cells(row)} for row in scope["rows"])
        for one in scope.get("by_criterion", ()):
            named = {**own, "criterion": one["criterion"]}
            yield from ({**named, **_cells(row)} for row in one["rows"])


def _cells(row: Body) -> dict[str, Any]:
    cells = {name: row.get(name) for name in _PLAIN}
    for name in _ESTIMATES:
        estimate = row.get(name) or {}
        for end, key in (("", "value"), ("_low", "low"), ("_high", "high")):
            cells[f"{name}{end}"] = estimate.get(key)
    return cells
