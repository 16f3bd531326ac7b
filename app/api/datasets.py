"""`/datasets`: import, list, read, delete."""

from __future__ import annotations

import json
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import StreamingResponse

from app.datasets import service
from app.datasets.addresses import NameRoute
from app.datasets.bodies import kind_of
from app.datasets.deleting import delete_dataset
from app.datasets.exporting import canonical_row
from app.datasets.importing import Wanted, import_dataset
from app.datasets.schemas import DatasetOut, ExportQuery, shown, shown_import
from app.datasets.spooling import spooled
from app.datasets.tables import PARQUET
from app.datasets.writing import ENDINGS, MEDIA_TYPES, settings_of, write, writer_of
from app.dialects.detection import AUTO
from app.dialects.writing import Options
from app.errors import Unprocessable
from app.identifiers import fault_of
from app.pagination import After, Limit, Page, page_of
from app.responses import TextsResponse
from app.runtime import Running

router = APIRouter(prefix="/datasets", tags=["datasets"], route_class=NameRoute)
Ref = Annotated[str, Path(description="id or name; a slash in a name is written as %2F")]

_IN_PATH = ("path", "ref")
_WRITTEN = {media_type: {"schema": {"type": "string"}} for media_type in MEDIA_TYPES.values()}
_ROW = {"$ref": "#/components/schemas/PairIn"}
_BODY = {
    "requestBody": {
        "required": True,
        "description": "Rows, one JSON object a line, a JSON array of them, CSV with a header, or "
        "Parquet; or files of any of these, joined where their format comes in several; gzip is "
        "recognised. Unknown fields of a row move into its `metadata`.",
        "content": {
            "application/x-ndjson": {"schema": _ROW},
            "application/json": {"schema": {"type": "array", "items": _ROW}},
            "text/csv": {"schema": {"type": "string"}},
            PARQUET: {"schema": {"type": "string", "format": "binary"}},
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {
                        "file": {"type": "array", "items": {"type": "string", "format": "binary"}}
                    },
                    "required": ["file"],
                }
            },
        },
    }
}


@router.post(
    "",
    status_code=201,
    response_model=DatasetOut,
    responses={200: {"model": DatasetOut, "description": "the same name and content were there"}},
    openapi_extra=_BODY,
)
async def create(
    request: Request,
    running: Running,
    name: Annotated[str, Query(description="unique; give it again to bring further labels")],
    dialect: Annotated[str, Query(description="row format; auto = by the fields")] = AUTO,
    strict: Annotated[bool, Query(description="refuse all if one row is bad")] = False,
) -> Response:
    """Import a dataset; bad rows are reported with number and reason, the rest is kept."""
    fault = fault_of(name)
    if fault is not None:
        raise Unprocessable(f"name: {fault}", errors=[{"loc": ["query", "name"], "msg": fault}])
    headers = request.headers
    kind = kind_of(
        headers.get("content-type", ""),
        headers.get("content-encoding", ""),
        headers.get("content-disposition", ""),
    )
    folder = running.settings.spool_dir
    wanted = Wanted(name, dialect, is_strict=strict, spool_dir=folder)
    async with spooled(request, folder) as body:
        imported = await import_dataset(running.db, body, kind, wanted, running.now())
    await running.reload_if_waiting()
    headers_out = {"location": f"/v1/datasets/{imported.dataset.id}"}
    status = 201 if imported.is_new else 200
    return TextsResponse(shown_import(imported), status, headers_out)


@router.get("")
async def list_datasets(running: Running, limit: Limit = 100, after: After = None) -> Page:
    """List datasets in the order they were imported."""
    async with running.db.read() as session:
        rows = await service.dataset_page(session, limit, after)
    return page_of(rows, limit, shown)


@router.get("/{ref}", response_model=DatasetOut)
async def read(ref: Ref, running: Running) -> Response:
    """Return one dataset by its id or name."""
    async with running.db.read() as session:
        return TextsResponse(shown(await service.find_dataset(session, ref, _IN_PATH)))


@router.get("/{ref}/pairs", response_model=Page)
async def list_pairs(
    ref: Ref, running: Running, limit: Limit = 100, after: After = None
) -> Response:
    """List the pairs of a dataset as canonical rows, in the order of the file."""
    async with running.db.read() as session:
        dataset = await service.find_dataset(session, ref, _IN_PATH)
        rows = await service.stored_page(session, dataset, limit, after)
    page = page_of(rows, limit, canonical_row)
    return TextsResponse(page.model_dump())


@router.get(
    "/{ref}/export",
    response_class=StreamingResponse,
    responses={200: {"content": _WRITTEN, "description": "the dataset in the format asked for"}},
)
async def export(
    ref: Ref,
    running: Running,
    options: Annotated[ExportQuery, Query()],
) -> Response:
    """Return a dataset in another format.

    The header `X-Tribunal-Loss` counts, as a JSON object, what the format cannot hold.
    """
    async with running.db.read() as session:
        dataset = await service.find_dataset(session, ref, _IN_PATH)
        settings = settings_of(options.format)
        if settings is not None:
            return Response(settings[0], media_type=settings[1])
        writer = writer_of(options.format)
        how = Options(options.seed, options.labels, running.settings.spool_dir)
        written = await write(session, dataset, writer, how)
    name = f"{dataset.id}.{ENDINGS[writer.form]}"
    headers = {
        "X-Tribunal-Loss": json.dumps(written.loss),
        "Content-Length": str(written.size),
        "Content-Disposition": f'attachment; filename="{name}"',
    }
    return StreamingResponse(written.pieces(), media_type=MEDIA_TYPES[writer.form], headers=headers)


@router.delete("/{ref}", status_code=204)
async def delete(
    ref: Ref,
    running: Running,
    force: Annotated[bool, Query(description="also where certificates rest on it")] = False,
) -> None:
    """Delete a dataset with all that hangs on it.

    With it go its pairs, labels and recorded scores; the certificates that rest on its labels; the
    batches on its pairs and those, of whatever dataset, that were judged under these certificates;
    every verdict of these certificates and batches; its leaderboards and its agreement reports. The
    scores that live judges gave its pairs stay and are found again if the pairs come back.

    409 names the batches that have not ended: cancel them first, or wait. 409 names the
    certificates that rest on it, unless `force=true`.
    """
    async with running.db.write() as session:
        dataset = await service.find_dataset(session, ref, _IN_PATH)
        await delete_dataset(session, dataset, force=force)
