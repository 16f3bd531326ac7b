"""Reads files of labels: tables and JSON, with any further columns, which are kept."""

from __future__ import annotations

import csv
import io
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final, NamedTuple

from app.cli.console import EXIT_USAGE, fail
from app.core.inert import without_mark
from judges.errors import SLIP, nearest

if TYPE_CHECKING:
    from app.formats.columns.declared import Layout
    from app.imports.tables import RawRow, Separated

FIELDS: Final = (
    "dataset", "pair", "prompt", "model_a", "model_b", "response_a", "response_b", "annotator",
    "label", "criterion", "strength", "first_shown", "comment",
)  # fmt: skip
# what an exported pair is called by besides its id; with its responses it is not asked for
_OF_PAIRS: Final = ("prompt", "model_a", "model_b")
_ANSWERS: Final = ("response_a", "response_b")
_LABELS: Final = ("a", "b", "tie")
# an exported table has all of these; they belong to its pairs
_EXPORTED: Final = frozenset({"group", "human", "judges", "metadata"})
# what a label is shown with besides, and its further fields: no column keeps such a name
_RESERVED: Final = frozenset({*FIELDS, "object", "id", "replaced_at", "winner", "details"})
_LOOK_BYTES: Final = 2**16
# rows from which the columns of an unknown table are guessed
_LOOK_ROWS: Final = 200
_ALIKE: Final = 0.6  # how alike a name must be to stand for a column that is missing


class Line(NamedTuple):
    """A row of a file: its fields, or why they cannot be read."""

    number: int
    row: dict[str, Any]
    fault: str | None = None


class ColumnsUnknown(Exception):
    """A file does not have the columns that labels need; `table` holds its first values."""

    def __init__(self, why: str, line: int, table: Mapping[str, list[Any]]) -> None:
        super().__init__(why)
        self.line, self.table = line, table


class _Misnamed(ValueError): ...


@dataclass(slots=True)
class LabelFile:
    """A file of labels, and what is said of its rows.

    Args:
        path: The file; - is standard input.
        dataset: Dataset of the rows that name none.
        annotator: Annotator of the rows that name none; it is never guessed.
        by: What names the pair of a row: `pair`, its id, or `prompt`, with its models; None = the
            id where there is one.
        layout: Its columns, with the coding of its labels, and what separates its cells.
        spread: Columns each of which holds a label, by what the column is called.
        spread_as: The field that their names are of: `annotator` or `criterion`.
        unread: What stood for a label and means nothing without a coding.
        notes: What its sender should know of it.
    """

    path: Path
    dataset: str
    annotator: str | None
    by: str | None
    layout: Layout
    spread: Sequence[str] = ()
    spread_as: str = "annotator"
    unread: dict[str, None] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def known(self) -> dict[str, str]:
        """Return the fields that are the same in all rows."""
        return {
            "dataset": self.dataset,
            **({} if self.annotator is None else {"annotator": self.annotator}),
        }

    def note_columns(self, columns: _Columns, names: Sequence[str]) -> None:
        """Note what is kept besides the fields of labels, and what is not; refuse unknown columns."""
        option = "--voters" if self.spread_as == "annotator" else "--criteria"
        absent = [name for name in self.spread if name not in names]
        if absent:
            there = ", ".join(name for name in names if name)
            why = f"{option}: there is no column {', '.join(absent)}; there is {there}"
            fail(f"{self.path}: {why}", status=EXIT_USAGE)
        if self.spread and self.spread_as in columns.fields:
            other = "--criteria, if these are criteria" if option == "--voters" else "one of both"
            why = f"{option}: the file has a column for the {self.spread_as}, too: give {other}"
            fail(f"{self.path}: {why}", status=EXIT_USAGE)
        if columns.by == "pair" and "prompt" in columns.fields and not columns.of_pairs:
            self.notes.append("prompt: not compared, the id names the pair")
        if columns.kept:
            self.notes.append(f"kept with each label: {', '.join(columns.kept)}")


