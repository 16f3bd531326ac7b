"""Files of people's labels: CSV with a header, or NDJSON, row by row with the numbers of lines."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator
from difflib import get_close_matches
from itertools import chain
from pathlib import Path
from typing import IO, Any, Final, NamedTuple

from app.cli.console import EXIT_USAGE, fail

_FIELDS: Final = (
    "dataset", "pair", "annotator", "label", "criterion", "strength", "first_shown", "comment",
)  # fmt: skip


class Line(NamedTuple):
    """A row of a file: what it says, or the fault for which that cannot be told."""

    number: int
    row: dict[str, Any]
    fault: str | None = None


def read_labels(file: Path, dataset: str, annotator: str | None) -> Iterator[Line]:
    """Yield the rows of a file, completed by what the command line says.

    Args:
        file: The file; - is standard input.
        dataset: Whose pairs are meant where a row names no dataset.
        annotator: Who said it where a row does not; never guessed.
    """
    known = {"dataset": dataset, **({} if annotator is None else {"annotator": annotator})}
    try:
        with _opened(file) as text:
            for line in _rows(text, file):
                yield line if line.fault else _completed(line, known)
    except (OSError, UnicodeDecodeError) as error:
        fail(f"{file}: {getattr(error, 'strerror', None) or error}", status=EXIT_USAGE)


def _opened(file: Path) -> IO[str]:
    return sys.stdin if str(file) == "-" else file.open(encoding="utf-8-sig", newline="")


def _field(name: str) -> str:
    """Return the field that a column is; rows and exports call a pair's id just that."""
    return "pair" if name == "id" else name


def _rows(text: IO[str], file: Path) -> Iterator[Line]:
    first = text.readline()
    if first.lstrip().startswith("{"):
        for number, line in enumerate(chain([first], text), start=1):
            if line.strip():
                yield _object(line, number)
        return
    header = [_field(name) for name in next(csv.reader([first]), [])]
    unknown = [name for name in header if name not in _FIELDS]
    if unknown or "pair" not in header or "label" not in header:
        near = get_close_matches(unknown[0].lower(), _FIELDS, n=1) if unknown else []
        meant = f"; did you mean {near[0]}?" if near else ""
        wrong = f"{', '.join(unknown)} is none of" if unknown else "pair and label are needed;"
        fail(f"{file}, line 1: {wrong} the columns {', '.join(_FIELDS)}{meant}", status=EXIT_USAGE)
    yield from _table(csv.DictReader(text, header, strict=True), len(header))


def _table(reader: csv.DictReader[str], columns: int) -> Iterator[Line]:
    try:
        for row in reader:
            number = reader.line_num + 1
            if None in row or None in row.values():
                yield Line(number, {}, f"{columns} cells are expected")
            else:
                yield Line(number, {name: cell for name, cell in row.items() if cell})
    except csv.Error as error:
        # behind an unclosed quote nothing can be told apart
        yield Line(reader.reader.line_num + 1, {}, str(error))


def _object(line: str, number: int) -> Line:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        return Line(number, {}, str(error))
    if not isinstance(row, dict):
        return Line(number, {}, "is no object")
    return Line(number, {_field(name): value for name, value in row.items()})


def _completed(line: Line, known: dict[str, str]) -> Line:
    row = {**known, **line.row}
    if "annotator" not in row:
        why = "names no annotator (give --annotator; null in NDJSON says that nobody knows)"
        return Line(line.number, {}, why)
    strength = row.get("strength")
    if isinstance(strength, str):
        try:
            row["strength"] = float(strength)
        except ValueError:
            return Line(line.number, {}, f"strength: {strength!r} is no number")
    return Line(line.number, row)
