"""`/batches`: a cascade over a dataset."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response
from fastapi.responses import StreamingResponse

from app.batches import from_file, queries, retrying, service
from app.batches.events import events, has_ended, state_id
from app.batches.formats import FORMS, form_for
from app.batches.openai_form import AnyBatchIn
from app.batches.schemas import RetryIn
from app.idempotency import IdempotentRoute
from app.pagination import After, Limit, Page
from app.runtime import Running

router = APIRouter(prefix="/batches", tags=["batches"], route_class=IdempotentRoute)
_FORMS = {form.media_type: {"schema": {"type": "string"}} for form in FORMS}


@router.post("", status_code=202)
async def create_batch(request: AnyBatchIn, running: Running, response: Response) -> dict[str, Any]:
    """Judge every pair of a dataset, or of a part of it, or a file; poll the answer's Location."""
    batch = await from_file.create(running, request)
    response.headers["Location"] = f"/v1/batches/{batch['id']}"
    return batch


@router.get("")
async def list_batches(running: Running, limit: Limit = 100, after: After = None) -> Page:
    """List batches in order of creation."""
    async with running.db.read() as session:
        rows = await queries.page(session, limit, after)
        data = [await service.show(session, row, running.now()) for row in rows[:limit]]
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


@router.post("/{batch_id}/retry", status_code=202)
async def retry_batch(
    batch_id: str, running: Running, response: Response, request: RetryIn | None = None
) -> dict[str, Any]:
    """Judge what an ended batch lacks: where judges failed, or money or time ran out.

    What was judged stays; scores that are stored cost nothing again.
    """
    batch = await retrying.retry(running, batch_id, request or RetryIn())
    response.headers["Location"] = f"/v1/batches/{batch_id}"
    return batch


@router.get(
    "/{batch_id}/results",
    response_class=StreamingResponse,
    responses={200: {"content": _FORMS, "description": "in the form that `Accept` asks for"}},
)
async def get_results(batch_id: str, running: Running, http: Request) -> StreamingResponse:
    """Stream an ended batch's verdicts, one a line or row, in the order of the dataset.

    NDJSON unless `Accept` asks for CSV (`tiers` as JSON in a cell) or for Parquet, which needs the
    extra `arrow`.
    """
    form = form_for(",".join(http.headers.getlist("accept")))
    verdicts = await service.results(running, batch_id)
    return StreamingResponse(
        form.write(verdicts, running.settings.spool_dir),
        media_type=form.media_type,
        headers={"Vary": "Accept"},
    )


@router.get(
    "/{batch_id}/events",
    response_class=StreamingResponse,
    responses={
        200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}},
        204: {"description": "the event of `Last-Event-ID` was the last one"},
    },
)
async def get_events(
    batch_id: str,
    running: Running,
    http: Request,
    last_event_id: Annotated[str | None, Header()] = None,
) -> Response:
    """Stream a batch's progress as server-sent events, the batch in each, until it has ended."""
    batch = await service.find(running, batch_id)
    if has_ended(batch) and last_event_id == state_id(batch):
        return Response(status_code=204)
    return StreamingResponse(
        events(running, batch_id, last_event_id, http.app.state.stopping),
        media_type="text/event-stream",
        # an intermediate that gathers a whole answer would hold progress back
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )
