"""`/batches/{id}/preferences`: trusted verdicts as data to train on, and their card."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse

from app.preferences import service
from app.preferences.card import markdown
from app.responses import TextsResponse
from app.runtime import Running

preferences_router = APIRouter(prefix="/batches/{batch_id}/preferences", tags=["batches"])
PromiseAsked = Annotated[
    Literal["certified", "any"],
    Query(description="any: also where the verdicts promise nothing; the card says so"),
]
_LINES = "application/x-ndjson"
_MARKDOWN = "text/markdown"


@preferences_router.get(
    "",
    response_class=StreamingResponse,
    responses={200: {"content": {_LINES: {"schema": {"type": "string"}}}}},
)
async def preferences(
    batch_id: str, running: Running, promise: PromiseAsked = "certified"
) -> StreamingResponse:
    """Stream the accepted verdicts that prefer an answer: `prompt`, `chosen`, `rejected`.

    409 where the run is suspended or uncertified, or its certificate was revoked, unless
    `promise=any`. Pairs that the certificate knows are left out, since its promise is for others;
    with `promise=any` they are rows with `"calibration_pair": true` and the promise `none`.
    """
    rows = await service.trusted_rows(running, batch_id, any_promise=promise == "any")
    link = f'</v1/batches/{batch_id}/preferences/card>; rel="describedby"'
    return StreamingResponse(_lines(rows), media_type=_LINES, headers={"Link": link})


async def _lines(rows: AsyncIterator[dict[str, Any]]) -> AsyncIterator[str]:
    async for row in rows:
        yield json.dumps(row) + "\n"


@preferences_router.get(
    "/card",
    responses={200: {"content": {_MARKDOWN: {"schema": {"type": "string"}}}}},
)
async def preferences_card(
    batch_id: str, running: Running, http: Request, promise: PromiseAsked = "certified"
) -> Response:
    """Return the terms of the preferences: JSON, or markdown where `Accept` asks for it."""
    body = await service.card_of(running, batch_id, any_promise=promise == "any")
    if _MARKDOWN in http.headers.get("accept", ""):
        return Response(markdown(body), media_type=_MARKDOWN, headers={"Vary": "Accept"})
    return TextsResponse(body, headers={"Vary": "Accept"})
