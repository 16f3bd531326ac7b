"""The verbs that bring data in and out: import, export, label."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import chain, islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, BinaryIO, Final, NamedTuple, NoReturn, cast

import typer
from rich.console import Console as RichConsole
from rich.markup import escape

from app.cli import tables
from app.cli.console import EXIT_FAILED, EXIT_FAILED_ROWS, EXIT_USAGE, AsJson, Console, fail, note
from app.cli.options import DatasetArgument, given, stem_of
from app.cli.service import Key, Server, open_tribunal, whole
from judges.errors import nearest

if TYPE_CHECKING:
    from app.client import RequestRefused, Tribunal
    from app.client.bodies_in import Label

# written out, so that help need not load the modules that read and write them
_READ: Final = (
    "auto (tells it by the fields), canonical, alpaca_eval, alpaca_eval_outputs, mt_bench, "
    "arena_hard, lmarena_55k, lmarena_140k, reward_bench, judge_bench, battles (evalica, "
    "arena_rank), openai_batch, selective_evaluation, cje, label_studio or argilla"
)
_WRITTEN: Final = (
    "canonical (NDJSON, with all that is stored), csv or parquet (the same as a table); for other "
    "tools alpaca_eval, mt_bench, arena_hard, reward_bench, evalica, arena_rank, cje; tasks for "
    "people label_studio, argilla, and what these are set up with label_studio_config, "
    "argilla_settings; requests for verdicts openai_batch"
)


_FIELDS: Final = (
    "dataset", "pair", "annotator", "label", "criterion", "strength", "first_shown", "comment",
)  # fmt: skip
# labels that are stored together: a larger file is stored in pieces, and may be given again
_AT_ONCE: Final = 10_000


Columns = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        metavar="FIELD=COLUMN,...",
        help="which column of the file is which field: prompt=question,response_a=answer_1,"
        "response_b=answer_2,label=verdict,...",
    ),
]
Coding = Annotated[
    list[str] | None,
    typer.Option(
        metavar="VALUE=LABEL,...",
        help="what the values of the verdict column mean: 1=a,2=b,0=tie; none is no vote",
    ),
]
Delimiter = Annotated[
    str | None,
    typer.Option(help="of a table: one character, or tab; default: told by its header"),
]


def add_to(app: typer.Typer) -> None:
    """Add these verbs to the command line."""
    app.command("import")(import_files)
    app.command()(export)
    app.command()(label)


def import_files(  # noqa: PLR0913  # a verb's options are its parameters
    files: Annotated[
        list[Path],
        typer.Argument(
            help="NDJSON, JSON, CSV, Parquet, or gzip of them; several are joined; - reads stdin"
        ),
    ],
    name: Annotated[
        str | None, typer.Option(help="name of the dataset; default: the first file's")
    ] = None,
    dialect: Annotated[str, typer.Option("--format", help=_READ)] = "auto",
    strict: Annotated[bool, typer.Option(help="refuse all if one line is bad")] = False,
    columns: Columns = None,
    coding: Coding = None,
    delimiter: Delimiter = None,
    people: Annotated[
        list[str] | None,
        typer.Option(metavar="NAMES", help="annotators that are people: names, or expert_*"),
    ] = None,
    judges: Annotated[
        list[str] | None,
        typer.Option(metavar="NAMES", help="annotators that are models: names, or gpt*"),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="store nothing; show the first three rows as stored")
    ] = False,
    server: Server = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Import pairs, with their labels and recorded judge scores where there are any."""
    has_stdin = any(str(file) == "-" for file in files)
    if has_stdin and len(files) > 1:
        fail("- is standard input: it cannot be joined with files", status=EXIT_USAGE)
    if has_stdin and name is None:
        fail("--name is needed when reading standard input", status=EXIT_USAGE)
    for file in files:
        if not has_stdin and not file.is_file():
            why = "it is a folder" if file.is_dir() else "there is no such file"
            fail(f"{file}: {why}", status=EXIT_USAGE)
    options = given(map=columns, coding=coding, delimiter=delimiter, people=people, judges=judges)
    options |= {"name": name or stem_of(files[0]), "dialect": dialect, "strict": strict}
    with open_tribunal(server, key, only_reads=dry_run) as tribunal:
        found = _import(tribunal, files, options, is_dry=dry_run)
    for warning in found["warnings"]:
        note(warning)
    if found["unmatched"]:
        note(f"{found['unmatched']} rows found none to be joined with")
    Console(as_json).show(found, tables.preview if dry_run else tables.dataset)
    if found["rejected"]:
        raise typer.Exit(EXIT_FAILED_ROWS)


