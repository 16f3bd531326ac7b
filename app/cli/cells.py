"""How numbers and estimates look in a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

_NAME_WIDTH = 10


def table(*columns: str) -> Table:
    """Return an empty table, the first column for names."""
    made = Table(box=None, pad_edge=False)
    for place, column in enumerate(columns):
        is_name = place == 0
        made.add_column(
            column,
            justify="left" if is_name else "right",
            overflow="fold",
            no_wrap=not is_name,
            min_width=_NAME_WIDTH if is_name else None,
        )
    return made


def estimate(found: Any) -> str:
    """A value with its interval."""
    middle = value(found)
    if middle is None:
        return "-"
    if found["low"] is None or found["high"] is None:
        return short(middle)
    return f"{short(middle)} \\[{short(found['low'])}, {short(found['high'])}]"


def short(amount: float) -> str:
    """Three decimals; a leading zero says nothing and costs a column."""
    text = f"{amount:.3f}"
    return text.replace("0.", ".", 1) if abs(amount) < 1 else text


def value(found: Any) -> float | None:
    """The value of an estimate, or of a plain number."""
    middle: float | None = found["value"] if isinstance(found, Mapping) else found
    return middle


def percent(share: float | None) -> str:
    """A share with one decimal."""
    return "-" if share is None else f"{100 * share:.1f}%"


def number(amount: float | None) -> str:
    """Three digits."""
    return "-" if amount is None else f"{amount:.3g}"
