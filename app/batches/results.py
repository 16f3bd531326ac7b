"""A batch's output and error file: one OpenAI envelope a line, made while it is read.

Every pair of an ended batch is in exactly one of them, and so is every line of an uploaded file:
accepted and abstained verdicts are output; a line that is no request, a pair that nobody judged
and a failed verdict are errors.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator
from typing import Any, Final

from app.batches import leftovers, service
from app.batches.openai_form import FORM
from app.batches.work import membership_of, positions_of
from app.errors import NotFound
from app.files import service as files
from app.files.derived import Derived, errors_id, output_id
from app.files.schemas import FileOut
from app.identifiers import shown
from app.models import Batch, Dataset, Shard
from app.runtime import Runtime

_FLUSH_CHARACTERS: Final = 2**16
# no judge answered: what a proxy says of a server behind it that does not
_STATUS_OF_FAILURE: Final = 502
_UNJUDGED: Final = {
    "cancelled": ("batch_cancelled", "the batch was cancelled before this pair was judged"),
    "expired": ("batch_expired", "the batch expired before this pair was judged"),
}


async def ended_batch(running: Runtime, wanted: Derived) -> Batch:
    """Return the batch that a derived file belongs to.

    Raises:
        NotFound: there is no such batch, or it has no such file.
        Conflict: the batch still runs.
    """
    name = (output_id if wanted.kind == "output" else errors_id)(wanted.batch_id)
    try:
        batch = await service.ended(running, wanted.batch_id)
    except NotFound:
        raise NotFound(f"there is no file {shown(name)}") from None
    if wanted.kind == "errors":
        batch_as_shown = await service.find(running, batch.id)
        if batch_as_shown["error_file_id"] is None:
            raise NotFound(f"there is no file {shown(name)}: batch {batch.id} had no errors")
    return batch


async def described(running: Runtime, wanted: Derived) -> FileOut:
    """Return a derived file as users see it; its size is counted by reading it.

    Raises:
        NotFound: there is no such batch, or it has no such file.
        Conflict: the batch still runs.
    """
    batch = await ended_batch(running, wanted)
    size = 0
    async for piece in content(running, batch, wanted):
        size += len(piece)
    return FileOut(
        id=(output_id if wanted.kind == "output" else errors_id)(batch.id),
        bytes=size,
        created_at=int((batch.completed_at or batch.created_at).timestamp()),
        filename=f"{batch.id}_{wanted.kind}.jsonl",
        purpose="batch_output",
    )


async def content(running: Runtime, batch: Batch, wanted: Derived) -> AsyncIterator[bytes]:
    """Yield a derived file, some lines at a time."""
    lines = _output(running, batch) if wanted.kind == "output" else _errors(running, batch)
    text: list[str] = []
    size = 0
    async for line in lines:
        text.append(json.dumps(line, separators=(",", ":")) + "\n")
        size += len(text[-1])
        if size > _FLUSH_CHARACTERS:
            yield "".join(text).encode("ascii")
            text, size = [], 0
    if text:
        yield "".join(text).encode("ascii")


async def _output(running: Runtime, batch: Batch) -> AsyncIterator[dict[str, Any]]:
    async for verdict in service.verdicts_of(running, batch, ("accepted", "abstained")):
        yield _answered(batch, verdict, 200)


async def _errors(running: Runtime, batch: Batch) -> AsyncIterator[dict[str, Any]]:
    async for line in _rejected(running, batch):
        yield line
    async for line in _unjudged(running, batch):
        yield line
    async for verdict in service.verdicts_of(running, batch, ("failed",)):
        yield _answered(batch, verdict, _STATUS_OF_FAILURE)


async def _rejected(running: Runtime, batch: Batch) -> AsyncIterator[dict[str, Any]]:
    if FORM not in batch.request:
        return
    async with running.db.read() as session:
        async for row in files.rejected_lines(session, batch.dataset_seq):
            name = _name(batch, f"line {row.line}")
            yield _refused(name, row.custom_id, "invalid_line", row.reason, line=row.line)


async def _unjudged(running: Runtime, batch: Batch) -> AsyncIterator[dict[str, Any]]:
    member = membership_of(batch)
    async with running.db.read() as session:
        dataset = await session.get_one(Dataset, batch.dataset_seq)
        for shard in await leftovers.unfinished_shards(session, batch.seq):
            code, message = _reason(batch, shard)
            async for row in leftovers.unjudged(
                session, batch, positions_of(batch, dataset, shard)
            ):
                if member is None or member.holds(row.group):
                    yield _refused(_name(batch, f"pair {row.id}"), row.id, code, message)


def _reason(batch: Batch, shard: Shard) -> tuple[str, str]:
    if shard.state == "failed":
        return "shard_failed", shard.error or "the shard of this pair was given up"
    return _UNJUDGED.get(
        batch.status, ("not_judged", "the batch ended before this pair was judged")
    )


def _answered(batch: Batch, verdict: dict[str, Any], status: int) -> dict[str, Any]:
    name = _name(batch, f"pair {verdict['id']}")
    return {
        "id": f"batch_req_{name}",
        "custom_id": verdict["id"],
        "response": {"status_code": status, "request_id": f"req_{name}", "body": verdict},
        "error": None,
    }


def _refused(
    name: str, custom_id: str | None, code: str, message: str, line: int | None = None
) -> dict[str, Any]:
    error = {"code": code, "message": message}
    return {
        "id": f"batch_req_{name}",
        "custom_id": custom_id,
        "response": None,
        "error": error if line is None else {**error, "line": line},
    }


def _name(batch: Batch, what: str) -> str:
    """The same for the same line of the same batch whenever it is read."""
    return hashlib.sha256(f"{batch.id}\n{what}".encode("utf-8", "backslashreplace")).hexdigest()[
        :24
    ]
