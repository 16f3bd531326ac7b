"""The rows of uploaded files, one at a time: NDJSON, JSON array, CSV or Parquet, packed or not.

Memory holds one row, however large the files are.
"""

from __future__ import annotations

import codecs
import io
import json
import re
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from app.core.errors import BadRequest, Unprocessable
from app.core.limits import Limits, check_row_count, setting_of
from app.core.names import shown
from app.formats.columns.declared import DeclarationInvalid, Declared, Layout
from app.imports.decoding import text_of
from app.imports.parquet import parquet_rows
from app.imports.tables import (
    RawRow,
    csv_rows,
    is_csv,
    is_parquet,
    separation,
    within_limits,
)
from app.imports.upload import UploadedFile, buffered, gzip_faults, on_disk, unpacked

_PIECE: Final = 2**16
_MANY_EMPTY: Final = 1_000
_WINDOW: Final = 2**16
# a text with so many columns, and one of them known, is a table without being called one
_FEW_COLUMNS: Final = 2
_OF_PYTHON: Final = "; it is written as Python shows it: use json.dumps"
_AFTER_A_VALUE: Final = " \t\r\n,]"
_LINES_TYPES: Final = frozenset(
    {"application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"}
)
_WHITE_SPACE: Final = re.compile(r"[ \t\r\n]*")


def rows_of(
    files: Sequence[UploadedFile],
    folder: Path | None = None,
    declared: Declared | None = None,
) -> Generator[RawRow]:
    """Yield the rows of an upload, file after file.

    Args:
        files: What was uploaded; the files stay open.
        folder: Where copies of packed tables go.
        declared: The names of columns, and what separates them.

    Raises:
        BadRequest: there is no file, or one cannot be read: broken gzip, JSON array or table.
        TooLarge: there is more than allowed; the error names the setting.
        Unprocessable: no file has a column that is declared.
    """
    if not files:
        raise BadRequest("the multipart body has no file")
    layout = Layout(declared or Declared())
    with gzip_faults(), ExitStack() as opened:
        number = before = 0
        for file in files:
            last = 0
            for row in _rows(file, folder, opened, layout):
                last = row.line
                check_row_count(before + last, file.meter.limits)
                number += 1
                own = 0 if number == row.line else number
                yield replace(row, file=file.name, is_one_of_several=len(files) > 1, number=own)
            before += last
    try:
        layout.check()
    except DeclarationInvalid as error:
        raise Unprocessable.field([error.name], str(error), place="query") from None


def _rows(
    file: UploadedFile, folder: Path | None, opened: ExitStack, layout: Layout
) -> Iterator[RawRow]:
    meter = file.meter
    stream = unpacked(buffered(file.content, opened), opened, meter)
    if is_parquet(file.media_type, file.name, stream.peek(4)[:4]):
        return parquet_rows(on_disk(stream, folder, opened), layout, meter)
    stream = text_of(stream, opened)
    are_lines = file.media_type in _LINES_TYPES
    if _is_table(file, stream.peek(_PIECE)[:_PIECE], layout.declared):
        return csv_rows(stream, layout, meter.limits)
    if not are_lines and stream.peek(_PIECE).lstrip()[:1] == b"[":
        return _named(_elements(stream, meter.limits), layout)
    return _named(_lines(stream, meter.limits, may_span=not are_lines), layout)


def _is_table(file: UploadedFile, begins: bytes, declared: Declared) -> bool:
    """Return whether a file is a table in text: as it is called, unless it is JSON all the same."""
    text = begins.decode("utf-8", "replace")
    is_called = is_csv(file.media_type, file.name)
    if text.lstrip()[:1] in ("{", "["):
        return is_called and not _begins_json(text.lstrip()) and not text.startswith("{'")
    if is_called or file.media_type in _LINES_TYPES:
        return is_called
    found = separation(text, declared)
    return found.is_said or found.known > 1 or (found.columns > _FEW_COLUMNS and found.known == 1)


def _begins_json(text: str) -> bool:
    """Return whether a text begins with a JSON object, or with an array of them."""
    try:
        value, _ = json.JSONDecoder().raw_decode(text.lstrip("[ \t\r\n"))
    except (ValueError, RecursionError):
        return text[:1] == "[" and text[1:].lstrip()[:1] in ("{", "]")
    return isinstance(value, dict)


