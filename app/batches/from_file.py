"""Batches over uploaded files: what OpenAI clients ask for, in the service's own terms."""

from __future__ import annotations

from typing import Any

from app.batches import creating, tables
from app.batches.openai_form import FileForm, OpenAIBatchIn
from app.batches.schemas import BatchIn
from app.batches.table_schemas import TablesBatchIn
from app.files import service as files
from app.runtime import Runtime


async def create(
    running: Runtime, request: BatchIn | OpenAIBatchIn | TablesBatchIn
) -> dict[str, Any]:
    """Store a batch in any form.

    Raises:
        NotFound: no such file, dataset or certificate.
        Conflict: the certificate does not apply, or a folder holds something else.
        Unprocessable: there is nothing to judge, or a judge is unknown.
    """
    if isinstance(request, BatchIn):
        return await creating.create(running, request)
    if isinstance(request, TablesBatchIn):
        return await tables.create(running, request)
    async with running.db.read() as session:
        dataset = await files.requests_of(session, request.input_file_id)
    form = FileForm(
        input_file_id=request.input_file_id,
        completion_window=request.completion_window,
        metadata=request.metadata,
        rejected=dataset.rejected_count,
    )
    return await creating.create(running, request.native(dataset.id), form)
