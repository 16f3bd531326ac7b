"""What a request uploads: one file as its body, or a form of files and fields, kept on disk.

The folders for that are locked while they are used, so that what killed processes left is told from
what is in use, and removed.
"""

from __future__ import annotations

import asyncio
import fcntl
import gzip
import io
import logging
import os
import shutil
import tempfile
import time
import zlib
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import ExitStack, aclosing, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from dataclasses import field as dataclass_field
from email.message import Message
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from app.core.errors import BadRequest
from app.core.inert import printable
from app.core.limits import Limits, Meter

_log = logging.getLogger(__name__)
FORM_TYPE: Final = "multipart/form-data"
_MOST_FILES: Final = 1_000
_MOST_FIELDS: Final = 32
_MOST_FIELD_BYTES: Final = 2**16
_PIECE: Final = 2**20
_GZIP_MAGIC: Final = b"\x1f\x8b"
_FOLDER_PREFIX: Final = "tribunal-upload-"
_LOCK_TRIES: Final = 20
_LOCK_PAUSE_SECONDS: Final = 0.002


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """One file, open at its start; what the sender does not say of it is empty.

    `field` is its field of the form. `meter` counts what comes out of all files of one upload.
    """

    content: BinaryIO
    media_type: str = ""
    name: str = ""
    field: str = ""
    meter: Meter = dataclass_field(default_factory=Meter)


@dataclass(frozen=True, slots=True)
class Uploaded:
    """The files and the text fields of a request."""

    files: list[UploadedFile] = dataclass_field(default_factory=list)
    fields: dict[str, str] = dataclass_field(default_factory=dict)


def media_type_of(headers: Headers) -> str:
    """Return the media type of a request's body, without parameters and in lower case."""
    return _media_type(headers.get("content-type") or "application/octet-stream")


@asynccontextmanager
async def received(
    request: Request,
    folder: Path | None,
    *,
    limits: Limits | None = None,
    most_files: int = _MOST_FILES,
) -> AsyncIterator[Uploaded]:
    """Read the body of a request to disk; its files stay open until the end of the context.

    A body that is no form is one file. Either may be packed with gzip as a whole.

    Args:
        request: Whose body.
        folder: Where the files go; None = where temporary files go.
        limits: On what it may unpack to.
        most_files: Of a form.

    Raises:
        BadRequest: the body ends early, its encoding is not read here, or its form is broken or
            holds too much.
        TooLarge: it unpacks to more than allowed.
    """
    headers = request.headers
    encoding = headers.get("content-encoding", "").strip().lower()
    if encoding not in ("", "identity", "gzip", "x-gzip"):
        raise BadRequest("Content-Encoding: only gzip is read")
    async with _spooled(request, folder) as body:
        with ExitStack() as opened:
            meter = Meter(limits or Limits(), packed=os.fstat(body.fileno()).st_size)
            plain = unpacked(buffered(body, opened), opened, meter)
            if encoding.endswith("gzip") and not _is_packed(plain):
                raise BadRequest("Content-Encoding says gzip, but the body is not")
            media_type = media_type_of(headers)
            if media_type == FORM_TYPE:
                place = _Place(folder, opened, meter)
                yield await _form(plain, headers, place, most_files)
            else:
                name = _base_name(headers.get("content-disposition", ""))
                file = UploadedFile(cast(BinaryIO, plain), media_type, name, meter=meter)
                yield Uploaded([file])


@contextmanager
def gzip_faults() -> Iterator[None]:
    """Turn errors of reading gzip into a BadRequest that names gzip.

    Raises:
        BadRequest: the gzip stream is broken or ends early.
    """
    try:
        yield
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise BadRequest(f"the gzip stream is broken: {error}") from error


def buffered(file: BinaryIO, opened: ExitStack) -> io.BufferedReader:
    """Return a reader that can look ahead; the file stays open when the stack closes."""
    reader: io.BufferedReader = io.BufferedReader(cast(io.RawIOBase, file), _PIECE)
    opened.callback(reader.detach)
    return reader


def unpacked(
    stream: io.BufferedReader, opened: ExitStack, meter: Meter | None = None
) -> io.BufferedReader:
    """Return the stream, or its unpacked content where it starts like gzip, counted by `meter`."""
    if stream.peek(2)[:2] != _GZIP_MAGIC:
        return stream
    plain = _Unpacked(gzip.GzipFile(fileobj=stream), meter or Meter())
    return opened.enter_context(io.BufferedReader(plain, _PIECE))


class _Unpacked(io.RawIOBase):
    """What comes out of a gzip stream, counted."""

    def __init__(self, packed: gzip.GzipFile, meter: Meter) -> None:
        self._packed, self._meter = packed, meter

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._packed.seek(offset, whence)

    def tell(self) -> int:
        return self._packed.tell()

    def readinto(self, buffer: Any) -> int:
        size = self._packed.readinto(buffer)
        self._meter.count(size)
        return size

    def close(self) -> None:
        self._packed.close()
        super().close()


def on_disk(stream: io.BufferedReader, folder: Path | None, opened: ExitStack) -> io.BufferedReader:
    """Return the stream if seeking in it is cheap, else a copy of it on disk."""
    if not _is_packed(stream):
        return stream
    copy = _Place(folder, opened, Meter()).file()
    shutil.copyfileobj(stream, copy, _PIECE)
    copy.seek(0)
    return cast(io.BufferedReader, copy)


