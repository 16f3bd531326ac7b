"""`/plans`: what could be certified."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from app.plans import service
from app.plans.schemas import PlanIn
from app.runtime import Running

plans_router = APIRouter(prefix="/plans", tags=["plans"])


@plans_router.post("")
async def create_plan(request: PlanIn, running: Running) -> dict[str, Any]:
    """Return coverage, agreement, cost and labels needed for each target; calls no judge."""
    return await service.make(running, request)
