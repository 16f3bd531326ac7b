"""`/judgments`: verdicts on posted pairs."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query

from app.idempotency import IdempotentRoute
from app.judgments import service
from app.judgments.schemas import JudgmentsIn, JudgmentsOut
from app.pagination import After, Limit, Page
from app.runtime import Running

router = APIRouter(prefix="/judgments", tags=["judgments"], route_class=IdempotentRoute)
Name = Annotated[str | None, Query(max_length=512)]


@router.post("", response_model=JudgmentsOut)
async def create_judgments(request: JudgmentsIn, running: Running) -> dict[str, Any]:
    """Judge up to 256 pairs; stored scores are used again, so a repeat calls no judge."""
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
