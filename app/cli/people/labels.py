"""The verb that adds labels: reads a table of them, and names every faulty row."""

from __future__ import annotations

import csv
import io
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any, Final, NamedTuple, NoReturn, cast

import typer

from app.cli.console import EXIT_FAILED, EXIT_USAGE, AsJson, Console, fail, note
from app.cli.options import Coding, Columns, DatasetArgument, Delimiter
from app.cli.service import Key, Server, open_tribunal
from app.cli.tables.layout import Screen, escape
from app.core.inert import without_mark
from judges.errors import SLIP, nearest

if TYPE_CHECKING:
    from app.client import RequestRefused, Tribunal
    from app.client.bodies_in import Label
    from app.formats.columns.declared import Layout
    from app.imports.tables import Separated

_FIELDS: Final = (
    "dataset", "pair", "prompt", "model_a", "model_b", "response_a", "response_b", "annotator",
    "label", "criterion", "strength", "first_shown", "comment",
)  # fmt: skip
# what an exported pair is called by besides its id; with the id it is not asked for
_OF_PAIRS: Final = ("prompt", "model_a", "model_b")
_ANSWERS: Final = ("response_a", "response_b")
_LABELS: Final = ("a", "b", "tie")
_LOOK_BYTES: Final = 2**16
# how alike a name must be to stand for a column that is missing
_ALIKE: Final = 0.6
# labels that are stored together: a larger file is stored in pieces, and may be given again
_AT_ONCE: Final = 10_000


def add_to(app: typer.Typer) -> None:
    """Add this verb to the command line."""
    app.command()(label)


class Line(NamedTuple):
    """A row of a file: its fields, or why they cannot be read."""

    number: int
    row: dict[str, Any]
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class LabelFile:
    """A file of labels, and what is said of its rows.

    Args:
        path: The file; - is standard input.
        dataset: Dataset of the rows that name none.
        annotator: Annotator of the rows that name none; it is never guessed.
        by: What names the pair of a row: `pair`, its id, or `prompt`, with its models.
        layout: Its columns, with the coding of its labels, and what separates its cells.
    """

    path: Path
    dataset: str
    annotator: str | None
    by: str
    layout: Layout

    @property
    def known(self) -> dict[str, str]:
        """Return the fields that are the same in all rows."""
        return {
            "dataset": self.dataset,
            **({} if self.annotator is None else {"annotator": self.annotator}),
        }


def read_labels(file: LabelFile) -> Iterator[Line]:
    """Yield the rows of a file that hold a label, completed by the options."""
    from app.core.errors import TribunalError
    from app.formats.columns.declared import DeclarationInvalid

    empty = 0
    try:
        with ExitStack() as opened:
            for line in _rows(file, opened):
                found = line if line.fault else _completed(line, file)
                if found is not None:
                    yield found
                empty += found is None
        file.layout.check()
        if empty:
            note(f"{file.path}: rows without a label, left out: {empty}")
    except DeclarationInvalid as error:
        fail(f"{file.path}: --{error.name}: {error}", status=EXIT_USAGE)
    except UnicodeDecodeError:
        fail(f"{file.path}: is not UTF-8: save it as UTF-8 (Excel: CSV UTF-8)", status=EXIT_USAGE)
    except (OSError, TribunalError) as error:
        fail(f"{file.path}: {getattr(error, 'strerror', None) or error}", status=EXIT_USAGE)


def _rows(file: LabelFile, opened: ExitStack) -> Iterator[Line]:
    from app.core.errors import TribunalError
    from app.imports.body import rows_of
    from app.imports.decoding import text_of
    from app.imports.tables import is_parquet, separation
    from app.imports.upload import UploadedFile, buffered, unpacked

    name = str(file.path)
    raw: Any = sys.stdin.buffer if name == "-" else opened.enter_context(file.path.open("rb"))
    stream = unpacked(buffered(raw, opened), opened)
    content: Any = None
    called = ""  # JSON is told by what it begins with, whatever the file is called
    if is_parquet("", name, stream.peek(4)[:4]):
        content, called = io.BytesIO(stream.read()), name
    else:
        stream = text_of(stream, opened)
        begins = stream.peek(_LOOK_BYTES)[:_LOOK_BYTES].decode("utf-8", "replace")
        if not begins.strip():
            raise TribunalError("is empty")
        content = stream if begins.lstrip()[:1] in ("[", "{") else None
    if content is not None:
        for row in rows_of([UploadedFile(content, "", called)], None, file.layout.declared):
            yield _of_row(row.line, row.value, row.reason)
        file.layout.seen.update(dict.fromkeys(file.layout.declared.columns.values()))
        return
    text = io.TextIOWrapper(stream, "utf-8-sig", newline="")
    opened.callback(text.detach)
    yield from _table(text, separation(begins, file.layout.declared), file)


