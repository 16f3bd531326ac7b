"""`/canaries`: whether judges follow what responses tell them to do."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from app.canaries import service
from app.canaries.schemas import CanariesIn
from app.runtime import Running

canaries_router = APIRouter(prefix="/canaries", tags=["canaries"])


@canaries_router.post("")
async def release(request: CanariesIn, running: Running) -> dict[str, Any]:
    """Ask live judges about pairs whose worse response demands to win; nothing is stored.

    Every pair costs each judge six questions: one as it is, and one for each attack.
    """
    return await service.release(running, request)
