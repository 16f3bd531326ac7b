"""The verb that adds people's labels from a file to a dataset that is there."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn, cast

import typer
from rich.console import Console as RichConsole
from rich.markup import escape

from app.cli.console import EXIT_FAILED, EXIT_USAGE, AsJson, Console, fail
from app.cli.label_files import Line, read_labels
from app.cli.opening import Key, Server, open_tribunal
from app.cli.options import DatasetArgument
from app.client import RequestRefused, Tribunal
from app.client.requests import Label

# what is stored together: a file of more is stored in pieces, and may be given again
_AT_ONCE: Final = 10_000


def add_label_to(app: typer.Typer) -> None:
    """Add this verb to the command line."""
    app.command()(label)


def label(  # noqa: PLR0913  # a verb's options are its parameters
    dataset: DatasetArgument,
    file: Annotated[
        Path,
        typer.Argument(
            help="CSV with a header, or NDJSON: pair, label (a, b or tie; 1 and 2 are a and b), "
            "annotator; also criterion, strength, first_shown, comment; - reads stdin"
        ),
    ],
    annotator: Annotated[
        str | None, typer.Option(help="who said so, where the file does not name anybody")
    ] = None,
    server: Server = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Add labels to a dataset; a label of the same person on the same pair replaces the earlier.

    Where a row is faulty nothing is stored, and every faulty row is named by its line.
    """
    lines = read_labels(file, dataset, annotator)
    counts = {"accepted": 0, "replaced": 0, "unchanged": 0, "contradicted": 0}
    with open_tribunal(server, key) as tribunal:
        while piece := list(islice(lines, _AT_ONCE)):
            stored = _stored(tribunal, piece)
            if stored is None:
                _refuse(tribunal, chain(piece, lines), file, counts["accepted"])
            for name in counts:
                counts[name] += stored[name]
    if not counts["accepted"]:
        fail(f"{file}: holds no label", status=EXIT_USAGE)
    Console(as_json).show({"dataset": dataset, **counts}, _show)


def _label_rows(lines: Sequence[Line]) -> list[Label]:
    return [cast(Label, line.row) for line in lines]


def _stored(tribunal: Tribunal, piece: Sequence[Line]) -> Mapping[str, int] | None:
    """Store labels, all or none; None where a row is faulty."""
    if any(line.fault for line in piece):
        return None
    try:
        return cast(Mapping[str, int], tribunal.labels.create(_label_rows(piece)))
    except RequestRefused as error:
        _by_index(error)
        return None


def _refuse(tribunal: Tribunal, lines: Iterator[Line], file: Path, stored_before: int) -> NoReturn:
    """Name every faulty row of the rest of a file; nothing of it is stored."""
    rejected: list[dict[str, Any]] = []
    count, status = 0, EXIT_FAILED
    while piece := list(islice(lines, _AT_ONCE)):
        unread = [{"line": one.number, "reason": one.fault} for one in piece if one.fault]
        status = EXIT_USAGE if unread else status
        refused, n_refused = _refused(tribunal, [one for one in piece if not one.fault])
        rejected += unread + refused
        count += len(unread) + n_refused
    kept = f"; {stored_before} labels before it are stored" if stored_before else ""
    rows = "1 row is" if count == 1 else f"{count} rows are"
    rejected.sort(key=lambda one: int(one["line"]))
    fail(
        f"{file}: {rows} faulty, none of these labels was stored{kept}",
        status=status,
        details={"rejected": rejected, "rejected_count": count},
    )


def _refused(tribunal: Tribunal, lines: list[Line]) -> tuple[list[dict[str, Any]], int]:
    """Return the first rows that the service refuses with reasons, and how many it refuses."""
    rejected: list[dict[str, Any]] = []
    count = 0
    while lines:
        try:
            tribunal.labels.check(_label_rows(lines))
        except RequestRefused as error:
            faults = _by_index(error)
            rejected += [
                {"line": lines[index].number, "reason": why} for index, why in faults.items()
            ]
            total = error.problem.get("error_count")
            if total is not None:
                return rejected, count + int(total)
            # what fields hold is looked at first, pairs and datasets only where that is in order
            count += len(faults)
            lines = [one for at, one in enumerate(lines) if at not in faults]
        else:
            break
    return rejected, count


def _by_index(error: RequestRefused) -> dict[int, str]:
    """Return what is wrong with labels by their places; another refusal is raised again."""
    faults: dict[int, str] = {}
    for fault in error.problem.get("errors") or []:
        match list(fault.get("loc") or ()):
            case ["body", "labels", int(index), *fields]:
                name = ".".join(str(part) for part in fields)
                said = f"{name}: {fault.get('msg')}" if name else str(fault.get("msg"))
                faults[index] = f"{faults[index]}; {said}" if index in faults else said
            case _:
                raise error
    if not faults:
        raise error
    return faults


def _show(console: RichConsole, body: dict[str, Any]) -> None:
    console.print(
        f"{body['accepted']} labels of {escape(body['dataset'])}: {body['replaced']} replaced an "
        f"earlier one, {body['unchanged']} were there"
    )
    if body["contradicted"]:
        console.print(
            f"on {body['contradicted']} pairs one person says two things in this file: the last "
            "one stands (give every person a name of their own)"
        )
