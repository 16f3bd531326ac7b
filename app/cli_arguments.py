"""What the options of the command line mean: files, parts, lists."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from app.cli_console import fail


def rows_of(file: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of an NDJSON file; - is standard input."""
    if str(file) != "-" and not file.is_file():
        fail(f"{file}: there is no such file", status=2)
    lines = sys.stdin if str(file) == "-" else file.open(encoding="utf-8")
    with lines:
        for number, line in enumerate(lines, 1):
            if line.strip():
                try:
                    yield json.loads(line)
                except ValueError as error:
                    fail(f"{file}, line {number}: {error}", status=2)


def given(**options: Any) -> dict[str, Any]:
    """Leave out what was not given, so that the service's own defaults hold."""
    return {name: value for name, value in options.items() if value is not None}


def cascade_of(cascade: str | None, judges: str | None) -> str | dict[str, Any] | None:
    """Return the cascade of a request from the two ways of giving one."""
    if cascade is not None and judges is not None:
        fail("give --cascade or --judges, not both", status=2)
    return {"judges": _names(judges)} if judges is not None else cascade


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def numbers_of(text: str | None) -> list[float] | None:
    """Return numbers separated by commas."""
    if text is None:
        return None
    try:
        return [float(number) for number in text.split(",")]
    except ValueError:
        return fail(f"{text!r}: numbers separated by commas are expected", status=2)


def part_of(text: str | None) -> dict[str, Any] | None:
    """Return a part of a dataset from side:fraction:seed."""
    if text is None:
        return None
    try:
        side, fraction, seed = text.split(":")
        return {"side": side, "fraction": float(fraction), "seed": int(seed)}
    except ValueError:
        return fail("--part: write side:fraction:seed, such as calibration:0.5:0", status=2)


def stem_of(file: Path) -> str:
    """`pairs.jsonl.gz` becomes `pairs`."""
    return file.name.split(".")[0] or file.name
