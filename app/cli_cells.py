"""What the cells of tables for people look like."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

_NAME_WIDTH = 10


def new_table(*columns: str) -> Table:
    """Make a table whose first column is names and the others numbers."""
    table = Table(box=None, pad_edge=False)
    for number, column in enumerate(columns):
        is_name = number == 0
        table.add_column(
            column,
            justify="left" if is_name else "right",
            overflow="fold",
            no_wrap=not is_name,
            min_width=_NAME_WIDTH if is_name else None,
        )
    return table


def estimate_text(estimate: Any) -> str:
    """Write an estimate with its interval, where it has one."""
    value = value_of(estimate)
    if value is None:
        return "-"
    if estimate["low"] is None or estimate["high"] is None:
        return _short(value)
    return f"{_short(value)} \\[{_short(estimate['low'])}, {_short(estimate['high'])}]"


def _short(value: float) -> str:
    """Three decimals; a leading zero says nothing and costs a column."""
    text = f"{value:.3f}"
    return text.replace("0.", ".", 1) if abs(value) < 1 else text


def value_of(estimate: Any) -> float | None:
    """Return the value of an estimate, or a plain number as it is."""
    value: float | None = estimate["value"] if isinstance(estimate, Mapping) else estimate
    return value


def percent(share: float | None) -> str:
    """Write a share as a percentage."""
    return "-" if share is None else f"{100 * share:.1f}%"


def number_text(value: float | None) -> str:
    """Write a number in three figures."""
    return "-" if value is None else f"{value:.3g}"
