"""Results of a batch as NDJSON, CSV or Parquet, and as the output and error files of OpenAI's form.

Every pair of an ended batch and every line of its uploaded file is in exactly one of the two files:
accepted and abstained verdicts are output; rejected lines, pairs without a verdict and failed
verdicts are errors.
"""

from __future__ import annotations

import asyncio
import csv
import hashlib
import io
import json
import math
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, BinaryIO, Final, cast

from app.batches import queries, service, stored
from app.batches.files import service as files
from app.batches.files.derived import Derived, errors_id, output_id
from app.batches.parquet.files import arrow_type, verdict_fields
from app.batches.stored import FORM
from app.batches.work import membership_of, positions_of
from app.bodies.batches import FileBody
from app.bodies.judgments import ReasonBody
from app.core.errors import NotAcceptable, NotFound
from app.core.inert import inert
from app.core.models import Batch, Dataset, Shard
from app.core.names import shown
from app.core.runtime import Runtime
from app.formats.tables import cells_of, in_utf8

Verdicts = AsyncIterator[dict[str, Any]]
Columns = Mapping[str, Any]
# columns of tables, with the types of their values
RESULT_FIELDS: Final[dict[str, Any]] = {**verdict_fields(), "model_a": str, "model_b": str}
REASON_FIELDS: Final[dict[str, Any]] = {"reason": ReasonBody}
TEXT_FIELDS: Final[dict[str, Any]] = dict.fromkeys(
    ("prompt", "messages", "response_a", "response_b", "responses_a", "responses_b", "criterion"),
    str,
)
_PIECE: Final = 2**20
_ROW_GROUP: Final = 5_000


@dataclass(frozen=True, slots=True)
class Form:
    """One form of the results; `aliases` are other names of its media type."""

    media_type: str
    write: Callable[[Verdicts, Columns, Path | None], AsyncIterator[str | bytes]]
    aliases: tuple[str, ...] = ()
    needs: tuple[str, str] | None = None

    @property
    def is_at_hand(self) -> bool:
        """True if the package that writes it is installed."""
        return self.needs is None or find_spec(self.needs[0]) is not None

    def quality(self, ranges: Sequence[tuple[str, float]]) -> float:
        """Return how acceptable the form is, 0 to 1: the most specific range that covers it counts."""
        names = (self.media_type, *self.aliases)
        kinds = {f"{name.partition('/')[0]}/*" for name in names}
        for covered in (set(names), kinds, {"*/*"}):
            found = [quality for name, quality in ranges if name in covered]
            if found:
                return max(found)
        return 0.0


async def _ndjson(verdicts: Verdicts, columns: Columns, folder: Path | None) -> AsyncIterator[str]:
    async for verdict in verdicts:
        yield json.dumps(verdict) + "\n"


async def _csv(verdicts: Verdicts, columns: Columns, folder: Path | None) -> AsyncIterator[str]:
    yield _line(columns)
    async for verdict in verdicts:
        row = _flat(verdict)
        yield _line([_cell(row.get(name)) for name in columns])


def _flat(verdict: Mapping[str, Any]) -> dict[str, Any]:
    """Return a verdict with its texts as cells of a table."""
    texts = {name: verdict[name] for name in TEXT_FIELDS if name in verdict}
    rest = {name: value for name, value in verdict.items() if name not in texts}
    return rest | {name: in_utf8(cell) for name, cell in cells_of(texts).items()}


def _line(cells: Iterable[str]) -> str:
    line = io.StringIO()
    csv.writer(line).writerow(cells)
    return line.getvalue()


def _cell(value: object) -> str:
    if value is None:
        return ""
    return inert(value) if isinstance(value, str) else json.dumps(value)


async def _parquet(
    verdicts: Verdicts, columns: Columns, folder: Path | None
) -> AsyncIterator[bytes]:
    """Write to disk first: a Parquet file can only be read from its end."""
    with tempfile.TemporaryFile(dir=folder) as file:
        await _write_parquet(verdicts, columns, cast(BinaryIO, file))
        file.seek(0)
        while piece := await asyncio.to_thread(file.read, _PIECE):
            yield piece


async def _write_parquet(verdicts: Verdicts, columns: Columns, file: BinaryIO) -> None:
    # an optional extra, needed for this form alone
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema({name: arrow_type(pa, kind) for name, kind in columns.items()})
    with pq.ParquetWriter(file, schema) as writer:

        def write(rows: list[dict[str, Any]]) -> None:
            writer.write_table(pa.Table.from_pylist(rows, schema))

        rows: list[dict[str, Any]] = []
        async for verdict in verdicts:
            rows.append(_flat(verdict))
            if len(rows) == _ROW_GROUP:
                await asyncio.to_thread(write, rows)
                rows = []
        await asyncio.to_thread(write, rows)


