"""What the options of the command line mean: files, parts, lists."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from app.cli.console import EXIT_USAGE, fail


def rows_of(file: Path) -> Iterator[dict[str, Any]]:
    """Yield the objects of an NDJSON file, or name the line that is none; - is standard input."""
    number = 0
    try:
        with sys.stdin if str(file) == "-" else file.open(encoding="utf-8") as lines:
            for line in lines:
                number += 1
                if line.strip():
                    yield json.loads(line)
    except UnicodeDecodeError as error:
        fail(f"{file}: is not UTF-8: {error}", status=EXIT_USAGE)
    except (ValueError, RecursionError) as error:
        fail(f"{file}, line {number}: {error}", status=EXIT_USAGE)
    except OSError as error:
        fail(f"{file}: {error.strerror or error}", status=EXIT_USAGE)


def given(**options: Any) -> dict[str, Any]:
    """Leave out what was not given, so that the service's own defaults hold."""
    return {name: value for name, value in options.items() if value is not None}


def cascade_of(cascade: str | None, judges: str | None) -> str | dict[str, Any] | None:
    """Return the cascade of a request from the two ways of giving one."""
    if cascade is not None and judges is not None:
        fail("give --cascade or --judges, not both", status=EXIT_USAGE)
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
        return fail(f"{text!r}: numbers separated by commas are expected", status=EXIT_USAGE)


def part_of(text: str | None) -> dict[str, Any] | None:
    """Return a part of a dataset from side:fraction:seed."""
    if text is None:
        return None
    try:
        side, fraction, seed = text.split(":")
        return {"side": side, "fraction": float(fraction), "seed": int(seed)}
    except ValueError:
        return fail(
            "--part: write side:fraction:seed, such as calibration:0.5:0", status=EXIT_USAGE
        )


def stem_of(file: Path) -> str:
    """`pairs.jsonl.gz` becomes `pairs`."""
    return file.name.split(".")[0] or file.name


def one_of(dataset: str | None, resume: str | None) -> None:
    """Refuse a verb that names neither what to start nor what to go on with, or both."""
    if (dataset is None) == (not resume):
        fail("give a dataset, or --resume with an id", status=EXIT_USAGE)


def weights_of(criteria: list[str] | None) -> dict[str, float] | None:
    """Return criteria and their weights from NAME=WEIGHT; the last = divides."""
    weights = {}
    for text in criteria or ():
        name, _, number = text.rpartition("=")
        try:
            weights[name.strip()] = float(number)
        except ValueError:
            fail(f"--criterion {text!r}: write NAME=WEIGHT", status=EXIT_USAGE)
        if not name.strip():
            fail(f"--criterion {text!r}: write NAME=WEIGHT", status=EXIT_USAGE)
    return weights or None
