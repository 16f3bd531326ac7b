"""Reads the lines of an uploaded file: requests become pairs, other lines are rejected."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final, TextIO

from app.core.names import MAX_LENGTH
from app.formats import openai_batch
from app.formats.base import RowInvalid
from app.formats.joining import Piece
from app.formats.registry import DIALECTS, OPENAI_BATCH
from app.imports.body import rows_of
from app.imports.reading import Read, Reader, stage
from app.imports.staging import Staging
from app.imports.tables import RawRow
from app.imports.upload import UploadedFile

PIECE_BYTES: Final = 2**20
LINES: Final = "application/x-ndjson"
# higher levels take several times as long and save a few per cent
_LEVEL: Final = 3


@dataclass(slots=True)
class LineReader(Reader):
    """Reads lines as requests, and writes all rejected lines to a file.

    `live` are the judges that are called: no score of theirs may be posted.
    """

    rejects: TextIO = field(kw_only=True)
    live: frozenset[str] = field(kw_only=True)

    def read_all(self, raw: RawRow) -> list[Read]:
        """Return the one row of a request.

        Raises:
            RowInvalid: the line is not a request; the reason names the field.
        """
        if isinstance(raw.value, dict):
            openai_batch.check_fields(raw.value)
        [read] = Reader.read_all(self, raw)
        parsed = read.row
        if isinstance(parsed, Piece) or parsed.pair is None:
            raise RowInvalid("prompt: is missing (or messages)")
        asked = next((name for name in parsed.recorded if name in self.live), None)
        if asked is not None:
            raise RowInvalid(
                f"judges.{asked}: this judge is asked live: a posted score cannot stand in for it"
            )
        return [read]

    def reject_row(self, raw: RawRow, reason: str) -> None:
        """Write a rejected line, with its `custom_id` if that can be read."""
        Reader.reject_row(self, raw, reason)
        self.rejects.write(json.dumps([raw.line, _custom_id(raw.value), reason]) + "\n")


def _custom_id(value: object) -> str | None:
    found = value.get("custom_id") if isinstance(value, dict) else None
    return found if isinstance(found, str) and len(found) <= MAX_LENGTH else None


@dataclass(frozen=True, slots=True)
class StagedFile:
    """A file that was read: its requests, rejected lines and compressed pieces, on disk."""

    staging: Staging
    reader: LineReader
    content_hash: str
    rejects: Path
    pieces: Path
    sizes: tuple[int, ...]

    def rejected(self, count: int) -> Iterator[list[dict[str, Any]]]:
        """Yield the rejected lines, `count` at a time."""
        chunk: list[dict[str, Any]] = []
        with self.rejects.open(encoding="ascii") as lines:
            for text in lines:
                chunk.append(
                    dict(zip(("line", "custom_id", "reason"), json.loads(text), strict=True))
                )
                if len(chunk) == count:
                    yield chunk
                    chunk = []
        if chunk:
            yield chunk

    def compressed(self) -> Iterator[bytes]:
        """Yield the compressed pieces of the content in order."""
        with self.pieces.open("rb") as file:
            for size in self.sizes:
                yield file.read(size)


def read_file(
    file: UploadedFile, staging: Staging, folder: Path, live: frozenset[str]
) -> StagedFile:
    """Read a whole file.

    Args:
        file: The file, open at its start.
        staging: Where its requests go.
        folder: Where everything else goes.
        live: The judges whose scores may not be posted.
    """
    rejects, pieces = folder / "rejects", folder / "pieces"
    with rejects.open("w", encoding="ascii") as lines:
        reader = LineReader(DIALECTS[OPENAI_BATCH], meter=file.meter, rejects=lines, live=live)
        stage(staging, reader, rows_of([file]))
    file.content.seek(0)
    sizes = _compress(file.content, pieces)
    return StagedFile(staging, reader, staging.content_hash(), rejects, pieces, sizes)


def _compress(content: BinaryIO, target: Path) -> tuple[int, ...]:
    sizes = []
    with target.open("wb") as out:
        while piece := content.read(PIECE_BYTES):
            sizes.append(out.write(zlib.compress(piece, _LEVEL)))
    return tuple(sizes)
