"""A form with one file, read as it comes: the file goes to disk, the fields stay in memory."""

from __future__ import annotations

import asyncio
import hashlib
import json
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, cast

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from app.core.errors import BadRequest
from app.core.names import MAX_LENGTH, printable
from app.imports.body import BodyKind, kind_of

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

_PIECE: Final = 2**20
_MOST_FIELD_BYTES: Final = 2**16
_MEDIA_TYPE: Final = "multipart/form-data"


@dataclass(slots=True)
class Form:
    """What a form held: `content` is None where it had no file."""

    fields: dict[str, str] = field(default_factory=dict)
    filename: str = ""
    content: BinaryIO | None = None
    size: int = 0
    content_hash: str = ""

    def hash(self) -> str:
        """Return a hash of all of it; the boundary between its parts does not enter."""
        parts = [self.fields, self.filename, self.content_hash]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode("ascii")).hexdigest()


@asynccontextmanager
async def received(request: Request, folder: Path | None) -> AsyncIterator[Form]:
    """Read the form of a request; its file lies on disk until the end of the context.

    Raises:
        BadRequest: the body is broken, ends early, or holds several files.
        HTTPException: 415, the body is no form.
    """
    kind = _kind(request)
    with tempfile.TemporaryFile(dir=folder) as file:
        reader = _Reader(kind.boundary, cast(BinaryIO, file))
        buffer = bytearray()
        try:
            async for piece in request.stream():
                buffer += piece
                if len(buffer) >= _PIECE:
                    await asyncio.to_thread(reader.write, bytes(buffer))
                    buffer.clear()
        except ClientDisconnect as error:
            raise BadRequest("the body ended early") from error
        await asyncio.to_thread(reader.write, bytes(buffer))
        yield reader.finished()


def _kind(request: Request) -> BodyKind:
    kind = kind_of(request.headers.get("content-type", ""), "")
    if kind.media_type != _MEDIA_TYPE:
        raise HTTPException(415, f"Content-Type: send {_MEDIA_TYPE} with purpose and file")
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise BadRequest("Content-Encoding: send the form as it is")
    return kind


class _Reader:
    """Takes the bytes of a form as they come."""

    def __init__(self, boundary: str, file: BinaryIO) -> None:
        self._form = Form()
        self._file = file
        self._digest = hashlib.sha256()
        self._header = [bytearray(), bytearray()]
        self._name: str | None = None
        self._value = bytearray()
        self._is_file = False
        self._has_ended = False
        try:
            self._parser = MultipartParser(boundary, self._callbacks())
        except FormParserError as error:
            raise BadRequest(f"the multipart body is broken: {error}") from error

    def write(self, data: bytes) -> None:
        """Read on."""
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise BadRequest(f"the multipart body is broken: {error}") from error

    def finished(self) -> Form:
        """Return the form; nothing may be missing of it."""
        if not self._has_ended:
            raise BadRequest("the multipart body ends early")
        self._form.content_hash = self._digest.hexdigest()
        self._file.seek(0)
        return self._form

    def _callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._add(0, data[start:end]),
            "on_header_value": lambda data, start, end: self._add(1, data[start:end]),
            "on_header_end": self._end_header,
            "on_part_data": self._data,
            "on_part_end": self._end_part,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        self._name, self._is_file = None, False
        self._value.clear()

    def _add(self, index: int, data: bytes) -> None:
        self._header[index] += data

    def _end_header(self) -> None:
        field_name, value = bytes(self._header[0]).lower(), bytes(self._header[1])
        self._header = [bytearray(), bytearray()]
        if field_name != b"content-disposition":
            return
        _, options = parse_options_header(value)
        self._name = _text(options.get(b"name", b""))
        if b"filename" in options or self._name == "file":
            self._begin_file(_text(options.get(b"filename", b"")))

    def _begin_file(self, filename: str) -> None:
        if self._name != "file":
            raise BadRequest("the file of the form must be named file")
        if self._form.content is not None:
            raise BadRequest("the form has several files; send one at a time")
        self._form.content = self._file
        self._form.filename = printable(filename)[:MAX_LENGTH]
        self._is_file = True

    def _data(self, data: bytes, start: int, end: int) -> None:
        if not self._is_file:
            self._value += data[start:end]
            if len(self._value) > _MOST_FIELD_BYTES:
                raise BadRequest(f"a field of the form has more than {_MOST_FIELD_BYTES} bytes")
            return
        piece = data[start:end]
        self._file.write(piece)
        self._digest.update(piece)
        self._form.size += len(piece)

    def _end_part(self) -> None:
        if self._name is None:
            raise BadRequest("a part of the form has no name")
        if not self._is_file:
            self._form.fields[self._name] = _text(bytes(self._value))
            if len(self._form.fields) > 32:
                raise BadRequest("the form has more than 32 fields")

    def _end(self) -> None:
        self._has_ended = True


def _text(value: bytes) -> str:
    return value.decode("utf-8", "replace")
