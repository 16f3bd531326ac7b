"""Stores, finds, lists and deletes uploaded request files.

The requests of a file become the pairs of a dataset that is named by the file's id. The content is
stored in the database, so that every server of a cluster can return it.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import zlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from io import BufferedReader
from typing import BinaryIO, Final, TypeVar, cast

from sqlalchemy.ext.asyncio import AsyncSession

from app.batches.files import queries
from app.batches.files.derived import BATCH
from app.batches.files.reading import LINES, StagedFile, read_file
from app.bodies.batches import FileBody
from app.core.errors import BadRequest, Conflict, Unprocessable
from app.core.limits import Meter
from app.core.lists import Paging, required
from app.core.models import Dataset, RejectedLine, StoredFile, new_id
from app.core.names import MAX_LENGTH, shown
from app.core.runtime import Runtime
from app.datasets import service as datasets
from app.datasets.deleting import delete_dataset
from app.imports.importing import Upload, store_new
from app.imports.staging import Staging
from app.imports.upload import Uploaded, UploadedFile, upload_folder
from app.scores.store import is_recorded
from judges.registry import Registry

_CHUNK: Final = 1_000
ItemT = TypeVar("ItemT")


@dataclass(frozen=True, slots=True)
class Form:
    """The fields of an upload form; `content` is None without a file."""

    fields: dict[str, str]
    filename: str = ""
    content: BinaryIO | None = None
    size: int = 0
    content_hash: str = ""
    meter: Meter = field(default_factory=Meter)

    @classmethod
    def of(cls, uploaded: Uploaded) -> Form:
        """Read the upload to get its size and hash.

        Raises:
            BadRequest: the file has another name than `file`.
        """
        if not uploaded.files:
            return cls(uploaded.fields, content_hash=hashlib.sha256().hexdigest())
        [file] = uploaded.files
        if file.field != "file":
            raise BadRequest("the file of the form must be named file")
        content_hash = hashlib.file_digest(cast(BufferedReader, file.content), "sha256").hexdigest()
        size = file.content.tell()
        file.content.seek(0)
        name = file.name[:MAX_LENGTH]
        return cls(uploaded.fields, name, file.content, size, content_hash, file.meter)

    def hash(self) -> str:
        """Return a hash of the whole form; the multipart boundary does not change it."""
        parts = [self.fields, self.filename, self.content_hash]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode("ascii")).hexdigest()


async def upload(running: Runtime, form: Form) -> FileBody:
    """Store a spooled file; rejected lines are kept with their reasons.

    Raises:
        Unprocessable: the purpose is unknown, the file is missing or empty, or none of its lines is
            a request.
    """
    _check(form)
    with upload_folder(running.settings.spool_dir) as folder:
        staging = Staging.open(folder / "staged.db", form.meter.limits)
        try:
            assert form.content is not None
            file = UploadedFile(form.content, LINES, meter=form.meter)
            live = _live_judges(running.registry)
            staged = await running.pools.imports.run_for_client(
                read_file, file, staging, folder, live
            )
            _refuse_without_requests(staged)
            return await _store(running, form, staged)
        finally:
            await asyncio.to_thread(staging.close)


def _live_judges(registry: Registry) -> frozenset[str]:
    judges = registry.judges.items()
    return frozenset(name for name, judge in judges if not is_recorded(judge.spec))


def _check(form: Form) -> None:
    purpose = form.fields.get("purpose")
    if purpose is None:
        raise Unprocessable.field(["purpose"], f"is missing; give {BATCH}")
    if purpose != BATCH:
        raise Unprocessable.field(["purpose"], f"{shown(purpose)} is not served here; give {BATCH}")
    unknown = next((name for name in form.fields if name not in ("purpose", "file")), None)
    if unknown is not None:
        why = "there is no such field; files are kept until they are deleted"
        raise Unprocessable.field([shown(unknown).strip("'")], why)
    if form.content is None:
        raise Unprocessable.field(["file"], "is missing; send it as a file, with a file name")
    if not form.size:
        raise Unprocessable.field(["file"], "is empty")


def _refuse_without_requests(staged: StagedFile) -> None:
    if staged.staging.rows:
        return
    reader = staged.reader
    first = (
        f"; line {(one := reader.rejected[0])['line']}: {one['reason']}" if reader.rejected else ""
    )
    message = f"no line of it is a request{first}"
    raise Unprocessable(
        f"file: {message}",
        errors=[{"loc": ["body", "file"], "msg": message}],
        extra={"rejected": reader.rejected, "rejected_count": reader.rejected_count},
    )


async def _store(running: Runtime, form: Form, staged: StagedFile) -> FileBody:
    file = StoredFile(
        id=new_id("file"),
        created_at=running.now(),
        purpose=form.fields["purpose"],
        filename=form.filename,
        bytes=form.size,
        content_hash=form.content_hash,
    )
    uploaded = Upload(staged.staging, staged.reader, file.id, file.created_at)
    async with running.db.write() as session:
        imported = await store_new(session, uploaded, staged.content_hash)
        file.dataset_seq = imported.dataset.seq
        session.add(file)
        await session.flush()
        async for rows in _read_aside(staged.rejected(_CHUNK)):
            seq = {"dataset_seq": imported.dataset.seq}
            await queries.add_rejected(session, [{**row, **seq} for row in rows])
        number = 0
        async for piece in _read_aside(staged.compressed()):
            await queries.add_piece(session, file.seq, number, piece)
            number += 1
    return _shown(file, imported.dataset)


async def _read_aside(items: Iterator[ItemT]) -> AsyncIterator[ItemT]:
    """Yield pieces that a thread reads from disk, so that other requests are not held up."""
    while (item := await asyncio.to_thread(next, items, None)) is not None:
        yield item


async def find(session: AsyncSession, file_id: str) -> StoredFile:
    """Return a file.

    Raises:
        NotFound: unknown id.
    """
    return await required(session, StoredFile, file_id, "file")


async def requests_of(session: AsyncSession, file_id: str) -> Dataset:
    """Return the dataset that holds a file's requests, for the field `input_file_id`.

    Raises:
        NotFound: unknown id.
        Unprocessable: its requests were deleted.
    """
    file = await required(session, StoredFile, file_id, "file", "input_file_id")
    if file.dataset_seq is None:
        raise Unprocessable.field(["input_file_id"], "its pairs were deleted; upload it again")
    return await session.get_one(Dataset, file.dataset_seq)


async def show(session: AsyncSession, file: StoredFile) -> FileBody:
    """Return a file as users see it."""
    dataset = None if file.dataset_seq is None else await session.get(Dataset, file.dataset_seq)
    return _shown(file, dataset)


def _shown(file: StoredFile, dataset: Dataset | None) -> FileBody:
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.bytes,
        "created_at": int(file.created_at.timestamp()),
        "filename": file.filename,
        "purpose": BATCH,
        "status": "processed",
        "status_details": None if dataset is None else _details(dataset),
        "expires_at": None,
        "dataset": None if dataset is None else dataset.id,
        "requests": None if dataset is None else dataset.pairs,
        "rejected_count": None if dataset is None else dataset.rejected_count,
    }


def _details(dataset: Dataset) -> str | None:
    if not dataset.rejected_count:
        return None
    first = dataset.rejected[0]
    total = dataset.pairs + dataset.rejected_count
    return (
        f"{dataset.rejected_count} of {total} lines are no requests; "
        f"line {first['line']}: {first['reason']}"
    )


async def page(session: AsyncSession, paging: Paging, purpose: str | None) -> list[FileBody]:
    """Return one page of files, of a purpose if one is given, and the next file if there is one.

    Raises:
        NotFound: `after` is not the id of a file.
    """
    return [await show(session, row) for row in await queries.page(session, paging, purpose)]


async def content_of(running: Runtime, file: StoredFile) -> AsyncIterator[bytes]:
    """Yield the content of a file as it was uploaded; one piece is in memory at a time.

    No transaction is open between two pieces: their reader may take any time.

    Raises:
        Conflict: it was deleted while it was read; a part must not be taken for the whole.
    """
    number, left = 0, file.bytes
    while left:
        async with running.db.read() as session:
            piece = await queries.piece_of(session, file.seq, number)
        if piece is None:
            break
        content = await asyncio.to_thread(zlib.decompress, piece)
        yield content
        number, left = number + 1, left - len(content)
    if left:
        raise Conflict(f"{file.id} was deleted while it was read")


async def delete_file(session: AsyncSession, file_id: str) -> None:
    """Delete a file with its content, and its pairs if nothing was made from them.

    Raises:
        NotFound: unknown id.
    """
    file = await find(session, file_id)
    dataset = None if file.dataset_seq is None else await session.get(Dataset, file.dataset_seq)
    if dataset is not None:
        await datasets.lock(session, [dataset])
        await queries.delete_file(session, file.seq)
        if not await queries.is_in_use(session, dataset.seq):
            await delete_dataset(session, dataset)
        return
    await queries.delete_file(session, file.seq)


async def rejected_lines(running: Runtime, dataset_seq: int) -> AsyncIterator[RejectedLine]:
    """Yield the rejected lines of a file in order; no transaction is open between two of them."""
    last = 0
    while True:
        async with running.db.read() as session:
            rows = await queries.rejected_after(session, dataset_seq, last, _CHUNK)
        for row in rows:
            yield row
        if len(rows) < _CHUNK:
            return
        last = rows[-1].line
