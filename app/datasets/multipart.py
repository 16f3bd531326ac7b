"""The files of a multipart body, each on disk, and how a packed stream is unpacked."""

from __future__ import annotations

import gzip
import io
import shutil
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, cast

from python_multipart.multipart import MultipartParser

from app.errors import BadRequest
from app.identifiers import printable

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

_PART_BYTES: Final = 2**16
_GZIP_MAGIC: Final = b"\x1f\x8b"
_MOST_FILES: Final = 1_000
_MOST_HEADER_BYTES: Final = 2**14


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """One file: its name and media type, empty where they are not known, and its bytes."""

    name: str
    media_type: str
    content: io.BufferedReader


def file_name(disposition: str) -> str:
    """Return the name of the file in a `Content-Disposition`, without its folder, or ""."""
    message = Message()
    message["content-disposition"] = disposition or "attachment"
    name = message.get_filename() or ""
    return printable(name.replace("\\", "/").rsplit("/", 1)[-1])


def unpacked(stream: io.BufferedReader, opened: ExitStack) -> io.BufferedReader:
    """Return the stream, or what it holds packed where it begins like gzip."""
    if stream.peek(2)[:2] != _GZIP_MAGIC:
        return stream
    plain = gzip.GzipFile(fileobj=stream)
    return opened.enter_context(io.BufferedReader(cast(io.RawIOBase, plain), _PART_BYTES))


def seekable(
    stream: io.BufferedReader, folder: Path | None, opened: ExitStack
) -> io.BufferedReader:
    """Return the stream where one may jump in it cheaply, else a copy of it on disk."""
    if not isinstance(stream.raw, gzip.GzipFile):
        return stream
    copy = _temporary(folder, opened)
    shutil.copyfileobj(stream, copy, _PART_BYTES)
    return _from_start(copy)


def split(
    source: io.BufferedReader, boundary: str, folder: Path | None, opened: ExitStack
) -> list[UploadedFile]:
    """Write every file of a multipart body to disk; other fields are passed over.

    Raises:
        BadRequest: the body ends early, or has no file.
    """
    splitter = _Splitter(folder, opened)
    parser = MultipartParser(boundary, splitter.callbacks())
    while piece := source.read(_PART_BYTES):
        parser.write(piece)
    if not splitter.has_ended:
        raise BadRequest("the multipart body ends early")
    if not splitter.files:
        raise BadRequest("the multipart body has no file")
    return [
        UploadedFile(name, media_type, _from_start(file))
        for name, media_type, file in splitter.files
    ]


def _temporary(folder: Path | None, opened: ExitStack) -> BinaryIO:
    file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  # the stack closes it
    return cast(BinaryIO, opened.enter_context(file))


def _from_start(file: BinaryIO) -> io.BufferedReader:
    file.seek(0)
    return cast(io.BufferedReader, file)


class _Splitter:
    """Takes what the parser finds."""

    def __init__(self, folder: Path | None, opened: ExitStack) -> None:
        self.files: list[tuple[str, str, BinaryIO]] = []
        self.has_ended = False
        self._folder = folder
        self._opened = opened
        self._headers = Message()
        self._header = [bytearray(), bytearray()]
        self._target: BinaryIO | None = None

    def callbacks(self) -> MultipartCallbacks:
        """Return what the parser calls."""
        return {
            "on_part_begin": self._begin,
            "on_header_field": lambda data, start, end: self._add(0, data[start:end]),
            "on_header_value": lambda data, start, end: self._add(1, data[start:end]),
            "on_header_end": self._end_header,
            "on_headers_finished": self._end_headers,
            "on_part_data": self._data,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        self._headers, self._target = Message(), None

    def _add(self, index: int, data: bytes) -> None:
        self._header[index] += data
        if len(self._header[index]) > _MOST_HEADER_BYTES:
            raise BadRequest("the multipart body has a header that is too long")

    def _end_header(self) -> None:
        field, value = (bytes(part).decode("utf-8", "replace") for part in self._header)
        self._header = [bytearray(), bytearray()]
        if field.lower() in ("content-disposition", "content-type"):
            self._headers[field] = value.replace("\r", " ").replace("\n", " ")

    def _end_headers(self) -> None:
        disposition = self._headers.get("content-disposition", "")
        if "filename" not in disposition.lower():
            return
        if len(self.files) == _MOST_FILES:
            raise BadRequest(f"the multipart body has more than {_MOST_FILES} files")
        stated = "content-type" in self._headers
        media_type = self._headers.get_content_type() if stated else ""
        self._target = _temporary(self._folder, self._opened)
        self.files.append((file_name(disposition), media_type, self._target))

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._target is not None:
            self._target.write(data[start:end])

    def _end(self) -> None:
        self.has_ended = True
