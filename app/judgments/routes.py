"""`/judgments`: verdicts on posted pairs."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.responses import JSONResponse

from app.batches.posted import batch_of
from app.idempotency import IdempotentRoute
from app.judgments import service
from app.judgments.schemas import JudgmentsIn, JudgmentsOut
from app.pagination import After, Limit, Page
from app.runtime import Running

router = APIRouter(prefix="/judgments", tags=["judgments"], route_class=IdempotentRoute)
Name = Annotated[str | None, Query(max_length=512)]


@router.post(
    "",
    response_model=JudgmentsOut,
    responses={202: {"description": "with `Prefer: respond-async`: a batch, see Location"}},
)
async def create_judgments(
    request: JudgmentsIn, running: Running, http: Request, prefer: Annotated[str, Header()] = ""
) -> dict[str, Any] | JSONResponse:
    """Judge up to 256 pairs; stored scores are used again, so a repeat calls no judge."""
    if "respond-async" in prefer:
        batch = await batch_of(running, request, (await http.json())["pairs"])
        headers = {
            "Location": f"/v1/batches/{batch['id']}",
            "Preference-Applied": "respond-async",
        }
        return JSONResponse(batch, 202, headers)
    return await service.judge(running, request)


def _filter(
    dataset: Name = None,
    calibration: Name = None,
    status: Literal["accepted", "abstained", "failed"] | None = None,
) -> service.Filter:
    return service.Filter(dataset, calibration, status)


@router.get("")
async def list_judgments(
    running: Running,
    chosen: Annotated[service.Filter, Depends(_filter)],
    limit: Limit = 100,
    after: After = None,
) -> Page:
    """List stored verdicts, oldest first."""
    return await service.list_verdicts(running, chosen, limit, after)
