"""`/batches`: a cascade over a dataset."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import StreamingResponse

from app.batches import queries, service
from app.batches.schemas import BatchIn
from app.idempotency import IdempotentRoute
from app.pagination import After, Limit, Page
from app.runtime import Running

router = APIRouter(prefix="/batches", tags=["batches"], route_class=IdempotentRoute)


@router.post("", status_code=202)
async def create_batch(request: BatchIn, running: Running, response: Response) -> dict[str, Any]:
    """Judge every pair of a dataset, or of a part of it; poll the answer's Location."""
    batch = await service.create(running, request)
    response.headers["Location"] = f"/v1/batches/{batch['id']}"
    return batch


@router.get("")
async def list_batches(running: Running, limit: Limit = 100, after: After = None) -> Page:
    """List batches in order of creation."""
    async with running.db.read() as session:
        rows = await queries.page(session, limit, after)
        data = [await service.show(session, row) for row in rows[:limit]]
    return Page(
        data=data,
        first_id=data[0]["id"] if data else None,
        last_id=data[-1]["id"] if data else None,
        has_more=len(rows) > limit,
    )


@router.get("/{batch_id}")
async def get_batch(batch_id: str, running: Running) -> dict[str, Any]:
    """Return a batch: status, counts, cost, promise."""
    return await service.find(running, batch_id)


@router.post("/{batch_id}/cancel")
async def cancel_batch(batch_id: str, running: Running) -> dict[str, Any]:
    """Stop a batch and keep what is done."""
    return await service.cancel(running, batch_id)


@router.get("/{batch_id}/results", response_class=StreamingResponse)
async def get_results(batch_id: str, running: Running) -> StreamingResponse:
    """Stream an ended batch's verdicts as NDJSON, one a line, in the order of the dataset."""
    verdicts = await service.results(running, batch_id)
    return StreamingResponse(_lines(verdicts), media_type="application/x-ndjson")


async def _lines(verdicts: AsyncIterator[dict[str, Any]]) -> AsyncIterator[str]:
    async for verdict in verdicts:
        yield json.dumps(verdict) + "\n"
