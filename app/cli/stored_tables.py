"""Lists of what is stored, one a line."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from app.cli.cells import percent
from app.cli.cells import table as _table

Body = Mapping[str, Any]


def datasets(console: Console, page: Body) -> None:
    """Show datasets by name."""
    table = _table("dataset", "made", "pairs", "groups", "labels", "recorded judges", "id")
    for one in page["data"]:
        counts = (str(one[name]) for name in ("pairs", "groups", "labels"))
        judges = str(len(one["recorded_judges"]))
        table.add_row(escape(one["name"]), _made(one), *counts, judges, one["id"])
    _print(console, table, page)


def calibrations(console: Console, page: Body) -> None:
    """Show certificates and what they are worth."""
    table = _table("calibration", "made", "status", "target", "lower bound", "coverage", "judges")
    for one in page["data"]:
        found = one.get("calibration") or {}
        status = "revoked" if one["revoked_at"] else one["status"]
        shares = (one["target_agreement"], found.get("agreement_lower_bound"))
        table.add_row(
            one["id"], _made(one), status, *map(percent, shares), percent(found.get("coverage")),
            escape(", ".join(tier["judge"] for tier in one.get("thresholds", []))) or "-",
        )  # fmt: skip
    _print(console, table, page)


def batches(console: Console, page: Body) -> None:
    """Show batches and how far they are."""
    table = _table("batch", "made", "status", "pairs", "done", "failed", "promise", "cost USD")
    for one in page["data"]:
        counts, cost = one["request_counts"], one["cost_usd"]
        table.add_row(
            one["id"], _made(one), one["status"], str(counts["total"]), str(counts["completed"]),
            str(counts["failed"]), one["promise"], "-" if cost is None else f"{cost:.4f}",
        )  # fmt: skip
    _print(console, table, page)


def _made(one: Body) -> str:
    """Return when it was made; the contract gives a batch's times as Unix seconds."""
    moment: str | int = one["created_at"]
    text = moment if isinstance(moment, str) else datetime.fromtimestamp(moment, UTC).isoformat()
    return text[:19]


def _print(console: Console, table: Table, page: Body) -> None:
    console.print(table)
    if page["has_more"]:
        console.print(f"there are more: --after {page['last_id']}")
