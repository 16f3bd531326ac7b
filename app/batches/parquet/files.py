"""Reads Parquet files of pairs, and writes parts: Parquet files of verdicts.

A shard covers rows `[first, last)`, counted over all files in order; it lies within one file. Every
file is written under another name and renamed, so that it is never seen in part. Needs the extra
`arrow`.
"""

from __future__ import annotations

import hashlib
import json
import os
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import accumulate
from pathlib import Path
from typing import (
    TYPE_CHECKING,
    Any,
    Final,
    Literal,
    NotRequired,
    get_args,
    get_origin,
    get_type_hints,
)

from typing_extensions import is_typeddict

from app.core.errors import BadRequest, Unprocessable
from app.core.models import Batch, Shard
from app.core.names import shown

if TYPE_CHECKING:
    from app.imports.tables import RawRow

# the key of this form in a stored request, and the dialect of the dataset that stands for the files
TABLES: Final = "tables"
WORK: Final = ".work"
HAS_MODELS: Final = "has_models"
HAS_REASONS: Final = "has_reasons"


@dataclass(frozen=True, slots=True)
class TableFile:
    """One input file; `footer` is a hash of its footer, which changes with its content."""

    path: str
    rows: int
    footer: str


@dataclass(frozen=True, slots=True)
class TableSlice:
    """The rows `[first, last)` of one file, counted from 0."""

    file: TableFile
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Tables:
    """Input files in order, their row format, and the folder of the parts.

    The parts of runs that an earlier version began have no models, and no reasons of judges: all
    parts of a folder must fit together.
    """

    files: tuple[TableFile, ...]
    output: str
    dialect: str
    has_models: bool = True
    has_reasons: bool = False

    @property
    def rows(self) -> int:
        """Rows of all files."""
        return sum(file.rows for file in self.files)

    def slice_of(self, shard: Shard) -> TableSlice:
        """Return what a shard covers."""
        ends = list(accumulate(file.rows for file in self.files))
        number = bisect_right(ends, shard.first)
        before = ends[number] - self.files[number].rows
        return TableSlice(self.files[number], shard.first - before, shard.last - before)

    def part(self, number: int) -> Path:
        """Return the file with the verdicts of a completed shard."""
        return Path(self.output) / f"part-{number:08d}.parquet"

    def pieces(self, number: int) -> Path:
        """Return the folder with the pieces of an incomplete shard; each attempt has its own in it."""
        return Path(self.output) / WORK / f"{number:08d}"

    def as_json(self) -> dict[str, Any]:
        """Return it as it is stored with the request."""
        return asdict(self)

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Tables:
        """Read it from a stored request."""
        files = tuple(TableFile(**one) for one in stored["files"])
        has_models = stored.get(HAS_MODELS, False)
        has_reasons = stored.get(HAS_REASONS, False)
        return cls(files, stored["output"], stored["dialect"], has_models, has_reasons)


def tables_of(batch: Batch) -> Tables | None:
    """Return the files of a batch over Parquet files, None for any other."""
    stored = batch.request.get(TABLES)
    return None if stored is None else Tables.from_json(stored)


def cuts(row_groups: Sequence[int], size: int) -> Iterator[tuple[int, int]]:
    """Cut a file into ranges of at most `size` rows, at the ends of row groups where they fit.

    Args:
        row_groups: Rows of each row group.
        size: Most rows of a range.
    """
    first = last = 0
    for rows in row_groups:
        if last - first + rows > size and last > first:
            yield first, last
            first = last
        last += rows
        while last - first > size:
            yield first, first + size
            first += size
    if last > first:
        yield first, last


PIECE_ROWS: Final = 2_000
PIECE_BYTES: Final = 16 * 2**20
# what a stored score counts of the tokens that it took
USAGE: Final = ("prompt", "completion", "cached", "calls")
_OWNER: Final = b"tribunal"
_TAIL: Final = 8
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Described:
    """An input file and the sizes of its row groups."""

    file: TableFile
    row_groups: tuple[int, ...]


def describe(path: Path) -> Described:
    """Return what the footer of a Parquet file says.

    Raises:
        Unprocessable: it is not a Parquet file.
        BadRequest: the extra `arrow` is not installed.
    """
    pa, pq = _arrow()
    if not path.is_file():
        raise Unprocessable.field(["input"], f"{shown(path.name)} is not a file")
    try:
        metadata = pq.read_metadata(path)
        groups = tuple(metadata.row_group(i).num_rows for i in range(metadata.num_row_groups))
        return Described(TableFile(str(path), metadata.num_rows, _footer_hash(path)), groups)
    except (pa.ArrowException, OSError) as error:
        raise Unprocessable.field(["input"], f"{path.name} cannot be read: {error}") from error


def _arrow() -> tuple[Any, Any]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise BadRequest("Parquet needs pyarrow: install tribunal-judge[arrow]") from error
    return pa, pq


def _footer_hash(path: Path) -> str:
    with path.open("rb") as file:
        end = file.seek(-_TAIL, os.SEEK_END)
        length = int.from_bytes(file.read(4), "little")
        file.seek(end - length)
        return hashlib.sha256(file.read(length)).hexdigest()