def _named(rows: Iterator[RawRow], layout: Layout) -> Iterator[RawRow]:
    """Yield rows with their fields under the names that they stand for."""
    if not layout.declared.columns:
        return rows
    return (
        replace(row, value=layout.row(row.value)) if isinstance(row.value, dict) else row
        for row in rows
    )


def _lines(stream: io.BufferedReader, limits: Limits, *, may_span: bool) -> Iterator[RawRow]:
    """Yield the objects of lines; `may_span`: an object may go on over several lines."""
    number = empty = 0
    most = limits.row_bytes
    while line := stream.readline(most + 1):
        number += 1
        if len(line) > most:
            while line and not line.endswith(b"\n"):
                line = stream.readline(_PIECE)
            yield RawRow(number, reason=f"the line is longer than {_row_bytes(limits)}")
        elif may_span and _opens_object(line):
            lines = [line, *_rest_of_object(stream, most)]
            yield from _over_lines(lines, number, limits)
            number += len(lines) - 1
        elif not line.isspace():
            yield _parsed(number, line, limits)
        else:
            empty += 1
            # looking ahead copies the buffer, so it has to pay
            if empty % _MANY_EMPTY == 0:
                number += _skip_empty_lines(stream)
                check_row_count(number, limits)


def _skip_empty_lines(stream: io.BufferedReader) -> int:
    """Skip what there is of further empty lines in the buffer; return how many they are."""
    ahead = stream.peek()
    blank = len(ahead) - len(ahead.lstrip())
    lines = stream.read(ahead.rfind(b"\n", 0, blank) + 1)
    return lines.count(b"\n")


def _row_bytes(limits: Limits) -> str:
    return f"{limits.row_bytes} bytes ({setting_of('row_bytes')})"


def _opens_object(line: bytes) -> bool:
    """Return whether a line begins an object that goes on in the next one."""
    text = line.strip()
    return text.startswith(b"{") and text.endswith((b"{", b"[", b","))


def _rest_of_object(stream: io.BufferedReader, most: int) -> Iterator[bytes]:
    """Yield further lines, up to the first that closes an object at the margin."""
    size = 0
    while size <= most and (line := stream.readline(most + 1)):
        size += len(line)
        yield line
        if line.rstrip() == b"}":
            return


def _over_lines(lines: Sequence[bytes], number: int, limits: Limits) -> Iterator[RawRow]:
    """Yield an object that was written over several lines, or each line if they are none."""
    text = b"".join(lines)
    row = _unlimited(number, text)
    if row.reason is None:
        yield within_limits(row, len(text), limits)
    else:
        for at, line in enumerate(lines):
            if not line.isspace():
                yield _parsed(number + at, line, limits)


