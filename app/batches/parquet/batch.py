"""Batches over Parquet files: the database holds shards and sums, but no pairs, scores or verdicts.

A batch belongs to its output folder: the same request again continues it, and complete parts stay. A
dataset without pairs stands for the files, so that the batch is stored like any other.
"""

from __future__ import annotations

import asyncio
import glob
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from sqlalchemy.exc import IntegrityError

from app.batches import queries
from app.batches.admission import Range
from app.batches.creating import Scope, new_batch, store_new
from app.batches.parquet.files import (
    HAS_MODELS,
    HAS_REASONS,
    TABLES,
    Described,
    Tables,
    TableSlice,
    cuts,
    describe,
    pieces,
    write_summary,
)
from app.batches.retrying import reopen
from app.batches.schemas import BatchIn, TablesBatchIn
from app.batches.stored import find
from app.core.errors import Conflict, NotFound, Unprocessable
from app.core.models import Dataset, Shard, new_id
from app.core.names import shown
from app.core.runtime import Runtime
from app.datasets.service import find_dataset
from app.formats.base import RowInvalid
from app.formats.canonical import ParsedRow
from app.formats.joining import Piece
from app.imports.reading import Reader, named_dialect
from app.judgments.authority import Authority, refuse_expired, resolve
from app.scores.judges import PairScores
from judges.reasons import explaining

_OUT: Final = "it leads out of the folder of tables"
# rows that are read to find their format
_FIRST_ROWS: Final = 1_000


@dataclass(frozen=True, slots=True)
class _Input:
    """The files of a request, and the pairs among their first rows."""

    files: tuple[Described, ...]
    output: Path
    dialect: str
    first: tuple[ParsedRow, ...]

    @property
    def tables(self) -> Tables:
        files = tuple(one.file for one in self.files)
        return Tables(files, str(self.output), self.dialect)


async def create(running: Runtime, request: TablesBatchIn) -> dict[str, Any]:
    """Store a batch over files, or continue the one that the output folder belongs to.

    Raises:
        Conflict: the certificate does not apply, or the folder holds the parts of another run.
        Unprocessable: a folder is not allowed, no file matches, or no row can be read.
    """
    found = await asyncio.to_thread(_look, running.settings.tables_dir, request)
    scores = PairScores([row.recorded for row in found.first], "in the first rows", is_sample=True)
    authority = await resolve(running.db, running.registry, request, scores)
    refuse_expired(authority, running.now())
    name = f"tables-{hashlib.sha256(str(found.output).encode()).hexdigest()[:24]}"
    if (earlier := await _earlier(running, name)) is None:
        await asyncio.to_thread(_refuse_foreign_parts, found.output)
        try:
            return await _store(running, request, found, authority, name)
        except IntegrityError:
            # another request for the same folder came first
            earlier = await _earlier(running, name)
    if earlier is None or earlier.content_hash != _identity(request, found, authority):
        raise Conflict(
            f"output: {found.output} holds the parts of another run (other files, judges or"
            " options): choose an empty folder"
        )
    return await _continue(running, earlier, found.tables)


def _look(allowed: Path | None, request: TablesBatchIn) -> _Input:
    if allowed is None:
        raise Unprocessable.field(
            ["input"], "this service reads and writes no files: TRIBUNAL_TABLES_DIR names no folder"
        )
    root = allowed.resolve()
    output = _inside(root, root / request.output, "output")
    files = tuple(map(describe, _inputs(root, request.input)))
    reader = Reader(named_dialect(request.dialect))
    first = tuple(_first_rows(reader, files))
    if not first:
        raise Unprocessable.field(["input"], "none of the first rows can be read as a pair")
    try:
        output.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise Unprocessable.field(["output"], f"{shown(request.output)} is not a folder") from error
    except OSError as error:
        message = f"{shown(request.output)}: {error.strerror}"
        raise Unprocessable.field(["output"], message) from error
    assert reader.dialect is not None
    return _Input(files, output, reader.dialect.name, first)


def _inputs(root: Path, pattern: str) -> list[Path]:
    """Return the files that match; whether there is one outside of the folder must not show."""
    whole = root / pattern
    if not whole.is_relative_to(root):
        raise Unprocessable.field(["input"], _OUT)
    # a link to another folder may be passed on the way: what is in there is not looked at
    names = [name for name in map(Path, sorted(glob.glob(str(whole)))) if _is_in(root, name.parent)]
    if not names:
        raise Unprocessable.field(["input"], f"no file matches {shown(pattern)}")
    return [_inside(root, name, "input") for name in names]


