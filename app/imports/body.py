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

from app.core.errors import BadRequest
from app.core.limits import Limits, check_row_count, setting_of
from app.imports.tables import (
    RawRow,
    csv_rows,
    is_csv,
    is_parquet,
    parquet_rows,
    within_limits,
)
from app.imports.upload import UploadedFile, buffered, gzip_faults, on_disk, unpacked

_PIECE: Final = 2**16
_MANY_EMPTY: Final = 1_000
_WINDOW: Final = 2**16
_AFTER_A_VALUE: Final = " \t\r\n,]"
_LINES_TYPES: Final = frozenset(
    {"application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"}
)
_WHITE_SPACE: Final = re.compile(r"[ \t\r\n]*")


def rows_of(files: Sequence[UploadedFile], folder: Path | None = None) -> Generator[RawRow]:
    """Yield the rows of an upload, file after file.

    Args:
        files: What was uploaded; the files stay open.
        folder: Where copies of packed tables go.

    Raises:
        BadRequest: there is no file, or one cannot be read: broken gzip, JSON array or table.
        TooLarge: there is more than allowed; the error names the setting.
    """
    if not files:
        raise BadRequest("the multipart body has no file")
    with gzip_faults(), ExitStack() as opened:
        before = 0
        for file in files:
            last = 0
            for row in _rows(file, folder, opened):
                last = row.line
                check_row_count(before + last, file.meter.limits)
                named = replace(row, file=file.name, is_one_of_several=len(files) > 1)
                yield replace(named, number=before + row.line) if before else named
            before += last


def _rows(file: UploadedFile, folder: Path | None, opened: ExitStack) -> Iterator[RawRow]:
    meter = file.meter
    stream = unpacked(buffered(file.content, opened), opened, meter)
    if is_parquet(file.media_type, file.name, stream.peek(4)[:4]):
        return parquet_rows(on_disk(stream, folder, opened), meter)
    if is_csv(file.media_type, file.name):
        return csv_rows(stream, meter.limits)
    if stream.peek(3)[:3] == codecs.BOM_UTF8:
        stream.read(3)
    if file.media_type not in _LINES_TYPES and stream.peek(_PIECE).lstrip()[:1] == b"[":
        return _elements(stream, meter.limits)
    return _lines(stream, meter.limits)


def _lines(stream: io.BufferedReader, limits: Limits) -> Iterator[RawRow]:
    number = empty = 0
    most = limits.row_bytes
    while line := stream.readline(most + 1):
        number += 1
        if len(line) > most:
            while line and not line.endswith(b"\n"):
                line = stream.readline(_PIECE)
            yield RawRow(number, reason=f"the line is longer than {_row_bytes(limits)}")
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


def _parsed(number: int, line: bytes, limits: Limits) -> RawRow:
    try:
        return within_limits(RawRow(number, json.loads(line.decode("utf-8"))), len(line), limits)
    except UnicodeDecodeError as error:
        return RawRow(number, reason=f"not UTF-8: byte {error.start + 1} of the line")
    except json.JSONDecodeError as error:
        return RawRow(number, reason=f"not JSON: {error.msg} at character {error.pos + 1}")
    except RecursionError:
        return RawRow(number, reason="not JSON that can be read: nested too deeply")
    except ValueError as error:
        return RawRow(number, reason=f"not JSON that can be read: {error}")


def _elements(stream: io.BufferedReader, limits: Limits) -> Iterator[RawRow]:
    """Yield the elements of a JSON array, numbered from 1, with one element in memory."""
    window = _Window(stream, limits)
    window.take("[")
    number = 1
    is_open = window.next_character() != "]"
    while is_open:
        value, size = window.value(number)
        yield within_limits(RawRow(number, value), size, limits)
        is_open = window.next_character() == ","
        if is_open:
            window.take(",")
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
        self._parse = json.JSONDecoder().raw_decode
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
            try:
                value, end = self._parse(self._text, self._at)
            except json.JSONDecodeError as error:
                fault = error.msg
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
            raise BadRequest("the body is not UTF-8") from error
        return bool(piece)
