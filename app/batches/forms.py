"""Creates batches from a request in any form, and from posted pairs."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Sequence
from typing import Any

from app.batches import creating, estimating
from app.batches.files import service as files
from app.batches.openai import FileForm, OpenAIBatchIn
from app.batches.parquet import batch
from app.batches.schemas import BatchIn, TablesBatchIn
from app.core.errors import Unprocessable
from app.core.runtime import Runtime
from app.imports.importing import Wanted, import_dataset
from app.imports.upload import UploadedFile
from app.judgments.schemas import JudgmentsIn, canonical_row
from app.judgments.service import read


async def create(
    running: Runtime, request: BatchIn | OpenAIBatchIn | TablesBatchIn
) -> dict[str, Any]:
    """Store a batch in any form."""
    if isinstance(request, BatchIn):
        return await creating.create(running, request)
    if isinstance(request, TablesBatchIn):
        return await batch.create(running, request)
    async with running.db.read() as session:
        dataset = await files.requests_of(session, request.input_file_id)
    form = FileForm(
        input_file_id=request.input_file_id,
        completion_window=request.completion_window,
        metadata=request.metadata,
        rejected=dataset.rejected_count,
    )
    return await creating.create(running, request.native(dataset.id), form)


async def estimate(
    running: Runtime, request: BatchIn | OpenAIBatchIn | TablesBatchIn
) -> dict[str, Any]:
    """Return what a batch in any form would ask and cost.

    Raises:
        Unprocessable: its pairs are not in the database.
    """
    if isinstance(request, TablesBatchIn):
        raise Unprocessable.field(
            ["input"],
            "pairs that stay in files have no estimate: import a sample of them, and estimate the"
            " batch over that",
        )
    if isinstance(request, OpenAIBatchIn):
        async with running.db.read() as session:
            dataset = await files.requests_of(session, request.input_file_id)
        request = request.native(dataset.id)
    return await estimating.estimate(running, request)


async def batch_of(
    running: Runtime, request: JudgmentsIn, rows: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """Store posted rows as a dataset named by their hash, and start a batch over it."""
    read(request.pairs, running.registry)
    lines = b"".join(json.dumps(canonical_row(row)).encode("ascii") + b"\n" for row in rows)
    name = f"judgments-{hashlib.sha256(lines).hexdigest()[:24]}"
    imported = await import_dataset(
        running.db,
        [UploadedFile(io.BytesIO(lines), "application/x-ndjson")],
        Wanted(name, "canonical", is_strict=True, spool_dir=running.settings.spool_dir),
        running.now(),
    )
    wanted = BatchIn(
        dataset=imported.dataset.id, calibration=request.calibration, cascade=request.cascade
    )
    return await creating.create(running, wanted)