@dataclass(frozen=True, slots=True)
class _Columns:
    """Where a row has what: its fields, what is kept besides, a label by its name, and no name."""

    fields: Mapping[str, int]
    kept: Mapping[str, int]
    spread: Mapping[str, int]
    nameless: Sequence[int]
    by: str
    of_pairs: Sequence[str]

    @classmethod
    def of(
        cls, columns: Sequence[tuple[str, int]], file: LabelFile, *, is_whole: bool = True
    ) -> _Columns:
        """Return the columns of these names and places; what is needed is among them all.

        Raises:
            _Misnamed: a needed one is missing, or one looks misspelt.
        """
        spread = {name: at for name, at in columns if name in file.spread}
        layout = [(name, at) for name, at in columns if name and name not in spread]
        fields, others = _fields(layout, is_id_declared="id" in file.layout.declared.columns)
        by = file.by or next((one for one in ("pair", "prompt") if one in fields), "pair")
        missing = [one for one in (by, "label") if one not in fields]
        if spread and "label" in missing:
            missing.remove("label")
        _check_spelling(others, fields, missing, is_whole=is_whole)
        is_exported = {name for name, _ in layout} >= _EXPORTED
        if is_whole and not is_exported:
            _check_sides(others, fields)
        of_pairs = [name for name in others if is_exported and _is_of_pairs(name)]
        if "label" in missing and "human" in of_pairs:
            of_pairs.remove("human")  # its votes are all that such a row has
        kept = {
            f"source_{name}" if name in _RESERVED else name: at
            for name, at in others.items()
            if name not in of_pairs
        }
        return cls(fields, kept, spread, [at for name, at in columns if not name], by, of_pairs)


def _fields(
    layout: Sequence[tuple[str, int]], *, is_id_declared: bool
) -> tuple[dict[str, int], dict[str, int]]:
    """Return the columns that are fields of labels, and the others, by name.

    A pair's id may be called `id`, as in rows and exports, and the label as in an import.
    """
    from app.formats.columns.flat import VERDICTS
    from app.formats.tables import MARKED

    if is_id_declared:
        layout = [("source_pair" if name == "pair" else name, at) for name, at in layout]
    there = dict(layout)
    stands_for = {"id": "pair"} if "pair" not in there else {}
    verdict = next((name for name in VERDICTS if name in there), "label")
    stands_for[verdict] = "label"
    named = {stands_for.get(name, name): at for name, at in layout if name != MARKED}
    fields = {name: at for name, at in named.items() if name in FIELDS}
    return fields, {name: at for name, at in named.items() if name not in FIELDS}


def _is_of_pairs(name: str) -> bool:
    from app.formats.tables import COLUMNS

    return name in COLUMNS


def _check_spelling(
    others: Mapping[str, int], fields: Mapping[str, int], missing: Sequence[str], *, is_whole: bool
) -> None:
    absent = [name for name in FIELDS if name not in fields]
    needed = missing if is_whole else ()
    meant = (
        (name, nearest(name, needed, alike=_ALIKE) or nearest(name, absent, alike=SLIP))
        for name in others
        if not _is_of_pairs(name)
    )
    found = next(((name, near) for name, near in meant if near), None)
    if found is not None:
        raise _Misnamed(f"{found[0]}: there is no such column; did you mean {found[1]}?")
    if missing and is_whole:
        of_pair = "pair (or prompt)" if missing[0] == "pair" else missing[0]
        names = " and ".join([of_pair, *missing[1:]])
        raise _Misnamed(
            f"the columns {names} are needed"
            if len(missing) > 1
            else f"the column {names} is needed"
        )


def _check_sides(others: Mapping[str, int], fields: Mapping[str, int]) -> None:
    """Refuse a table that seems to say which side is which in columns that are not read."""
    from app.formats.columns.guessing import sides_in

    sides = None if {"model_a", "response_a"} & fields.keys() else sides_in(others)
    if sides is not None:
        raise _Misnamed(
            f"{' and '.join(sides)} seem to say what stood on which side: name them with --map, or "
            "leave them out of the file"
        )


def read_labels(file: LabelFile) -> Iterator[Line]:
    """Yield the rows of a file that hold a label, completed by the options.

    Raises:
        ColumnsUnknown: a column that is needed is missing.
    """
    from app.core.errors import TribunalError
    from app.formats.columns.declared import DeclarationInvalid

    empty = 0
    try:
        with ExitStack() as opened:
            for line, by in _labels_of(file, opened):
                found = line if line.fault else _completed(line, file, by)
                if found is not None:
                    yield found
                empty += found is None
        file.layout.check()
        if empty:
            file.notes.append(f"rows without a label, left out: {empty}")
    except DeclarationInvalid as error:
        fail(f"{file.path}: --{error.name}: {error}", status=EXIT_USAGE)
    except UnicodeDecodeError:
        fail(f"{file.path}: is not UTF-8: save it as UTF-8 (Excel: CSV UTF-8)", status=EXIT_USAGE)
    except (OSError, TribunalError) as error:
        fail(f"{file.path}: {getattr(error, 'strerror', None) or error}", status=EXIT_USAGE)


