"""`/files`: upload, list, read, delete; what came of a batch is read here too."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, HTTPException, Path, Query, Request, Response
from fastapi.responses import StreamingResponse

from app.batches import results
from app.batches.files import service
from app.batches.files.derived import derived
from app.bodies.batches import FileBody, FileDeletedBody
from app.bodies.common import PageBody
from app.core.auth import Scope
from app.core.errors import Conflict
from app.core.http.access import needs
from app.core.http.idempotency import answer_once
from app.core.http.openapi import AnswerRoute, refused
from app.core.http.parameters import NewestFirst, Running
from app.core.http.problems import TextsResponse
from app.core.names import shown
from app.core.runtime import Runtime
from app.imports.upload import FORM_TYPE, media_type_of, received

FileId = Annotated[str, Path(description="id of an uploaded file, or of one that came of a batch")]
router = APIRouter(prefix="/files", tags=["files"], route_class=AnswerRoute)
_LINES = "application/x-ndjson"
_FORM = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "purpose": {"type": "string", "enum": ["batch"]},
                        "file": {
                            "type": "string",
                            "format": "binary",
                            "description": "one request a line: `custom_id`, `method` POST, `url` "
                            "/v1/judgments, and as `body` one pair, the row of a dataset",
                        },
                    },
                    "required": ["purpose", "file"],
                }
            }
        },
    }
}


@router.post(
    "", response_model=FileBody, responses=refused(400, 409, 415, 422), openapi_extra=_FORM
)
@needs(Scope.JUDGE)
async def create_file(request: Request, running: Running) -> Response:
    """Upload a file of requests for a batch.

    Lines that are no requests are counted here and end in the error file of every batch over it.
    """
    if media_type_of(request.headers) != FORM_TYPE:
        raise HTTPException(415, f"Content-Type: send {FORM_TYPE} with purpose and file")
    settings = running.settings
    with running.pools.imports.admitted():
        async with received(
            request, settings.spool_dir, limits=settings.limits, most_files=1
        ) as uploaded:
            form = await running.pools.imports.run_for_client(service.Form.of, uploaded)

            async def answer() -> Response:
                return TextsResponse(await service.upload(running, form))

            return await answer_once(request, form.hash(), answer)


@router.get("", response_model=PageBody[FileBody], responses=refused(404))
@needs(Scope.READ)
async def list_files(
    running: Running,
    paging: NewestFirst,
    purpose: Annotated[
        str | None, Query(max_length=64, description="only files for this; `batch` is the only one")
    ] = None,
) -> PageBody[FileBody]:
    """List uploaded files, newest first; those that came of a batch are named by the batch."""
    async with running.db.read() as session:
        rows = await service.page(session, paging, purpose)
    data = rows[: paging.limit]
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": len(rows) > paging.limit,
    }


@router.get("/{file_id}", response_model=FileBody, responses=refused(409))
@needs(Scope.READ)
async def get_file(file_id: FileId, running: Running) -> FileBody:
    """Return what is known of a file, an uploaded one or one that came of a batch."""
    wanted = derived(file_id)
    if wanted is not None:
        return await results.described(running, wanted)
    async with running.db.read() as session:
        return await service.show(session, await service.find(session, file_id))


@router.get(
    "/{file_id}/content",
    response_class=StreamingResponse,
    responses={200: {"content": {_LINES: {"schema": {"type": "string"}}}}, **refused(409)},
)
@needs(Scope.READ)
async def get_content(file_id: FileId, running: Running) -> StreamingResponse:
    """Stream a file: as it was uploaded, or what came of a batch, one envelope a line."""
    return StreamingResponse(await _content(running, file_id), media_type=_LINES)


async def _content(running: Runtime, file_id: str) -> AsyncIterator[bytes]:
    wanted = derived(file_id)
    if wanted is not None:
        return results.content(running, await results.ended_batch(running, wanted), wanted)
    async with running.db.read() as session:
        file = await service.find(session, file_id)
    return service.content_of(running, file)


@router.delete("/{file_id}", response_model=FileDeletedBody, responses=refused(409))
@needs(Scope.ADMIN)
async def delete_file(file_id: FileId, running: Running) -> FileDeletedBody:
    """Delete an uploaded file.

    Batches made from it stay whole, and with them its pairs; where nothing rests on these, they
    go too.
    """
    if derived(file_id) is not None:
        raise Conflict(f"{shown(file_id)} belongs to its batch and goes with it")
    async with running.db.write() as session:
        await service.delete_file(session, file_id)
    return {"id": file_id, "object": "file", "deleted": True}