NDJSON: Final = Form(
    "application/x-ndjson",
    _ndjson,
    ("application/ndjson", "application/jsonl", "application/x-jsonlines"),
)
FORMS: Final = (
    NDJSON,
    Form("text/csv", _csv),
    Form("application/vnd.apache.parquet", _parquet, needs=("pyarrow", "arrow")),
)


def form_for(accept: str | None) -> Form:
    """Return the form that an `Accept` header prefers; NDJSON if it prefers none.

    Raises:
        NotAcceptable: it accepts none, or only one whose extra is not installed.
    """
    if not (accept or "").strip():
        return NDJSON
    ranges = [_range(text) for text in (accept or "").split(",")]
    accepted = [form for form in FORMS if form.quality(ranges) > 0]
    ready = [form for form in accepted if form.is_at_hand]
    if ready:
        return max(ready, key=lambda form: form.quality(ranges))
    raise NotAcceptable(_refusal(accept, accepted), headers={"Vary": "Accept"})


def _refusal(accept: str | None, accepted: Sequence[Form]) -> str:
    for form in accepted:
        if form.needs is not None:
            return (
                f"Accept: {form.media_type} needs {form.needs[0]}: "
                f"install tribunal-judge[{form.needs[1]}]"
            )
    known = ", ".join(form.media_type for form in FORMS)
    return f"Accept: {shown(accept)} is none of {known}"


def _range(text: str) -> tuple[str, float]:
    """Read one media range with its quality; a quality that cannot be read is 0."""
    name, *parameters = (part.strip().lower() for part in text.split(";"))
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip() == "q":
            return name, _quality(value)
    return name, 1.0


def _quality(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        return 0.0
    return value if math.isfinite(value) and 0 <= value <= 1 else 0.0


_FLUSH_CHARACTERS: Final = 2**16
# no judge answered: the status of a proxy whose server does not answer
_STATUS_OF_FAILURE: Final = 502
_UNJUDGED: Final = {
    "cancelled": ("batch_cancelled", "the batch was cancelled before this pair was judged"),
    "expired": ("batch_expired", "the batch expired before this pair was judged"),
}


async def ended_batch(running: Runtime, wanted: Derived) -> Batch:
    """Return the batch that a derived file belongs to.

    Raises:
        NotFound: the batch does not exist, or has no such file.
    """
    name = (output_id if wanted.kind == "output" else errors_id)(wanted.batch_id)
    try:
        batch = await service.ended(running, wanted.batch_id)
    except NotFound:
        raise NotFound(f"there is no file {shown(name)}") from None
    if wanted.kind == "errors":
        batch_as_shown = await stored.find(running, batch.id)
        if batch_as_shown["error_file_id"] is None:
            raise NotFound(f"there is no file {shown(name)}: batch {batch.id} had no errors")
    return batch


async def described(running: Runtime, wanted: Derived) -> FileBody:
    """Return a derived file as users see it; its size is counted by reading it.

    Raises:
        NotFound: the batch does not exist, or has no such file.
    """
    batch = await ended_batch(running, wanted)
    size = 0
    async for piece in content(running, batch, wanted):
        size += len(piece)
    return {
        "id": (output_id if wanted.kind == "output" else errors_id)(batch.id),
        "object": "file",
        "bytes": size,
        "created_at": int((batch.completed_at or batch.created_at).timestamp()),
        "filename": f"{batch.id}_{wanted.kind}.jsonl",
        "purpose": "batch_output",
        "status": "processed",
        "status_details": None,
        "expires_at": None,
        "dataset": None,
        "requests": None,
        "rejected_count": None,
    }


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
    async for row in files.rejected_lines(running, batch.dataset_seq):
        name = _name(batch, f"line {row.line}")
        yield _refused(name, row.custom_id, "invalid_line", row.reason, line=row.line)


async def _unjudged(running: Runtime, batch: Batch) -> AsyncIterator[dict[str, Any]]:
    member = membership_of(batch)
    async with running.db.read() as session:
        dataset = await session.get_one(Dataset, batch.dataset_seq)
        shards = await queries.unfinished_shards(session, batch.seq)
    for shard in shards:
        code, message = _reason(batch, shard)
        for positions in queries.some_at_a_time(positions_of(batch, dataset, shard)):
            async with running.db.read() as session:
                rows = await queries.unjudged(session, batch, positions)
                await service.refuse_changed(session, batch)
            for row in rows:
                if member is None or member.holds(row.group):
                    yield _refused(_name(batch, f"pair {row.id}"), row.id, code, message)


def _reason(batch: Batch, shard: Shard) -> tuple[str, str]:
    if shard.state == "failed":
        return "shard_failed", shard.error or "the shard of this pair was given up"
    code, message = _UNJUDGED.get(
        batch.status, ("not_judged", "the batch ended before this pair was judged")
    )
    return code, f"{message}; its last attempt failed: {shard.error}" if shard.error else message


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
    """Return an id that is the same whenever the line is read."""
    return hashlib.sha256(f"{batch.id}\n{what}".encode("utf-8", "backslashreplace")).hexdigest()[
        :24
    ]