def _labels_of(file: LabelFile, opened: ExitStack) -> Iterator[tuple[Line, str]]:
    """Yield the rows of a file, and what names their pairs."""
    from app.core.errors import TribunalError
    from app.imports.decoding import text_of
    from app.imports.tables import is_parquet, separation
    from app.imports.upload import buffered, unpacked

    name = str(file.path)
    raw: Any = sys.stdin.buffer if name == "-" else opened.enter_context(file.path.open("rb"))
    stream = unpacked(buffered(raw, opened), opened)
    if is_parquet("", name, stream.peek(4)[:4]):
        yield from _objects(io.BytesIO(stream.read()), name, file)
        return
    stream = text_of(stream, opened)
    begins = stream.peek(_LOOK_BYTES)[:_LOOK_BYTES].decode("utf-8", "replace")
    if not begins.strip():
        raise TribunalError("is empty")
    # JSON is told by what it begins with, whatever the file is called
    if begins.lstrip()[:1] in ("[", "{"):
        yield from _objects(stream, "", file)
        return
    text = io.TextIOWrapper(stream, "utf-8-sig", newline="")
    opened.callback(text.detach)
    yield from _table(text, separation(begins, file.layout.declared), file)


def _table(text: IO[str], found: Separated, file: LabelFile) -> Iterator[tuple[Line, str]]:
    from app.core.limits import Limits
    from app.imports.tables import check_header

    skipped = 1 if found.is_said and text.readline() else 0
    reader = csv.reader(
        text, delimiter=found.delimiter, strict=True, skipinitialspace=found.is_spaced
    )
    names = _header(reader)
    check_header(names, Limits())
    try:
        columns = _Columns.of(file.layout.of(names), file)
    except _Misnamed as error:
        line = max(reader.line_num + skipped, 1)
        raise ColumnsUnknown(str(error), line, _first_of(reader, names)) from None
    file.note_columns(columns, names)
    unnamed = 0
    for number, cells, fault in _rows_of_table(reader, names):
        if fault:
            yield Line(number + skipped, {}, fault), columns.by
            continue
        unnamed += _has_unnamed(columns, cells)
        for row in _rows_of_cells(columns, names, cells, file.spread_as):
            yield Line(number + skipped, row), columns.by
    if unnamed:
        file.notes.append(f"cells in columns without a name, not kept: those of {unnamed} rows")


def _rows_of_table(reader: Any, names: Sequence[str]) -> Iterator[tuple[int, list[str], str]]:
    """Yield the line on which each row begins, its cells, and why it is no row of the table."""
    from app.imports.tables import check_markdown, in_words

    number, width = reader.line_num + 1, len(names)
    try:
        for cells in reader:
            check_markdown(names, cells or ["."])
            if len(cells) > width and not any(map(str.strip, cells[width:])):
                del cells[width:]  # some programs end every line with a delimiter
            if cells and len(cells) != width:
                yield number, [], f"{width} cells are expected, and there are {len(cells)}"
            elif any(map(str.strip, cells)):
                yield number, cells, ""
            number = reader.line_num + 1
    except csv.Error as error:
        # after an unclosed quote the rest cannot be divided into rows
        yield number, [], in_words(error)


def _first_of(reader: Iterator[list[str]], names: Sequence[str]) -> dict[str, list[Any]]:
    """Return the first cells of each named column."""
    try:
        rows = [cells for cells in islice(reader, _LOOK_ROWS) if len(cells) == len(names)]
    except csv.Error:
        rows = []
    return {name: [cells[at] for cells in rows] for at, name in enumerate(names) if name}


def _has_unnamed(columns: _Columns, cells: Sequence[str]) -> bool:
    """Return whether cells stand under no name; an index of the rows, as pandas writes it, is none."""
    return any(
        cells[at].strip() and not (at == 0 and cells[at].isdecimal()) for at in columns.nameless
    )


def _rows_of_cells(
    columns: _Columns, names: Sequence[str], cells: Sequence[str], spread_as: str
) -> Iterator[dict[str, Any]]:
    from app.formats.tables import MARKED

    # ids and names may come from an exported table, where such cells are marked
    row = {name: without_mark(cells[at]) for name, at in columns.fields.items()}
    has_texts = any(row.get(name) for name in _ANSWERS)
    always = ("label", *_ANSWERS) if has_texts else ("label",)
    row = {name: cell for name, cell in row.items() if cell or name in always}
    marked = cells[names.index(MARKED)].split(" ") if MARKED in names else []
    kept = {
        name: without_mark(cells[at]) if names[at] in marked else cells[at]
        for name, at in columns.kept.items()
        if cells[at]
    }
    labels = {name: cells[at] for name, at in columns.spread.items()}
    yield from _spread(row, kept, labels, spread_as)


