"""`/experiments`: rules for choosing thresholds, compared on random splits."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from app.experiments import service
from app.experiments.schemas import ExperimentIn
from app.runtime import Running

experiments_router = APIRouter(prefix="/experiments", tags=["experiments"])


@experiments_router.post("")
async def create_experiment(request: ExperimentIn, running: Running) -> dict[str, Any]:
    """Return coverage, agreement, success rate and cost of each rule; calls no judge."""
    return await service.make(running, request)