def _inside(root: Path, path: Path, field: str) -> Path:
    if not _is_in(root, path):
        raise Unprocessable.field([field], _OUT)
    return path.resolve()


def _is_in(root: Path, path: Path) -> bool:
    try:
        return path.resolve().is_relative_to(root)
    except (OSError, RuntimeError):  # too long, or links that lead in a circle
        return False


def _first_rows(reader: Reader, files: Sequence[Described]) -> Iterator[ParsedRow]:
    """Yield the pairs among the first rows; the first recognised row fixes the format."""
    for one in files:
        if not one.file.rows:
            continue
        for raw in next(pieces(TableSlice(one.file, 0, min(one.file.rows, _FIRST_ROWS)))):
            try:
                row = reader.read(raw)
            except RowInvalid:
                continue
            if not isinstance(row, Piece) and row.pair is not None:
                yield row
        return


async def _earlier(running: Runtime, name: str) -> Dataset | None:
    async with running.db.read() as session:
        try:
            return await find_dataset(session, name)
        except NotFound:
            return None


def _refuse_foreign_parts(output: Path) -> None:
    if next(output.glob("part-*.parquet"), None) is not None:
        raise Conflict(
            f"output: {output} holds parts of a run that this database does not know: choose an"
            " empty folder"
        )


def _identity(request: TablesBatchIn, found: _Input, authority: Authority) -> str:
    """Return a hash of everything that the parts depend on."""
    certificate = authority.certificate.id if authority.certificate else None
    # which columns the parts have follows from the version that began the run, and from the judges
    told = (HAS_MODELS, HAS_REASONS)
    files = {name: value for name, value in found.tables.as_json().items() if name not in told}
    said = {
        **files,
        "rows_per_part": request.rows_per_part,
        "calibration": certificate,
        "tiers": [(t.judge.spec.name, t.judge.spec.fingerprint, t.threshold) for t in authority.tiers],
    }  # fmt: skip
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode("ascii")).hexdigest()


async def _store(
    running: Runtime, request: TablesBatchIn, found: _Input, authority: Authority, name: str
) -> dict[str, Any]:
    moment = running.now()
    dataset = Dataset(
        id=new_id("ds"), created_at=moment, name=name, dialect=TABLES,
        content_hash=_identity(request, found, authority), pairs=0, groups=0, labels=0,
        annotators=0, recorded_judges=[], rejected=[], rejected_count=0,
    )  # fmt: skip
    asked = BatchIn(
        dataset=dataset.id, calibration=request.calibration, cascade=request.cascade, seed=0
    )
    async with running.db.write() as session:
        session.add(dataset)
        await session.flush()
        batch = new_batch(asked, dataset, authority, Scope(found.tables.rows), moment)
        explains = any(explaining(tier.judge) for tier in authority.tiers)
        tables = replace(found.tables, has_reasons=explains)
        batch.request = {**batch.request, TABLES: tables.as_json()}
        await store_new(session, batch, _ranges(found.files, request.rows_per_part))
    running.wake_workers.set()
    return await find(running, batch.id)


def _ranges(files: Sequence[Described], size: int) -> Iterator[Range]:
    before = 0
    for one in files:
        for first, last in cuts(one.row_groups, size):
            yield Range(before + first, before + last, last - first)
        before += one.file.rows


async def _continue(running: Runtime, dataset: Dataset, tables: Tables) -> dict[str, Any]:
    """Return the batch of the folder; if it has ended, shards without a part are judged again."""
    there = await asyncio.to_thread(lambda: set(Path(tables.output).glob("part-*.parquet")))

    def lacks(shard: Shard) -> bool:
        return shard.state != "done" or tables.part(shard.number) not in there

    async with running.db.write() as session:
        found = await queries.of_dataset(session, dataset.seq)
        if found is None:
            raise Conflict(f"output: the batch of {tables.output} is gone: delete {dataset.name}")
        batch = await queries.locked(session, found.seq)
        if batch.status not in queries.UNFINISHED:
            await reopen(running, session, batch, lacks)
    running.wake_workers.set()
    return await keep_summary(running, batch.id, tables)


async def keep_summary(running: Runtime, batch_id: str, tables: Tables) -> dict[str, Any]:
    """Write a batch as users see it beside its parts, and return it."""
    body = await find(running, batch_id)
    await asyncio.to_thread(write_summary, Path(tables.output), body)
    return body
