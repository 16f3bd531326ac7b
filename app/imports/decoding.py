"""Looks at a file before its rows: its encoding, and what it may be that is not read here."""

from __future__ import annotations

import codecs
import io
from contextlib import ExitStack
from typing import Any, Final, cast

from app.core.errors import BadRequest

_PIECE: Final = 2**16
_BOMS: Final = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# what files of other kinds begin with, and what to do with them
_OTHERS: Final = (
    (b"PK\x03\x04", "an Excel workbook or a zip archive: save the table as CSV, or unpack it"),
    (b"\xd0\xcf\x11\xe0", "an Excel workbook of an old version: save the table as CSV"),
    (b"\x1f\x8b", "packed with gzip twice: unpack it once"),
    (b"\x28\xb5\x2f\xfd", "packed with zstd: unpack it, or pack it with gzip"),
    (b"BZh", "packed with bzip2: unpack it, or pack it with gzip"),
    (b"\xfd7zXZ\x00", "packed with xz: unpack it, or pack it with gzip"),
    (b"7z\xbc\xaf", "a 7z archive: unpack it, or pack the file with gzip"),
    (b"ARROW1", "an Arrow or Feather file: write it as Parquet"),
    (b"SQLite format 3", "a SQLite database: write the table as CSV"),
    (b"%PDF", "a PDF"),
    (b"FEA1", "an Arrow or Feather file: write it as Parquet"),
    (b"ORC", "an ORC file: write it as Parquet"),
    (b"Obj\x01", "an Avro file: write it as Parquet"),
    (b"\x80\x04\x95", "a pickle of Python: write JSON lines, CSV or Parquet"),
    (b"\x80\x05\x95", "a pickle of Python: write JSON lines, CSV or Parquet"),
    (b"<table", "a table in HTML: save it as CSV"),
    (b"<!DOCTYPE", "a web page: download the file itself"),
    (b"<!doctype", "a web page: download the file itself"),
    (b"<html", "a web page: download the file itself"),
    (b"<?xml", "XML: save it as JSON lines or CSV"),
    (b"{\\rtf", "a text document (RTF): save the rows as JSON lines or CSV"),
    (b"\x93NUMPY", "an array of NumPy: write it as Parquet"),
    (b"\x89HDF", "an HDF5 file: write it as Parquet"),
    (b"version https://git-lfs", "a pointer to a file in Git LFS: fetch the file itself"),
)


# what the header of a tar archive has, and where
_TAR: Final = b"ustar"
_TAR_AT: Final = 257


def text_of(stream: io.BufferedReader, opened: ExitStack) -> io.BufferedReader:
    """Return the stream in UTF-8 without a byte order mark.

    Raises:
        BadRequest: the file is of a kind that is not read here.
    """
    begins = stream.peek(_PIECE)
    kind = next((kind for sign, kind in _OTHERS if begins.startswith(sign)), None)
    if begins[_TAR_AT : _TAR_AT + len(_TAR)] == _TAR:
        kind = "a tar archive: unpack it"
    if kind is not None:
        raise BadRequest(f"the file is {kind}")
    encoding = _encoding(begins)
    if encoding is not None:
        recoded = _Recoded(stream, encoding)
        return opened.enter_context(io.BufferedReader(cast(io.RawIOBase, recoded), _PIECE))
    if begins.startswith(codecs.BOM_UTF8):
        stream.read(len(codecs.BOM_UTF8))
    return stream


def _encoding(begins: bytes) -> str | None:
    """Return the encoding of a text in UTF-16 or UTF-32, with a byte order mark or without."""
    marked = next((name for sign, name in _BOMS if begins.startswith(sign)), None)
    if marked is not None or len(begins) < 4:  # two characters
        return marked
    is_nul = [byte == 0 for byte in begins[:4]]
    if is_nul == [False, True, False, True]:
        return "utf-16-le"
    return "utf-16-be" if is_nul == [True, False, True, False] else None


class _Recoded(io.RawIOBase):
    """A stream of text in another encoding, as UTF-8."""

    def __init__(self, stream: io.BufferedReader, encoding: str) -> None:
        self._stream = stream
        self._name = encoding.upper()[:6]
        self._decode = codecs.getincrementaldecoder(encoding)().decode
        self._rest = b""
        self._is_over = False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest and not self._is_over:
            piece = self._stream.read(_PIECE)
            self._is_over = not piece
            self._rest = self._encoded(piece)
        size = min(len(buffer), len(self._rest))
        buffer[:size] = self._rest[:size]
        self._rest = self._rest[size:]
        return size

    def _encoded(self, piece: bytes) -> bytes:
        try:
            return self._decode(piece, final=not piece).encode("utf-8")
        except UnicodeError as error:
            raise BadRequest(
                f"the file begins like {self._name} but is not: save it as UTF-8"
            ) from error