def pieces(source: TableSlice) -> Iterator[list[RawRow]]:
    """Yield the rows of a slice in pieces that fit in memory; always the same pieces of a file."""
    from app.imports.parquet import parquet_batches  # a mere look reads no tables

    piece: list[RawRow] = []
    size = 0
    for rows, n_bytes in parquet_batches(Path(source.file.path), source.first, source.last):
        piece += rows
        size += n_bytes
        if len(piece) >= PIECE_ROWS or size >= PIECE_BYTES:
            yield piece
            piece, size = [], 0
    if piece:
        yield piece


def write_piece(
    path: Path, rows: Sequence[Row], *, has_models: bool = False, has_reasons: bool = False
) -> None:
    """Write the verdicts of one piece, with the names of the models or the reasons of judges."""
    pa, pq = _arrow()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    schema = _schema(pa, has_models=has_models, has_reasons=has_reasons)
    pq.write_table(pa.Table.from_pylist(list(rows), schema), temporary)
    temporary.replace(path)


def join_pieces(
    paths: Sequence[Path],
    temporary: Path,
    owner: str,
    *,
    has_models: bool = False,
    has_reasons: bool = False,
) -> None:
    """Write pieces as the row groups of one part of `owner`, under a temporary name."""
    pa, pq = _arrow()
    schema = _schema(pa, has_models=has_models, has_reasons=has_reasons)
    schema = schema.with_metadata({_OWNER: owner.encode()})
    with pq.ParquetWriter(temporary, schema) as writer:
        for path in paths:
            writer.write_table(pq.read_table(path).cast(schema))
    with temporary.open("rb") as file:
        os.fsync(file.fileno())


class EarlierRows:
    """The verdicts that earlier attempts at a shard have written: in pieces, or in a whole part.

    Args:
        folders: Those of the attempts, the latest first.
        part: Where the part is if the shard was complete before.
        owner: The batch and shard that the part must belong to.
    """

    def __init__(self, folders: Sequence[Path], part: Path, owner: str) -> None:
        self._folders, self._part, self._owner = folders, part, owner

    def of_piece(self, number: int, before: datetime | None = None) -> list[Row]:
        """Return the rows of a piece as they were judged, before a moment; none if they were not."""
        pa, pq = _arrow()
        for folder in self._folders:
            path = piece_path(folder, number)
            if _is_there(path, before):
                return list(pq.read_table(path).to_pylist())
        if not _is_there(self._part, before):
            return []
        try:
            with pq.ParquetFile(self._part) as part:
                owner = (part.schema_arrow.metadata or {}).get(_OWNER, b"").decode()
                if owner != self._owner or number >= part.num_row_groups:
                    return []
                return list(part.read_row_group(number).to_pylist())
        except (FileNotFoundError, pa.ArrowException):
            return []


def _is_there(path: Path, before: datetime | None) -> bool:
    if not path.is_file():
        return False
    return before is None or path.stat().st_mtime < before.timestamp()


def piece_path(folder: Path, number: int) -> Path:
    """Return the file of a piece in the folder of an attempt."""
    return folder / f"{number:08d}.parquet"


def write_summary(folder: Path, body: Mapping[str, Any]) -> None:
    """Write a batch as users see it beside its parts: promise, counts and cost."""
    temporary = folder / "_batch.tmp"
    temporary.write_text(json.dumps(body, indent=2), encoding="utf-8")
    temporary.replace(folder / "_batch.json")


def verdict_fields() -> dict[str, Any]:
    """Return the fields that every verdict has, with their types: columns of all tables of verdicts."""
    from app.bodies.judgments import VerdictBody  # a look at a batch does not need it

    hints = get_type_hints(VerdictBody, include_extras=True)
    return {name: kind for name, kind in hints.items() if get_origin(kind) is not NotRequired}


# only in answers to pairs that are posted
_NEVER_STORED: Final = ("orders", "ratings")


def arrow_type(pa: Any, kind: Any) -> Any:
    """Return the Arrow type of values that a type of the API's answers describes."""
    if is_typeddict(kind):
        fields = get_type_hints(kind)
        return pa.struct({n: arrow_type(pa, fields[n]) for n in fields if n not in _NEVER_STORED})
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return pa.string()
    if origin is list:
        return pa.list_(arrow_type(pa, inner[0]))
    if inner:
        # annotated or optional: the first type is that of the values
        return arrow_type(pa, inner[0])
    return {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}[kind]


def _schema(pa: Any, *, has_models: bool, has_reasons: bool) -> Any:
    from app.bodies.judgments import ReasonBody

    text, number, flag, count = pa.string(), pa.float64(), pa.bool_(), pa.int64()
    verdict = {name: arrow_type(pa, kind) for name, kind in verdict_fields().items()}
    # the promise is that of the run, which _batch.json states
    del verdict["promise"]
    usage = pa.struct(dict.fromkeys(USAGE, count))
    score = pa.struct(
        {
            "judge": text, "fingerprint": text, "p_a": number, "p_tie": number,
            "annotators": pa.list_(pa.list_(number)), "rating_a": number, "rating_b": number,
            "outside_mass": number, "failure": text,
            "failure_detail": text, "flags": pa.list_(text), "usage": usage, "cost_usd": number,
            "seconds": number, "obtained": flag,
        }
    )  # fmt: skip
    return pa.schema(
        {
            "file": text, "row": count, "id": verdict.pop("id"), "content_hash": text,
            **verdict,
            "reason": text, "scores": pa.list_(score),
            **({"model_a": text, "model_b": text} if has_models else {}),
            **({"explanation": arrow_type(pa, ReasonBody)} if has_reasons else {}),
        }
    )  # fmt: skip
