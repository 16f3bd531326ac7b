"""`/calibrations`: certificates."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response

from app.calibrations import queries, service
from app.calibrations.schemas import CalibrationIn, KnownPromptsIn, KnownPromptsOut
from app.idempotency import IdempotentRoute
from app.pagination import After, Limit, Page, page_of
from app.runtime import Running

router = APIRouter(prefix="/calibrations", tags=["calibrations"], route_class=IdempotentRoute)


@router.post("", status_code=201, responses={202: {"description": "judges must be asked first"}})
async def create_calibration(
    request: CalibrationIn, running: Running, response: Response
) -> dict[str, Any]:
    """Certify a cascade on labelled pairs: thresholds with a guarantee, or an honest refusal."""
    certificate = await service.create(running, request)
    response.headers["Location"] = f"/v1/calibrations/{certificate.id}"
    if certificate.status in queries.UNFINISHED:
        response.status_code = 202
    return await service.look(running, certificate.id)


@router.get("")
async def list_calibrations(running: Running, limit: Limit = 100, after: After = None) -> Page:
    """List certificates in order of creation."""
    async with running.db.read() as session:
        rows = await queries.page(session, limit, after)
    return page_of(rows, limit, service.show)


@router.get("/{calibration_id}")
async def get_calibration(calibration_id: str, running: Running) -> dict[str, Any]:
    """Return one certificate; `labels_changed` counts its pairs with other labels than it read."""
    return await service.look(running, calibration_id)


@router.post("/{calibration_id}/revoke")
async def revoke_calibration(calibration_id: str, running: Running) -> dict[str, Any]:
    """Withdraw a certificate's promise; verdicts under it are refused from now on."""
    await service.revoke(running, calibration_id)
    return await service.look(running, calibration_id)


@router.post("/{calibration_id}/known-prompts", response_model=KnownPromptsOut)
async def known_prompts(
    calibration_id: str, request: KnownPromptsIn, running: Running
) -> dict[str, Any]:
    """Say which prompts a certificate was made from: its promise is for others. Asks no judge."""
    known = await service.known_prompts(running, calibration_id, request.prompts)
    return {"calibration": calibration_id, "known": known}