def _import(
    tribunal: Tribunal, files: Sequence[Path], options: dict[str, Any], *, is_dry: bool
) -> Mapping[str, Any]:
    source: Any = files[0] if len(files) == 1 else list(files)
    if str(files[0]) == "-":
        source = sys.stdin.buffer
    try:
        send: Any = tribunal.preview_dataset if is_dry else tribunal.import_dataset
        return cast("Mapping[str, Any]", send(source, **options))
    except OSError as error:
        place = error.filename or files[0]
        fail(f"{place}: {error.strerror or error}", status=EXIT_USAGE)


def export(  # noqa: PLR0913  # a verb's options are its parameters
    dataset: Annotated[
        str | None, typer.Argument(help="id or name of a dataset; none with --trusted")
    ] = None,
    format_: Annotated[str, typer.Option("--format", metavar="NAME", help=_WRITTEN)] = "canonical",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="default: standard output")
    ] = None,
    trusted: Annotated[
        str | None, typer.Option(help="a batch: its accepted verdicts as chosen and rejected")
    ] = None,
    any_promise: Annotated[
        bool, typer.Option(help="with --trusted: also where nothing is promised")
    ] = False,
    labels: Annotated[
        bool, typer.Option(help="label_studio, argilla: with the votes there are")
    ] = False,
    seed: Annotated[int | None, typer.Option(help="draws which answer is shown first")] = None,
    server: Server = None,
    key: Key = None,
) -> None:
    """Write a dataset in another format, or a batch's trusted verdicts as preference data."""
    if (dataset is None) == (trusted is None):
        fail("give a dataset, or --trusted with the id of a batch", status=EXIT_USAGE)
    with open_tribunal(server, key, only_reads=True) as tribunal, _target(output) as target:
        if trusted is not None:
            query = given(promise="any" if any_promise else None)
            _write_card(tribunal.preferences(trusted, target, **query), output)
        elif dataset is not None:
            query = given(format=format_, labels=labels or None, seed=seed)
            for what, count in tribunal.export(dataset, target, **query).items():
                note(f"not in this format: {what}: {count}")


def _write_card(card: Mapping[str, Any], output: Path | None) -> None:
    """Write the terms into a file beside the data; standard output has none."""
    note(card["summary"])
    if output is not None:
        text = json.dumps(card, indent=2) + "\n"
        with whole(output.with_name(f"{output.name}.card.json")) as file:
            file.write(text.encode())


def _target(output: Path | None) -> AbstractContextManager[BinaryIO]:
    return nullcontext(sys.stdout.buffer) if output is None else whole(output)


class Line(NamedTuple):
    """A row of a file: its fields, or why they cannot be read."""

    number: int
    row: dict[str, Any]
    fault: str | None = None


def read_labels(file: Path, dataset: str, annotator: str | None) -> Iterator[Line]:
    """Yield the rows of a file, completed by the options.

    Args:
        file: The file; - is standard input.
        dataset: Dataset of the rows that name none.
        annotator: Annotator of the rows that name none; it is never guessed.
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
    """Return the field of a column; in rows and exports a pair's id is called `id`."""
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
        near = nearest(unknown[0], _FIELDS) if unknown else None
        meant = f"; did you mean {near}?" if near else ""
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
        # after an unclosed quote the rest cannot be divided into rows
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
        why = "names no annotator (give --annotator; null in NDJSON says that it is unknown)"
        return Line(line.number, {}, why)
    strength = row.get("strength")
    if isinstance(strength, str):
        try:
            row["strength"] = float(strength)
        except ValueError:
            return Line(line.number, {}, f"strength: {strength!r} is no number")
    return Line(line.number, row)


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
        str | None, typer.Option(help="who said so, where the file names no one")
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
    return [cast("Label", line.row) for line in lines]


def _stored(tribunal: Tribunal, piece: Sequence[Line]) -> Mapping[str, int] | None:
    """Store labels, all or none; None where a row is faulty."""
    if any(line.fault for line in piece):
        return None
    from app.client import RequestRefused

    try:
        return cast("Mapping[str, int]", tribunal.labels.create(_label_rows(piece)))
    except RequestRefused as error:
        _by_index(error)
        return None


def _refuse(tribunal: Tribunal, lines: Iterator[Line], file: Path, stored_before: int) -> NoReturn:
    """Name every faulty row of the rest of a file, and exit; none of it is stored."""
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
    from app.client import RequestRefused

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
            # the service checks fields first, and pairs and datasets only where those are right
            count += len(faults)
            lines = [one for at, one in enumerate(lines) if at not in faults]
        else:
            break
    return rejected, count


def _by_index(error: RequestRefused) -> dict[int, str]:
    """Return what is wrong with labels by their index; raise any other refusal again."""
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
            f"on {body['contradicted']} pairs one person gives two labels in this file: the last "
            "one counts (give every person a name of their own)"
        )