class _Objects:
    """Makes objects of their fields, and notes a field that is named twice with two values."""

    def __init__(self) -> None:
        self.doubled = ""

    def made(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        """Return the object of these fields."""
        found = dict(pairs)
        if len(found) < len(pairs):
            first: dict[str, Any] = {}
            for name, value in pairs:
                if first.setdefault(name, value) != value:
                    self.doubled = name
        return found

    def taken(self) -> str:
        """Return the reason against the row that was just read, and forget it."""
        name, self.doubled = self.doubled, ""
        return f"{shown(name)[1:-1]}: the object names this field twice" if name else ""


def _parsed(number: int, line: bytes, limits: Limits) -> RawRow:
    return within_limits(_unlimited(number, line), len(line), limits)


def _unlimited(number: int, line: bytes) -> RawRow:
    objects = _Objects()
    try:
        value = json.loads(line.decode("utf-8"), object_pairs_hook=objects.made)
    except UnicodeDecodeError as error:
        where = f"byte {error.start + 1} of the line"
        return RawRow(number, reason=f"not UTF-8: {where}; save the file as UTF-8")
    except json.JSONDecodeError as error:
        # an array whose brackets were taken away
        if line.rstrip().endswith(b"},"):
            row = _unlimited(number, line.rstrip()[:-1])
            if row.reason is None:
                return row
        why = _why_not_json(number, line.strip(), error)
        return RawRow(number, reason=f"not JSON: {error.msg} at character {error.pos + 1}{why}")
    except RecursionError:
        return RawRow(number, reason="not JSON that can be read: nested too deeply")
    except ValueError as error:
        return RawRow(number, reason=f"not JSON that can be read: {error}")
    reason = objects.taken()
    return RawRow(number, reason=reason) if reason else RawRow(number, value=value)


def _why_not_json(number: int, line: bytes, error: json.JSONDecodeError) -> str:
    """Return what a line that is not JSON may be, as far as it can be told."""
    if b"\r" in line:
        return "; its lines end with CR alone: save it with LF"
    if line.startswith((b"{'", b"[{'")):
        return _OF_PYTHON
    if error.msg == "Extra data" and error.doc[error.pos :].lstrip(" ,;").startswith("{"):
        return "; the line holds several objects: write one a line"
    if number == 1 and line[:1] not in (b"{", b"[", b'"'):
        return "; a table has to be called .csv or .tsv (media type text/csv)"
    return ""


def _elements(stream: io.BufferedReader, limits: Limits) -> Iterator[RawRow]:
    """Yield the elements of a JSON array, numbered from 1, with one element in memory."""
    window = _Window(stream, limits)
    window.take("[")
    number = 1
    is_open = window.next_character() != "]"
    while is_open:
        value, size = window.value(number)
        reason = window.objects.taken()
        row = RawRow(number, reason=reason) if reason else RawRow(number, value)
        yield within_limits(row, size, limits)
        is_open = window.next_character() == ","
        if is_open:
            window.take(",")
            is_open = window.next_character() != "]"
        number += 1
    window.finish()


class _Window:
    """The part of a JSON array that is in memory.

    ijson reads an array as fast (0.8 to 1.3 times the CPU time), but it turns lone surrogates into
    "?", refuses NaN and long integers, and has no limit on an element.
    """

    def __init__(self, stream: io.BufferedReader, limits: Limits) -> None:
        self._stream = stream
        self._limits = limits
        self._decode = codecs.getincrementaldecoder("utf-8")().decode
        self.objects = _Objects()
        self._parse = json.JSONDecoder(object_pairs_hook=self.objects.made).raw_decode
        self._text = ""
        self._at = 0

    def next_character(self) -> str:
        """Return the next character that is no white space, without taking it; "" at the end."""
        while True:
            found = _WHITE_SPACE.match(self._text, self._at)
            self._at = found.end() if found else self._at
            if self._at < len(self._text):
                return self._text[self._at]
            if not self._read(_WINDOW):
                return ""

    def take(self, wanted: str) -> None:
        """Take one character that must be there."""
        if self.next_character() != wanted:
            raise BadRequest(f"the body is not a JSON array: {wanted!r} is missing")
        self._at += 1

    def finish(self) -> None:
        """Take the end of the array; nothing may follow."""
        self.take("]")
        if self.next_character():
            raise BadRequest("the body is not a JSON array: something follows its end")

    def value(self, number: int) -> tuple[Any, int]:
        """Take one value, and its length; read more of the body until it is complete."""
        self.next_character()
        while True:
            self.objects.doubled = ""
            try:
                value, end = self._parse(self._text, self._at)
            except json.JSONDecodeError as error:
                is_python = self._text.startswith("{'", self._at)
                fault = error.msg + (_OF_PYTHON if is_python else "")
            except (ValueError, RecursionError) as error:
                raise BadRequest(f"element {number} cannot be read: {error}") from error
            else:
                if not self._may_go_on(value, end):
                    length, self._at = end - self._at, end
                    return value, length
                length = end - self._at
                if self._read(_WINDOW):
                    continue
                self._at = length
                return value, length
            # doubling keeps the work of starting over linear in the size of the element
            if not self._read(max(_WINDOW, len(self._text) - self._at)):
                raise BadRequest(f"element {number} of the array is not JSON: {fault}")

    def _may_go_on(self, value: Any, end: int) -> bool:
        """Return whether a number may continue after the text read so far."""
        rest = self._text[end : end + 1]
        return (rest not in _AFTER_A_VALUE and isinstance(value, int | float)) or not rest

    def _read(self, size: int) -> bool:
        """Read on; False at the end of the body."""
        self._text, self._at = self._text[self._at :], 0
        if len(self._text) > self._limits.row_bytes:
            most = _row_bytes(self._limits)
            raise BadRequest(f"an element is longer than {most}, or is not JSON")
        piece = self._stream.read(size)
        try:
            self._text += self._decode(piece, final=not piece)
        except UnicodeDecodeError as error:
            raise BadRequest("the file is not UTF-8: save it as UTF-8") from error
        return bool(piece)
