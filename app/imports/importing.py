"""Importing a dataset: read and check every row, then store all that was accepted at once."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, Protocol, TypeVar, cast

from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.db import Database
from app.core.errors import Unprocessable
from app.core.limits import Meter
from app.core.models import Dataset, new_id
from app.core.pools import in_thread
from app.datasets import service as datasets
from app.datasets.records import PairKey, Vote
from app.datasets.score_columns import StoredScore, score_from_row
from app.datasets.stored_pairs import StoredPair
from app.formats.columns.declared import Declared
from app.formats.columns.verdicts import Heard, counted
from app.formats.registry import AUTO, known_formats
from app.imports.body import rows_of
from app.imports.columns import StagedRow, parsed_pair
from app.imports.comparing import name_taken
from app.imports.reading import Reader, named_dialect, stage
from app.imports.staging import Staging
from app.imports.upload import UploadedFile, upload_folder
from app.labels import service as labels
from app.labels.service import NewLabel
from judges.types import Score

ResultT = TypeVar("ResultT")
_CONTRADICTED: Final = (
    "on {n} pairs one person gives labels that differ; all are kept (give every person a name)"
)
_SHOWN_ROWS: Final = 3


@dataclass(frozen=True, slots=True)
class Wanted:
    """The options of an upload."""

    name: str
    dialect: str = AUTO
    is_strict: bool = False
    spool_dir: Path | None = None
    declared: Declared = field(default_factory=Declared)


@dataclass(frozen=True, slots=True)
class Imported:
    """The outcome of an upload; `is_new` is False where the dataset existed already."""

    dataset: Dataset
    is_new: bool
    rejected: Sequence[Mapping[str, Any]]
    rejected_count: int
    unmatched: int
    warnings: Sequence[str]


@dataclass(frozen=True, slots=True)
class Preview:
    """What an upload would store: counts, the first rows, and what it would say."""

    dialect: str
    counts: Mapping[str, int]
    recorded_judges: Sequence[str]
    rows: Sequence[StoredPair]
    rejected: Sequence[Mapping[str, Any]]
    rejected_count: int
    unmatched: int
    warnings: Sequence[str]


class Run(Protocol):
    """Runs a function that may take long, beside the event loop."""

    async def __call__(self, function: Callable[..., ResultT], *args: Any) -> ResultT: ...  # noqa: D102


async def preview(files: Sequence[UploadedFile], wanted: Wanted, run: Run = in_thread) -> Preview:
    """Read an upload as `import_dataset` does, and store nothing.

    Raises:
        Unprocessable: as there.
        TooLarge: as there.
    """
    async with _staged(files, wanted, run) as (staging, reader):
        return await run(_previewed, staging, reader)


def _previewed(staging: Staging, reader: Reader) -> Preview:
    groups: set[str] = set()
    people: set[str] = set()
    first: list[StoredPair] = []
    labels = contradicted = 0
    for chunk in staging.chunks():
        contradicted += sum(map(_is_contradicted, chunk))
        for row in chunk:
            groups.add(row.pair["group_key"])
            labels += len(row.votes)
            people.update(vote.annotator for vote in row.votes if vote.annotator is not None)
            if len(first) < _SHOWN_ROWS:
                first.append(_stored(row))
    counts = {"pairs": staging.rows, "groups": len(groups), "labels": labels}
    return Preview(
        reader.dialect.name if reader.dialect else AUTO,
        {**counts, "annotators": len(people)},
        sorted(staging.judges),
        first,
        reader.rejected,
        reader.rejected_count,
        reader.unmatched,
        _warnings(staging, reader, contradicted),
    )


def _stored(row: StagedRow) -> StoredPair:
    """Return a staged row as it would be read once it is stored."""
    values = row.pair
    hashes = (values["prompt_hash"], values["content_hash"], values["swapped_hash"])
    key = PairKey(
        row.position, row.position, values["id"], values["group_key"], *hashes,
        values["model_a"], values["model_b"], json.loads(values["metadata"]),
    )  # fmt: skip
    votes = [Vote(v.annotator, v.label, dict(v.details), v.criterion) for v in row.votes]
    scores = {score["judge"]: _score(score) for score in row.recorded}
    return StoredPair(key, parsed_pair(values), votes, scores)


def _score(values: Mapping[str, Any]) -> Score:
    texts = {name: json.loads(values[name]) for name in ("annotators", "flags", "usage")}
    return score_from_row(cast(StoredScore, SimpleNamespace(**{**values, **texts})))


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
    async with _staged(files, wanted, run) as (staging, reader):
        content_hash = await run(staging.content_hash)
        upload = Upload(staging, reader, wanted.name, moment)
        return await _store(db, upload, content_hash, run)


@asynccontextmanager
async def _staged(
    files: Sequence[UploadedFile], wanted: Wanted, run: Run
) -> AsyncIterator[tuple[Staging, Reader]]:
    """Read, check and merge all rows of an upload; they lie on disk until the end."""
    with upload_folder(wanted.spool_dir) as folder:
        meter = files[0].meter if files else Meter()
        staging = Staging.open(folder / "staged.db", meter.limits)
        try:
            reader = Reader(
                named_dialect(wanted.dialect), heard=Heard(wanted.declared), meter=meter
            )
            rows = rows_of(files, folder, wanted.declared)
            await run(stage, staging, reader, rows)
            _check(reader, staging.rows, is_strict=wanted.is_strict)
            yield staging, reader
        finally:
            await asyncio.to_thread(staging.close)


def _warnings(staging: Staging, reader: Reader, contradicted: int) -> list[str]:
    warnings = [*reader.warnings(), *staging.sentences()]
    return [*warnings, counted(_CONTRADICTED, contradicted)] if contradicted else warnings


def _check(reader: Reader, accepted: int, *, is_strict: bool) -> None:
    """Refuse an upload of which no row can be kept, or not every row if it is strict."""
    extra: dict[str, Any] = {
        "rejected": reader.rejected,
        "rejected_count": reader.rejected_count,
        "unmatched": reader.unmatched,
        "warnings": reader.warnings(),
    }
    _check_declared(reader, extra)
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


def _check_declared(reader: Reader, extra: dict[str, Any]) -> None:
    """Refuse an upload of which half of a coding could not be read."""
    faults = reader.heard.faults()
    if faults:
        errors = [{"loc": ["query", "coding"], "msg": fault} for fault in faults]
        raise Unprocessable("; ".join(faults), errors=errors, extra=extra)


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
        return Imported(
            dataset,
            is_new,
            reader.rejected,
            reader.rejected_count,
            reader.unmatched,
            _warnings(self.staging, reader, contradicted),
        )


class _NameTaken(Exception):
    """The name is that of a dataset with other content."""

    def __init__(self, dataset: Dataset) -> None:
        super().__init__(dataset.id)
        self.dataset_ref, self.content_hash = dataset.id, dataset.content_hash


async def _store(db: Database, upload: Upload, content_hash: str, run: Run) -> Imported:
    try:
        return await _store_or_find(db, upload, content_hash)
    except _NameTaken as taken:
        # the same file may have been stored when battles were named by their line
        by_line = await run(partial(upload.staging.content_hash, by_line=True))
        if by_line != taken.content_hash:
            refusal = await name_taken(db, upload.staging, upload.name, taken.dataset_ref)
            raise refusal from None
    return await _store_or_find(db, upload, content_hash, by_line)


async def _store_or_find(
    db: Database, upload: Upload, content_hash: str, by_line: str = ""
) -> Imported:
    try:
        return await _store_once(db, upload, content_hash, by_line)
    except IntegrityError:
        # another request stored the name between the look-up and the insert: now it is found
        return await _store_once(db, upload, content_hash, by_line)


async def _store_once(db: Database, upload: Upload, content_hash: str, by_line: str) -> Imported:
    async with db.write() as session:
        known = await datasets.dataset_named(session, upload.name)
        if known is None:
            return await store_new(session, upload, content_hash)
        if known.content_hash not in (content_hash, by_line):
            raise _NameTaken(known)
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
            yield {"rating_a": None, "rating_b": None, **score, "pair_seq": seqs[row.position]}


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
