"""The verb that adds people's labels from a file to a dataset that is there."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator, Mapping
from itertools import chain, islice
from pathlib import Path
from typing import IO, Annotated, Any, Final, NamedTuple, cast

import typer
from rich.console import Console as RichConsole
from rich.markup import escape

from app.cli_console import EXIT_USAGE, AsJson, Console, fail
from app.cli_opening import Key, Server, open_tribunal
from app.cli_options import DatasetArgument
from app.client import RequestRefused, Tribunal
from app.client_requests import Label

# what is stored together: a file of more is stored in pieces, and may be given again
_AT_ONCE: Final = 10_000
_FIELDS: Final = (
    "dataset", "pair", "annotator", "label", "criterion", "strength", "first_shown", "comment",
)  # fmt: skip


class _Line(NamedTuple):
    number: int
    row: dict[str, Any]


def add_to(app: typer.Typer) -> None:
    """Add this verb to the command line."""
    app.command()(label)


def label(  # noqa: PLR0913  # a verb's options are its parameters
    dataset: DatasetArgument,
    file: Annotated[
        Path,
        typer.Argument(
            help="CSV with a header, or NDJSON: pair, label (a, b or tie), annotator; also "
            "criterion, strength, first_shown, comment; - reads stdin"
        ),
    ],
    annotator: Annotated[
        str | None, typer.Option(help="who said so, where the file does not name anybody")
    ] = None,
    server: Server = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Add labels to a dataset; a label of the same person on the same pair replaces the earlier."""
    lines = (_Line(n, _completed(row, n, dataset, annotator, file)) for n, row in _lines(file))
    counts = {"accepted": 0, "replaced": 0, "unchanged": 0}
    with open_tribunal(server, key) as tribunal:
        while piece := list(islice(lines, _AT_ONCE)):
            stored = _post(tribunal, piece, file, counts["accepted"])
            for name in counts:
                counts[name] += stored[name]
    if not counts["accepted"]:
        fail(f"{file}: holds no label", status=EXIT_USAGE)
    Console(as_json).show({"dataset": dataset, **counts}, _show)


def _post(
    tribunal: Tribunal, piece: list[_Line], file: Path, stored_before: int
) -> Mapping[str, int]:
    """Store labels, all or none; what is wrong is named by its line."""
    try:
        return cast(
            Mapping[str, int],
            tribunal.labels.create([cast(Label, line.row) for line in piece]),
        )
    except RequestRefused as error:
        faults = [_at_line(fault, piece) for fault in error.problem.get("errors") or []]
        if not all(faults):
            raise
        kept = f"; {stored_before} labels before it are stored" if stored_before else ""
        for fault in faults:
            typer.echo(f"  {fault}", err=True)
        return fail(f"{file}: {error.status}: none of these labels was stored{kept}")


def _at_line(fault: Mapping[str, Any], piece: list[_Line]) -> str:
    """Return a fault by its line; empty where it is of no single label."""
    match list(fault.get("loc") or ()):
        case ["body", "labels", int(index), *fields]:
            name = ".".join(str(part) for part in fields)
            return f"line {piece[index].number}: {name}: {fault.get('msg')}"
        case _:
            return ""


def _lines(file: Path) -> Iterator[_Line]:
    """Yield the rows of a file with the numbers of their lines."""
    try:
        with _opened(file) as text:
            yield from _rows(text, file)
    except (OSError, UnicodeDecodeError) as error:
        fail(f"{file}: {getattr(error, 'strerror', None) or error}", status=EXIT_USAGE)


def _opened(file: Path) -> IO[str]:
    return sys.stdin if str(file) == "-" else file.open(encoding="utf-8-sig", newline="")


def _field(name: str) -> str:
    """Return the field that a column is; rows and exports call a pair's id just that."""
    return "pair" if name == "id" else name


def _rows(text: IO[str], file: Path) -> Iterator[_Line]:
    first = text.readline()
    if first.lstrip().startswith("{"):
        for number, line in enumerate(chain([first], text), start=1):
            if line.strip():
                row = _object(line, number, file)
                yield _Line(number, {_field(name): value for name, value in row.items()})
        return
    header = [_field(name) for name in next(csv.reader([first]), [])]
    unknown = [name for name in header if name not in _FIELDS]
    if unknown or "pair" not in header or "label" not in header:
        wrong = f"{', '.join(unknown)} is none of" if unknown else "pair and label are needed;"
        fail(f"{file}, line 1: {wrong} the columns {', '.join(_FIELDS)}", status=EXIT_USAGE)
    reader = csv.DictReader(text, header, strict=True)
    try:
        for row in reader:
            if None in row or None in row.values():
                fail(f"{file}, line {reader.line_num + 1}: {len(header)} cells are expected",
                     status=EXIT_USAGE)  # fmt: skip
            yield _Line(reader.line_num + 1, {name: cell for name, cell in row.items() if cell})
    except csv.Error as error:
        fail(f"{file}, line {reader.reader.line_num + 1}: {error}", status=EXIT_USAGE)


def _object(line: str, number: int, file: Path) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        fail(f"{file}, line {number}: {error}", status=EXIT_USAGE)
    if not isinstance(row, dict):
        fail(f"{file}, line {number}: is no object", status=EXIT_USAGE)
    return row


def _completed(
    row: dict[str, Any], number: int, dataset: str, annotator: str | None, file: Path
) -> dict[str, Any]:
    """Add what the file leaves to the command line; who said it is never left open by mistake."""
    known = {"dataset": dataset, **({} if annotator is None else {"annotator": annotator})}
    full = {**known, **row}
    if "annotator" not in full:
        fail(
            f"{file}, line {number}: names no annotator (give --annotator; null in NDJSON says "
            "that nobody knows)",
            status=EXIT_USAGE,
        )
    if isinstance(full.get("strength"), str):
        full["strength"] = _number(full["strength"], number, file)
    return full


def _number(text: str, line: int, file: Path) -> float:
    try:
        return float(text)
    except ValueError:
        return fail(f"{file}, line {line}: strength: {text!r} is no number", status=EXIT_USAGE)


def _show(console: RichConsole, body: dict[str, Any]) -> None:
    console.print(
        f"{body['accepted']} labels of {escape(body['dataset'])}: {body['replaced']} replaced an "
        f"earlier one, {body['unchanged']} were there"
    )
