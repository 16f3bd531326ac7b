"""Importing a dataset: read and check every row, then store all that was accepted at once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.db import Database
from app.core.errors import Unprocessable
from app.core.limits import Meter
from app.core.models import Dataset, new_id
from app.core.pools import in_thread
from app.core.spool import upload_folder
from app.datasets import service as datasets
from app.formats.registry import AUTO, known_formats
from app.imports.body import rows_of
from app.imports.comparing import name_taken
from app.imports.reading import Reader, named_dialect, stage
from app.imports.staging import StagedRow, Staging
from app.imports.upload import UploadedFile
from app.labels import service as labels
from app.labels.service import NewLabel

ResultT = TypeVar("ResultT")
_CONTRADICTED: Final = "labels of one person on one pair that differ, all kept"


@dataclass(frozen=True, slots=True)
class Wanted:
    """The options of an upload."""

    name: str
    dialect: str = AUTO
    is_strict: bool = False
    spool_dir: Path | None = None


@dataclass(frozen=True, slots=True)
class Imported:
    """The outcome of an upload; `is_new` is False where the dataset existed already."""

    dataset: Dataset
    is_new: bool
    rejected: Sequence[Mapping[str, Any]]
    rejected_count: int
    unmatched: int
    warnings: Sequence[Mapping[str, Any]]


class Run(Protocol):
    """Runs a function that may take long, beside the event loop."""

    async def __call__(self, function: Callable[..., ResultT], *args: Any) -> ResultT: ...  # noqa: D102


async def import_dataset(
    db: Database,
    files: Sequence[UploadedFile],
    wanted: Wanted,
    moment: datetime,
    run: Run = in_thread,
) -> Imported:
    """Import the rows of uploaded files as one dataset.

    The same name and content again changes labels only, see `labels.service.import_labels`.

    Raises:
        Unprocessable: no row was accepted, or one was rejected and the upload is strict, or its
            format cannot be told.
        TooLarge: there is more than allowed; the error names the setting.
    """
    with upload_folder(wanted.spool_dir) as folder:
        meter = files[0].meter if files else Meter()
        staging = Staging.open(folder / "staged.db", meter.limits)
        try:
            reader = Reader(named_dialect(wanted.dialect), meter=meter)
            rows = rows_of(files, folder)
            await run(stage, staging, reader, rows)
            _check(reader, staging.rows, is_strict=wanted.is_strict)
            content_hash = await run(staging.content_hash)
            upload = Upload(staging, reader, wanted.name, moment)
            return await _store(db, upload, content_hash)
        finally:
            await asyncio.to_thread(staging.close)


def _check(reader: Reader, accepted: int, *, is_strict: bool) -> None:
    """Refuse an upload of which no row can be kept, or not every row if it is strict."""
    extra: dict[str, Any] = {
        "rejected": reader.rejected,
        "rejected_count": reader.rejected_count,
        "unmatched": reader.unmatched,
        "warnings": reader.warnings(),
    }
    if reader.rejected_count and is_strict:
        raise Unprocessable(f"{reader.rejected_count} rows were rejected (strict)", extra=extra)
    if accepted:
        return
    if not reader.rejected_count:
        raise Unprocessable("the body holds no row", extra=extra)
    if reader.dialect is None:
        extra["known_formats"] = known_formats()
    first = reader.rejected[0]
    raise Unprocessable(
        f"no row was accepted; line {first['line']}: {first['reason']}", extra=extra
    )


@dataclass(frozen=True, slots=True)
class Upload:
    """A checked upload on its way into the database."""

    staging: Staging
    reader: Reader
    name: str
    moment: datetime

    def imported(self, dataset: Dataset, contradicted: int, *, is_new: bool) -> Imported:
        """Return the outcome; on `contradicted` pairs one person gave several labels."""
        reader = self.reader
        warnings = reader.warnings()
        if contradicted:
            warnings.append({"field": _CONTRADICTED, "count": contradicted, "did_you_mean": None})
        return Imported(
            dataset,
            is_new,
            reader.rejected,
            reader.rejected_count,
            reader.unmatched,
            warnings,
        )


class _NameTaken(Exception):
    """The name is that of a dataset with other content, whose id is the argument."""


async def _store(db: Database, upload: Upload, content_hash: str) -> Imported:
    try:
        try:
            return await _store_once(db, upload, content_hash)
        except IntegrityError:
            # another request stored the name between the look-up and the insert: now it is found
            return await _store_once(db, upload, content_hash)
    except _NameTaken as taken:
        raise await name_taken(db, upload.staging, upload.name, str(taken)) from None


async def _store_once(db: Database, upload: Upload, content_hash: str) -> Imported:
    async with db.write() as session:
        known = await datasets.dataset_named(session, upload.name)
        if known is None:
            return await store_new(session, upload, content_hash)
        if known.content_hash != content_hash:
            raise _NameTaken(known.id)
        return await _relabel(session, upload, known)


async def store_new(session: AsyncSession, upload: Upload, content_hash: str) -> Imported:
    """Store an upload whose name is free; `content_hash` is that of its staged rows."""
    reader = upload.reader
    dataset = Dataset(
        id=new_id("ds"),
        created_at=upload.moment,
        name=upload.name,
        dialect=reader.dialect.name if reader.dialect else AUTO,
        content_hash=content_hash,
        pairs=upload.staging.rows,
        groups=0,
        labels=0,
        annotators=0,
        recorded_judges=sorted(upload.staging.judges),
        rejected=reader.rejected,
        rejected_count=reader.rejected_count,
    )
    session.add(dataset)
    await session.flush()
    contradicted = 0
    async for chunk in _chunks(upload.staging):
        contradicted += sum(map(_is_contradicted, chunk))
        seqs = await _insert_pairs(session, dataset, chunk)
        await datasets.add_recorded(session, list(_recorded(chunk, seqs)))
        await labels.insert_labels(session, list(_labels(chunk, seqs)), upload.moment)
    await datasets.refresh_group_count(session, dataset)
    await datasets.refresh_label_counts(session, dataset)
    await session.refresh(dataset)
    return upload.imported(dataset, contradicted, is_new=True)


async def _relabel(session: AsyncSession, upload: Upload, dataset: Dataset) -> Imported:
    await datasets.lock(session, [dataset])
    contradicted = 0
    async for chunk in _chunks(upload.staging):
        contradicted += sum(map(_is_contradicted, chunk))
        seqs = await _seqs(session, dataset, chunk)
        await labels.import_labels(session, list(_labels(chunk, seqs)), upload.moment)
    await datasets.refresh_label_counts(session, dataset)
    await session.refresh(dataset)
    return upload.imported(dataset, contradicted, is_new=False)


async def _insert_pairs(
    session: AsyncSession, dataset: Dataset, chunk: Sequence[StagedRow]
) -> Mapping[int, int]:
    rows = [{**row.pair, "position": row.position} for row in chunk]
    await datasets.add_pairs(session, dataset, rows)
    return await _seqs(session, dataset, chunk)


async def _seqs(
    session: AsyncSession, dataset: Dataset, chunk: Sequence[StagedRow]
) -> Mapping[int, int]:
    first, last = chunk[0].position, chunk[-1].position + 1
    return await datasets.seqs_by_position(session, dataset, first, last)


def _recorded(chunk: Sequence[StagedRow], seqs: Mapping[int, int]) -> Iterator[dict[str, Any]]:
    for row in chunk:
        for score in row.recorded:
            yield {**score, "pair_seq": seqs[row.position]}


def _labels(chunk: Sequence[StagedRow], seqs: Mapping[int, int]) -> Iterator[NewLabel]:
    for row in chunk:
        for vote in row.votes:
            yield NewLabel(
                seqs[row.position], vote.annotator, vote.label, vote.criterion, vote.details
            )


def _is_contradicted(row: StagedRow) -> bool:
    """Say whether one person gives this pair two labels that differ, on one criterion."""
    said: dict[tuple[str, str], str] = {}
    return any(
        said.setdefault((vote.annotator, vote.criterion), vote.label) != vote.label
        for vote in row.votes
        if vote.annotator is not None
    )


async def _chunks(staging: Staging) -> AsyncIterator[list[StagedRow]]:
    """Yield chunks of staged rows, each read in a thread so that the event loop stays free."""
    chunks = staging.chunks()
    while chunk := await asyncio.to_thread(next, chunks, None):
        yield chunk