def _is_packed(stream: io.BufferedReader) -> bool:
    return isinstance(stream.raw, _Unpacked)


@contextmanager
def upload_folder(parent: Path | None) -> Iterator[Path]:
    """Make a folder that is locked as long as its process uses it, and removed afterwards.

    Args:
        parent: Where; None = where temporary files go.
    """
    place = Path(parent or tempfile.gettempdir())
    with _locked(place):
        folder = tempfile.TemporaryDirectory(
            prefix=_FOLDER_PREFIX, dir=place, ignore_cleanup_errors=True
        )
        lock = _lock(Path(folder.name))
    with folder as name:
        try:
            yield Path(name)
        finally:
            if lock is not None:
                os.close(lock)


def remove_left_over(parent: Path | None) -> int:
    """Remove the folders whose processes have ended; return how many there were.

    The system releases a lock when its process ends, however it ends and in whatever container.
    """
    place, removed = Path(parent or tempfile.gettempdir()), 0
    with _locked(place):
        for folder in place.glob(f"{_FOLDER_PREFIX}*"):
            lock = _lock(folder)
            if lock is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(lock)
                removed += 1
    if removed:
        _log.info("removed %d folders that killed imports left in %s", removed, place)
    return removed


@contextmanager
def _locked(place: Path) -> Iterator[None]:
    """Keep others from looking between the making of a folder and its lock.

    That takes no time: who holds the lock for longer, in a folder of all users, is not waited for.
    """
    lock = _lock(place)
    for _ in range(_LOCK_TRIES):
        if lock is not None:
            break
        time.sleep(_LOCK_PAUSE_SECONDS)
        lock = _lock(place)
    try:
        yield
    finally:
        if lock is not None:
            os.close(lock)


def _lock(folder: Path) -> int | None:
    """Lock a folder; None where another process has it, or its file system knows no locks."""
    try:
        file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        with suppress(OSError):
            os.close(file)
        return None
    return file


@dataclass(frozen=True, slots=True)
class _Place:
    """Makes unnamed files in a folder; the stack closes them."""

    folder: Path | None
    opened: ExitStack
    meter: Meter

    def file(self) -> BinaryIO:
        file = tempfile.TemporaryFile(dir=self.folder)  # noqa: SIM115  # the stack closes it
        return cast(BinaryIO, self.opened.enter_context(file))


@asynccontextmanager
async def _spooled(request: Request, folder: Path | None) -> AsyncIterator[BinaryIO]:
    with tempfile.TemporaryFile(dir=folder) as file:
        buffer = bytearray()
        try:
            async for piece in request.stream():
                buffer += piece
                if len(buffer) >= _PIECE:
                    await asyncio.to_thread(file.write, bytes(buffer))
                    buffer.clear()
        except ClientDisconnect as error:
            raise BadRequest("the body ended early") from error
        file.write(buffer)
        file.seek(0)
        yield cast(BinaryIO, file)


async def _form(
    body: io.BufferedReader, headers: Headers, place: _Place, most_files: int
) -> Uploaded:
    async with aclosing(_pieces(body)) as pieces:
        parser = _FormParser(headers, pieces, place, most_files)
        try:
            with gzip_faults():
                items = (await parser.parse()).multi_items()
        except MultiPartException as error:
            raise BadRequest(f"the multipart body cannot be read: {error.message}") from error
    if not parser.has_ended:
        raise BadRequest("the multipart body ends early")
    uploaded = Uploaded()
    for name, value in items:
        if isinstance(value, UploadFile):
            uploaded.files.append(_file_of(name, value, place.meter))
        else:
            uploaded.fields[name] = value
    return uploaded


async def _pieces(body: io.BufferedReader) -> AsyncGenerator[bytes]:
    while piece := await asyncio.to_thread(body.read, _PIECE):
        yield piece


def _file_of(name: str, part: UploadFile, meter: Meter) -> UploadedFile:
    media_type = _media_type(part.content_type) if part.content_type else ""
    filename = _without_folder(part.filename or "")
    return UploadedFile(part.file, media_type, filename, name, meter)


class _FormParser(MultiPartParser):
    """Starlette's parser, which neither takes a folder for its files nor notices a missing end."""

    def __init__(
        self, headers: Headers, pieces: AsyncGenerator[bytes], place: _Place, most_files: int
    ) -> None:
        super().__init__(
            headers,
            pieces,
            max_files=most_files,
            max_fields=_MOST_FIELDS,
            max_part_size=_MOST_FIELD_BYTES,
        )
        self.has_ended = False
        self._place = place

    def on_headers_finished(self) -> None:
        super().on_headers_finished()
        part = self._current_part.file
        if part is not None:
            part.file.close()
            part.file = self._place.file()

    def on_end(self) -> None:
        self.has_ended = True


def _media_type(content_type: str) -> str:
    message = Message()
    message["content-type"] = _one_line(content_type)
    return message.get_content_type()


def _base_name(disposition: str) -> str:
    message = Message()
    message["content-disposition"] = _one_line(disposition or "attachment")
    return _without_folder(message.get_filename() or "")


def _one_line(header: str) -> str:
    return header.replace("\r", " ").replace("\n", " ")


def _without_folder(name: str) -> str:
    return printable(name.replace("\\", "/").rsplit("/", 1)[-1])
