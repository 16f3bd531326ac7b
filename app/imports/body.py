"""The rows of an uploaded body, one at a time: NDJSON, JSON array, table, several files, gzip.

Nothing here holds more than one row: what is large is read in pieces.
"""

from __future__ import annotations

import codecs
import gzip
import io
import json
import re
import zlib
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from email.message import Message
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from python_multipart.exceptions import FormParserError

from app.core.errors import BadRequest
from app.imports.tables import RawRow, csv_rows, is_csv, is_parquet, parquet_rows
from app.imports.upload import UploadedFile, file_name, seekable, split, unpacked

__all__ = ["BodyKind", "RawRow", "kind_of", "rows_of"]

MAX_ROW_BYTES: Final = 64 * 2**20
_PIECE: Final = 2**16
_WINDOW: Final = 2**16
_AFTER_A_VALUE: Final = " \t\r\n,]"
_LINES_TYPES: Final = frozenset(
    {"application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"}
)
_WHITE_SPACE: Final = re.compile(r"[ \t\r\n]*")


@dataclass(frozen=True, slots=True)
class BodyKind:
    """What the headers say of a body."""

    media_type: str = ""
    boundary: str = ""
    encoding: str = ""
    file: str = ""


def kind_of(content_type: str, content_encoding: str, disposition: str = "") -> BodyKind:
    """Read the headers; the disposition may name the file.

    Raises:
        BadRequest: the encoding is none that is read here, or a boundary is missing.
    """
    message = Message()
    message["content-type"] = content_type or "application/octet-stream"
    media_type = message.get_content_type()
    boundary = str(message.get_param("boundary", ""))
    if media_type == "multipart/form-data" and not boundary:
        raise BadRequest("Content-Type: multipart/form-data without a boundary")
    encoding = content_encoding.strip().lower()
    if encoding not in ("", "identity", "gzip", "x-gzip"):
        raise BadRequest("Content-Encoding: only gzip is read")
    return BodyKind(media_type, boundary, encoding, file_name(disposition))


def rows_of(spool: BinaryIO, kind: BodyKind, folder: Path | None = None) -> Generator[RawRow]:
    """Yield the rows of a body, file after file where it holds several.

    Args:
        spool: The body, from its start; it stays open.
        kind: What its headers say.
        folder: Where parts of it may lie meanwhile.

    Raises:
        BadRequest: the body as a whole cannot be read: broken gzip, multipart, JSON array or table.
    """
    try:
        with ExitStack() as opened:
            files = _files(spool, kind, folder, opened)
            before = 0
            for file in files:
                last = 0
                for row in _rows(file, folder, opened):
                    last = row.line
                    named = replace(row, file=file.name, is_one_of_several=len(files) > 1)
                    yield replace(named, number=before + row.line) if before else named
                before += last
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise BadRequest(f"the gzip stream is broken: {error}") from error
    except FormParserError as error:
        raise BadRequest(f"the multipart body is broken: {error}") from error


def _files(
    spool: BinaryIO, kind: BodyKind, folder: Path | None, opened: ExitStack
) -> list[UploadedFile]:
    plain: io.BufferedReader = io.BufferedReader(cast(io.RawIOBase, spool), _PIECE)
    opened.callback(plain.detach)  # the spool stays open
    outer = unpacked(plain, opened)
    if kind.encoding.endswith("gzip") and outer is plain:
        raise BadRequest("Content-Encoding says gzip, but the body is not")
    if kind.media_type == "multipart/form-data":
        return split(outer, kind.boundary, folder, opened)
    return [UploadedFile(kind.file, kind.media_type, outer)]


def _rows(file: UploadedFile, folder: Path | None, opened: ExitStack) -> Iterator[RawRow]:
    stream = unpacked(file.content, opened)
    if is_parquet(file.media_type, file.name, stream.peek(4)[:4]):
        return parquet_rows(seekable(stream, folder, opened))
    if is_csv(file.media_type, file.name):
        return csv_rows(stream)
    if stream.peek(3)[:3] == codecs.BOM_UTF8:
        stream.read(3)
    if file.media_type not in _LINES_TYPES and stream.peek(_PIECE).lstrip()[:1] == b"[":
        return _elements(stream)
    return _lines(stream)


def _lines(stream: io.BufferedReader) -> Iterator[RawRow]:
    number = 0
    while line := stream.readline(MAX_ROW_BYTES + 1):
        number += 1
        if len(line) > MAX_ROW_BYTES:
            while line and not line.endswith(b"\n"):
                line = stream.readline(_PIECE)
            yield RawRow(number, reason=f"the line is longer than {MAX_ROW_BYTES} bytes")
        elif not line.isspace():
            yield _parsed(number, line)


def _parsed(number: int, line: bytes) -> RawRow:
    try:
        return RawRow(number, value=json.loads(line.decode("utf-8")))
    except UnicodeDecodeError as error:
        return RawRow(number, reason=f"not UTF-8: byte {error.start + 1} of the line")
    except json.JSONDecodeError as error:
        return RawRow(number, reason=f"not JSON: {error.msg} at character {error.pos + 1}")
    except RecursionError:
        return RawRow(number, reason="not JSON that can be read: nested too deeply")
    except ValueError as error:
        return RawRow(number, reason=f"not JSON that can be read: {error}")


def _elements(stream: io.BufferedReader) -> Iterator[RawRow]:
    """Yield the elements of a JSON array, numbered from 1, with one element in memory."""
    window = _Window(stream)
    window.take("[")
    number = 1
    is_open = window.next_character() != "]"
    while is_open:
        yield RawRow(number, value=window.value(number))
        is_open = window.next_character() == ","
        if is_open:
            window.take(",")
        number += 1
    window.finish()


class _Window:
    """The part of a JSON text that is being read."""

    def __init__(self, stream: io.BufferedReader) -> None:
        self._stream = stream
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

    def value(self, number: int) -> Any:
        """Take one value, reading on until it is whole."""
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
                    self._at = end
                    return value
                length = end - self._at
                if self._read(_WINDOW):
                    continue
                self._at = length
                return value
            # doubling keeps the work of starting over linear in the size of the element
            if not self._read(max(_WINDOW, len(self._text) - self._at)):
                raise BadRequest(f"element {number} of the array is not JSON: {fault}")

    def _may_go_on(self, value: Any, end: int) -> bool:
        """Whether the text that was read may hold only the first digits of a number."""
        rest = self._text[end : end + 1]
        return (rest not in _AFTER_A_VALUE and isinstance(value, int | float)) or not rest

    def _read(self, size: int) -> bool:
        """Read on; False at the end of the body."""
        self._text, self._at = self._text[self._at :], 0
        if len(self._text) > MAX_ROW_BYTES:
            raise BadRequest(f"an element is longer than {MAX_ROW_BYTES} bytes, or is not JSON")
        piece = self._stream.read(size)
        try:
            self._text += self._decode(piece, final=not piece)
        except UnicodeDecodeError as error:
            raise BadRequest("the body is not UTF-8") from error
        return bool(piece)
