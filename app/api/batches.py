"""`/batches`: whole datasets judged, with results, progress and preferences."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Path, Query, Request, Response
from fastapi.responses import StreamingResponse

from app.batches import forms, retrying, stored
from app.batches import preferences as batches_preferences
from app.batches import service as batches_service
from app.batches.events import events, has_ended, state_id
from app.batches.openai import AnyBatchIn
from app.batches.preferences import markdown
from app.batches.results import FORMS, REASON_FIELDS, RESULT_FIELDS, TEXT_FIELDS, form_for
from app.batches.schemas import RetryIn
from app.bodies.batches import BatchBody, BatchEstimateBody, PreferencesCardBody
from app.bodies.common import PageBody
from app.core.auth import Scope
from app.core.http.access import may_still, needs
from app.core.http.idempotency import IdempotentRoute
from app.core.http.openapi import LOCATION, AnswerRoute, refused
from app.core.http.parameters import NewestFirst, Running
from app.core.http.problems import TextsResponse
from app.core.lists import Page

BatchId = Annotated[str, Path(description="id of a batch")]
router = APIRouter(prefix="/batches", tags=["batches"], route_class=IdempotentRoute)
_FORMS = {form.media_type: {"schema": {"type": "string"}} for form in FORMS}


@router.post(
    "",
    status_code=202,
    response_model=BatchBody,
    responses={202: {"headers": LOCATION}, **refused(404, 409)},
)
@needs(Scope.JUDGE)
async def create_batch(request: AnyBatchIn, running: Running, response: Response) -> dict[str, Any]:
    """Judge every pair of a dataset, or of a part of it, or a file; poll the answer's Location."""
    batch = await forms.create(running, request)
    response.headers["Location"] = f"/v1/batches/{batch['id']}"
    return batch


@router.post("/estimate", response_model=BatchEstimateBody, responses=refused(404, 409))
@needs(Scope.READ)
async def estimate_batch(request: AnyBatchIn, running: Running) -> dict[str, Any]:
    """Estimate calls, tokens and cost of a batch by judge; no batch is made, no server is asked."""
    return await forms.estimate(running, request)


@router.get("", response_model=PageBody[BatchBody], responses=refused(404))
@needs(Scope.READ)
async def list_batches(running: Running, paging: NewestFirst) -> Page:
    """List batches newest first."""
    return await stored.page(running, paging)


@router.get("/{batch_id}", response_model=BatchBody)
@needs(Scope.READ)
async def get_batch(batch_id: BatchId, running: Running) -> dict[str, Any]:
    """Return a batch: status, counts, cost, promise."""
    return await stored.find(running, batch_id)


@router.post("/{batch_id}/cancel", response_model=BatchBody, responses=refused(409))
@needs(Scope.JUDGE)
async def cancel_batch(batch_id: BatchId, running: Running) -> dict[str, Any]:
    """Stop a batch and keep what is done."""
    return await batches_service.cancel(running, batch_id)


@router.post(
    "/{batch_id}/retry",
    status_code=202,
    response_model=BatchBody,
    responses={202: {"headers": LOCATION}, **refused(409)},
)
@needs(Scope.JUDGE)
async def retry_batch(
    batch_id: BatchId, running: Running, response: Response, request: RetryIn | None = None
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
    responses={
        200: {"content": _FORMS, "description": "in the form that `Accept` asks for"},
        **refused(406, 409),
    },
)
@needs(Scope.READ)
async def get_results(
    batch_id: BatchId,
    running: Running,
    http: Request,
    carried: Annotated[
        Literal["texts"] | None,
        Query(alias="with", description="texts: the texts of the pair beside each verdict"),
    ] = None,
    include: Annotated[
        Literal["reasons"] | None,
        Query(description="reasons: what judges say of why, where they did"),
    ] = None,
) -> StreamingResponse:
    """Stream an ended batch's verdicts with their models, one a line or row, in order.

    The order is that of the dataset. NDJSON unless `Accept` asks for CSV (`tiers` as JSON in a
    cell) or for Parquet, which needs the extra `arrow`.
    """
    form = form_for(",".join(http.headers.getlist("accept")))
    texts, reasons = carried == "texts", include == "reasons"
    verdicts = await batches_service.results(running, batch_id, texts=texts, reasons=reasons)
    columns = {
        **RESULT_FIELDS,
        **(REASON_FIELDS if reasons else {}),
        **(TEXT_FIELDS if texts else {}),
    }
    return StreamingResponse(
        form.write(verdicts, columns, running.settings.spool_dir),
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
@needs(Scope.READ)
async def get_events(
    batch_id: BatchId,
    running: Running,
    http: Request,
    last_event_id: Annotated[
        str | None, Header(description="id of the last event already heard")
    ] = None,
) -> Response:
    """Stream a batch's progress as server-sent events, the batch in each, until it has ended."""
    batch = await stored.find(running, batch_id)
    if has_ended(batch) and last_event_id == state_id(batch):
        return Response(status_code=204)
    may_listen = partial(may_still, http, running, Scope.READ)
    return StreamingResponse(
        events(running, batch_id, last_event_id, http.app.state.stopping, may_listen),
        media_type="text/event-stream",
        # an intermediate that gathers a whole answer would hold progress back
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


preferences_router = APIRouter(
    prefix="/batches/{batch_id}/preferences", tags=["batches"], route_class=AnswerRoute
)
PromiseAsked = Annotated[
    Literal["certified", "any"],
    Query(description="any: also where the verdicts promise nothing; the card says so"),
]
_LINES = "application/x-ndjson"
_MARKDOWN = "text/markdown"


@preferences_router.get(
    "",
    response_class=StreamingResponse,
    responses={200: {"content": {_LINES: {"schema": {"type": "string"}}}}, **refused(409)},
)
@needs(Scope.READ)
async def preferences(
    batch_id: BatchId, running: Running, promise: PromiseAsked = "certified"
) -> StreamingResponse:
    """Stream the accepted verdicts that prefer an answer: `prompt`, `chosen`, `rejected`.

    409 where the run is suspended or uncertified, or its certificate was revoked, unless
    `promise=any`. Pairs that the certificate knows are left out, since its promise is for others;
    with `promise=any` they are rows with `"calibration_pair": true` and the promise `none`.
    """
    rows = await batches_preferences.trusted_rows(running, batch_id, any_promise=promise == "any")
    link = f'</v1/batches/{batch_id}/preferences/card>; rel="describedby"'
    return StreamingResponse(_lines(rows), media_type=_LINES, headers={"Link": link})


async def _lines(rows: AsyncIterator[dict[str, Any]]) -> AsyncIterator[str]:
    async for row in rows:
        yield json.dumps(row) + "\n"


@preferences_router.get(
    "/card",
    response_model=PreferencesCardBody,
    responses={200: {"content": {_MARKDOWN: {"schema": {"type": "string"}}}}, **refused(409)},
)
@needs(Scope.READ)
async def preferences_card(
    batch_id: BatchId, running: Running, http: Request, promise: PromiseAsked = "certified"
) -> Response:
    """Return the terms of the preferences: JSON, or markdown where `Accept` asks for it."""
    body = await batches_preferences.card_of(running, batch_id, any_promise=promise == "any")
    if _MARKDOWN in http.headers.get("accept", ""):
        return Response(markdown(body), media_type=_MARKDOWN, headers={"Vary": "Accept"})
    return TextsResponse(body, headers={"Vary": "Accept"})