def _field(name: str) -> str:
    """Return the field of a column; in rows and exports a pair's id is called `id`."""
    return "pair" if name == "id" else name


def _table(text: IO[str], found: Separated, file: LabelFile) -> Iterator[Line]:
    from app.imports.tables import in_words

    skipped = 1 if found.is_said and text.readline() else 0
    reader = csv.reader(
        text, delimiter=found.delimiter, strict=True, skipinitialspace=found.is_spaced
    )
    columns = _header(reader)
    layout = _with_verdict([(_field(n), place) for n, place in file.layout.of(columns)])
    number = reader.line_num + skipped
    kept = _kept([name for name, _ in layout], max(number, 1), file)
    try:
        for cells in reader:
            number = reader.line_num + skipped
            if len(cells) != len(columns):
                if cells:
                    yield Line(number, {}, f"{len(columns)} cells are expected")
                continue
            # ids and names may come from an exported table, where such cells are marked
            row = {name: without_mark(cells[place]) for name, place in layout if name in kept}
            has_texts = any(row.get(name) for name in _ANSWERS)
            always = ("label", *_ANSWERS) if has_texts else ("label",)
            yield Line(number, {name: c for name, c in row.items() if c or name in always})
    except csv.Error as error:
        # after an unclosed quote the rest cannot be divided into rows
        yield Line(reader.line_num + skipped, {}, in_words(error))


def _header(reader: Iterator[list[str]]) -> list[str]:
    """Return the names in the first line that is not empty."""
    from app.core.errors import TribunalError
    from app.imports.tables import in_words

    try:
        return next((names for row in reader if any(names := [one.strip() for one in row])), [])
    except csv.Error as error:
        raise TribunalError(f"line 1 of the table is not a header: {in_words(error)}") from error


def _with_verdict(layout: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """Return columns of which one is the label, as in an import: also `winner`, `preference`."""
    from app.formats.columns.flat import VERDICTS

    names = [name for name, _ in layout]
    verdict = next((name for name in VERDICTS if name in names), None)
    return [("label" if name == verdict else name, place) for name, place in layout]


def _kept(header: Sequence[str], line: int, file: LabelFile) -> set[str]:
    """Return the columns that are read; others are told of, unless they look misspelt."""
    from app.formats.tables import COLUMNS, MARKED

    # columns of an exported table are known, and not of labels
    unknown = [name for name in header if name not in (*_FIELDS, *COLUMNS, MARKED)]
    missing = file.by not in header or "label" not in header
    alike = _ALIKE if missing else SLIP
    near = next((near for name in unknown if (near := nearest(name, _FIELDS, alike=alike))), None)
    if missing or near:
        meant = f"; did you mean {near}?" if near else ""
        wrong = (
            f"{', '.join(unknown)}: there is no such column"
            if near
            else f"the columns {file.by} and label are needed"
        )
        if file.by == "pair" and "prompt" in header and not near:
            wrong = "without the ids of pairs give --by prompt"
        known = f"columns are {', '.join(_FIELDS)}{meant}"
        if missing and unknown:
            known += (
                "; if they have other names here, say which is which with "
                f"--map {file.by}=...,label=...,annotator=..."
            )
        fail(f"{file.path}, line {line}: {wrong}; {known}", status=EXIT_USAGE)
    if file.by == "pair" and "prompt" in header:
        note(f"{file.path}: prompt: not compared, the id names the pair")
    if unknown:
        note(f"{file.path}: not kept with the labels: {', '.join(unknown)}")
    return set(_FIELDS)


def _of_row(number: int, row: Any, fault: str | None) -> Line:
    if fault is None and not isinstance(row, dict):
        fault = "is no object"
    return Line(number, {} if fault else dict(row), fault)


def _completed(line: Line, file: LabelFile) -> Line | None:
    """Return a row with the options and its label read by the coding; None: it has no label."""
    from app.formats.columns.verdicts import is_empty, only

    row = {**file.known, **dict(_with_verdict_field(line.row))}
    if "label" in row:
        row["label"] = only(row["label"])
    if "label" in row and is_empty(row["label"]):
        return None
    if "human" in row:
        why = "holds votes in human: give every vote a row of its own (id, annotator, label)"
        return Line(line.number, {}, why)
    if "annotator" not in row:
        why = "names no annotator (give --annotator; null in NDJSON says that it is unknown)"
        return Line(line.number, {}, why)
    fault = _read_label(row, file) or _read_strength(row)
    if fault is not None:
        return Line(line.number, {}, fault)
    if "label" in row and row["label"] is None:
        return None
    for name in (
        ("pair",) if file.by == "prompt" else _OF_PAIRS if _ANSWERS[0] in row else ("prompt",)
    ):
        row.pop(name, None)
    return Line(line.number, row)


def _with_verdict_field(row: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the fields of a row, the one that says who won as its label."""
    places = list(range(len(row)))
    names = _with_verdict([(_field(name), at) for at, name in zip(places, row, strict=True)])
    for (name, _), value in zip(names, row.values(), strict=True):
        yield name, _plain(value)


def _read_label(row: dict[str, Any], file: LabelFile) -> str | None:
    """Put what a row says of its pair in its place; return what is wrong with it.

    A text that is not the name of a side may be that of a model, which the service knows.
    """
    from app.formats.columns.declared import code_of
    from app.formats.columns.verdicts import is_number, may_mean_other, sides_of_columns, spelt

    said, declared = row.get("label"), file.layout.declared
    coding, columns = declared.coding, declared.sides
    sides = sides_of_columns(said, columns)
    if code_of(said) in coding:
        row["label"] = coding[code_of(said)]
    elif len(sides) == 1:
        [row["label"]] = sides
    elif spelt(said) in ("a", "b") and may_mean_other(code_of(said), columns):
        return f"label: {said} may mean a side or a column: say what it means with --coding"
    elif is_number(said):
        why = f"label: {said} is a number without a coding: say what it means with --coding"
        return f"{why}, for example 1=a,2=b,0=tie"
    elif isinstance(said, str) and said not in _LABELS:
        row["winner"] = row.pop("label")
    return None


def _read_strength(row: dict[str, Any]) -> str | None:
    strength = row.get("strength")
    if isinstance(strength, str):
        try:
            row["strength"] = float(strength)
        except ValueError:
            return f"strength: {strength!r} is no number"
    return None


def _plain(value: Any) -> Any:
    """Return a cell; NaN says nothing, and a number without a fraction is an integer."""
    from app.formats.base import whole

    return None if isinstance(value, float) and math.isnan(value) else whole(value)


def _layout(columns: list[str] | None, coding: list[str] | None, delimiter: str | None) -> Layout:
    from app.formats.columns.declared import DeclarationInvalid, Declared, Layout

    own = [
        text.replace("pair=", "id=", 1) if text.startswith("pair=") else text
        for text in columns or ()
    ]
    try:
        return Layout(Declared.read(own, coding or (), delimiter or ""))
    except DeclarationInvalid as error:
        fail(f"--{error.name}: {error}", status=EXIT_USAGE)


def label(  # noqa: PLR0913  # a verb's options are its parameters
    dataset: DatasetArgument,
    file: Annotated[
        Path,
        typer.Argument(
            help="a table with a header (CSV, TSV, Parquet), or JSON: pair, label (a, b or tie; "
            "numbers need --coding), annotator; also criterion, strength, first_shown, comment; - reads "
            "stdin"
        ),
    ],
    by: Annotated[
        str,
        typer.Option(
            metavar="pair|prompt",
            help="what names the pair of a row: the id, or prompt with model_a and model_b",
        ),
    ] = "pair",
    columns: Columns = None,
    coding: Coding = None,
    delimiter: Delimiter = None,
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
    if by not in ("pair", "prompt"):
        fail(f"--by: {by!r} is neither pair nor prompt", status=EXIT_USAGE)
    layout = _layout(columns, coding, delimiter)
    lines = read_labels(LabelFile(file, dataset, annotator, by, layout))
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
                # a label in words is sent as who won
                name = ".".join({"winner": "label"}.get(part, str(part)) for part in fields)
                said = f"{name}: {fault.get('msg')}" if name else str(fault.get("msg"))
                faults[index] = f"{faults[index]}; {said}" if index in faults else said
            case _:
                raise error
    if not faults:
        raise error
    return faults


def _show(console: Screen, body: dict[str, Any]) -> None:
    new = body["accepted"] - body["replaced"] - body["unchanged"]
    console.print(
        f"{body['accepted']} label{'s' * (body['accepted'] != 1)} for {escape(body['dataset'])}: "
        f"{new} are new, {body['replaced']} replace another label of the same person, "
        f"{body['unchanged']} were stored already"
    )
    if body["contradicted"]:
        console.print(
            f"on {body['contradicted']} pairs one person gives two labels in this file: the last "
            "one counts (give every person a name of their own)"
        )
