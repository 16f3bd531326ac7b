"""Where the lines of a health card lie: the defaults, the configuration's, the request's."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from app.errors import ConfigurationInvalid, Unprocessable
from app.identifiers import shown
from app.reports.health import NAMES

Lines = dict[str, float | None]
_OFF = ("off", "none")


def lines_of_config(config: Mapping[str, Any]) -> Lines:
    """Return the lines of the configuration's table `[health]`; `false` leaves a line out.

    Raises:
        ConfigurationInvalid: names the key.
    """
    table = config.get("health", {})
    if not isinstance(table, Mapping):
        raise ConfigurationInvalid("health: is not a table")
    lines: Lines = {}
    for name, value in table.items():
        fault = fault_of(name, None if value is False else value)
        if fault is not None:
            raise ConfigurationInvalid(f"health.{name}: {fault}")
        lines[name] = None if value is False else float(value)
    return lines


def lines_of_query(given: Sequence[tuple[str, str]]) -> Lines:
    """Return the lines of `line.NAME=NUMBER`; `off` leaves a line out.

    Raises:
        Unprocessable: names the parameter.
    """
    lines: Lines = {}
    for parameter, text in given:
        name = parameter.removeprefix("line.")
        value = None if text.lower() in _OFF else _number(text)
        fault = fault_of(name, value)
        if fault is not None:
            raise Unprocessable.field([parameter], fault, place="query")
        lines[name] = value
    return lines


def checked_lines(lines: Mapping[str, float | None]) -> Lines:
    """Return the lines of a body.

    Raises:
        Unprocessable: names the line.
    """
    for name, value in lines.items():
        fault = fault_of(name, value)
        if fault is not None:
            raise Unprocessable.field(["lines", name], fault)
    return dict(lines)


def fault_of(name: str, value: object) -> str | None:
    """Return what is wrong with a line, None if nothing is; its value None leaves it out."""
    if name not in NAMES:
        near = get_close_matches(name, NAMES, n=1)
        return f"there is no such line{f'; did you mean {near[0]}?' if near else ''}"
    if value is None:
        return None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not -1 <= float(str(value)) <= 1:
        return f"{shown(str(value))} is not a number from -1 to 1"
    return None


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