def _spread(
    row: dict[str, Any], kept: Mapping[str, Any], labels: Mapping[str, Any], name_of: str
) -> Iterator[dict[str, Any]]:
    """Yield a row of its own for each label; the row itself where it holds one."""
    details = {"details": dict(kept)} if kept else {}
    if not labels:
        yield {**row, **details}
    for name, said in labels.items():
        yield {**row, name_of: name, "label": said, **details}


def _header(reader: Iterator[list[str]]) -> list[str]:
    """Return the names in the first line that is not empty."""
    from app.core.errors import TribunalError
    from app.imports.tables import in_words

    try:
        return next((names for row in reader if any(names := [one.strip() for one in row])), [])
    except csv.Error as error:
        raise TribunalError(f"line 1 of the table is not a header: {in_words(error)}") from error


def _objects(content: Any, called: str, file: LabelFile) -> Iterator[tuple[Line, str]]:
    """Yield the rows of JSON or Parquet, each of which has columns of its own."""
    from app.formats.columns.declared import Layout
    from app.imports.body import rows_of
    from app.imports.upload import UploadedFile

    rows = rows_of([UploadedFile(content, "", called)], None, file.layout.declared)
    first = list(islice(rows, _LOOK_ROWS))
    columns = _columns_of_all(first, file)
    for row in chain(first, rows):
        if row.reason is not None or not isinstance(row.value, dict):
            yield Line(row.line, {}, row.reason or "is no object"), columns.by
            continue
        try:
            own = _Columns.of(Layout().of(list(row.value)), file, is_whole=False)
        except _Misnamed as error:
            yield Line(row.line, {}, str(error)), columns.by
            continue
        for one in _rows_of_object(own, list(row.value.values()), file.spread_as):
            yield Line(row.line, one), columns.by
    file.layout.seen.update(dict.fromkeys(file.layout.declared.columns.values()))


def _columns_of_all(first: Sequence[RawRow], file: LabelFile) -> _Columns:
    """Return the columns that the first rows have together."""
    from app.core.errors import TribunalError
    from app.formats.columns.declared import Layout
    from app.formats.columns.unknown import of_object

    rows = [row.value for row in first if isinstance(row.value, dict)]
    names = list(dict.fromkeys(name for row in rows for name in row))
    if len(first) == len(rows) == 1 and (why := of_object(rows[0])) and "human" not in rows[0]:
        raise TribunalError(why)
    # what is wrong with such rows is said of each
    is_whole = len(rows) == len(first) > 0 and "human" not in names
    try:
        columns = _Columns.of(Layout().of(names), file, is_whole=is_whole)
    except _Misnamed as error:
        table = {name: [row[name] for row in rows if name in row] for name in names}
        raise ColumnsUnknown(str(error), 1, table) from None
    file.note_columns(columns, names)
    return columns


def _rows_of_object(
    columns: _Columns, values: Sequence[Any], spread_as: str
) -> Iterator[dict[str, Any]]:
    row = {name: _plain(values[at]) for name, at in columns.fields.items()}
    kept = {
        name: value
        for name, at in columns.kept.items()
        if (value := _plain(values[at])) is not None
    }
    labels = {name: values[at] for name, at in columns.spread.items()}
    yield from _spread(row, kept, labels, spread_as)


def _completed(line: Line, file: LabelFile, by: str) -> Line | None:
    """Return a row with the options and its label read by the coding; None: it has no label."""
    from app.formats.columns.verdicts import is_empty, only

    row = {**file.known, **line.row}
    if "label" in row:
        row["label"] = only(row["label"])
    if "label" in row and is_empty(row["label"]):
        return None
    if "human" in row.get("details", ()):
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
    by_id = _OF_PAIRS if _ANSWERS[0] in row else ("prompt",)
    for name in ("pair",) if by == "prompt" else by_id:
        row.pop(name, None)
    return Line(line.number, row)


def _read_label(row: dict[str, Any], file: LabelFile) -> str | None:
    """Put what a row says of its pair in its place; return what is wrong with it.

    A text that is not the name of a side may be that of a model, which the service knows.
    """
    from app.formats.columns.declared import code_of, is_number
    from app.formats.columns.verdicts import may_mean_other, sides_of_columns, spelt

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
        file.unread.setdefault(str(said))
        return f"label: {said} means nothing without a coding"
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
