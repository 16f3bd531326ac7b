"""`/calibrations`, `/plans` and `/experiments`: what is promised, and what could be."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Path, Response

from app.bodies.certificates import (
    CertificateBody,
    CurveBody,
    ExperimentBody,
    KnownPromptsBody,
    PlanBody,
)
from app.bodies.common import PageBody
from app.bodies.documents import ExportedCertificateBody
from app.calibrations import experiments as calibrations_experiments
from app.calibrations import plans as calibrations_plans
from app.calibrations import service as calibrations_service
from app.calibrations import stored, travel
from app.calibrations.experiments import ExperimentIn
from app.calibrations.plans import PlanIn
from app.calibrations.schemas import CalibrationIn, KnownPromptsIn
from app.core.auth import Scope
from app.core.http.access import needs
from app.core.http.idempotency import IdempotentRoute
from app.core.http.openapi import LOCATION, AnswerRoute, long_lists, refused
from app.core.http.parameters import NewestFirst, Running
from app.core.lists import Page

CalibrationId = Annotated[str, Path(description="id of a certificate")]
router = APIRouter(prefix="/calibrations", tags=["calibrations"], route_class=IdempotentRoute)


@router.post(
    "",
    status_code=201,
    response_model=CertificateBody,
    response_description="the certificate, certified or not",
    responses={
        201: {"headers": LOCATION},
        202: {
            "model": CertificateBody,
            "description": "judges must be asked first: poll Location",
            "headers": LOCATION,
        },
        **refused(404, 409),
    },
)
@needs(Scope.JUDGE)
async def create_calibration(
    request: CalibrationIn, running: Running, response: Response
) -> dict[str, Any]:
    """Certify a cascade on labelled pairs: thresholds with a guarantee, or an honest refusal."""
    certificate = await calibrations_service.create(running, request)
    response.headers["Location"] = f"/v1/calibrations/{certificate.id}"
    if certificate.status in calibrations_service.UNFINISHED:
        response.status_code = 202
    return await stored.look(running, certificate.id)


@router.get("", response_model=PageBody[CertificateBody], responses=refused(404))
@needs(Scope.READ)
async def list_calibrations(running: Running, paging: NewestFirst) -> Page:
    """List certificates newest first."""
    return await stored.page(running, paging)


@router.get("/{calibration_id}", response_model=CertificateBody)
@needs(Scope.READ)
async def get_calibration(calibration_id: CalibrationId, running: Running) -> dict[str, Any]:
    """Return one certificate; `labels_changed` counts its pairs with other labels than it read."""
    return await stored.look(running, calibration_id)


@router.get("/{calibration_id}/curve", response_model=CurveBody, responses=refused(409))
@needs(Scope.READ)
async def get_curve(calibration_id: CalibrationId, running: Running) -> dict[str, Any]:
    """Return how often the cascade is wrong as it answers more; asks no judge, promises nothing."""
    return await calibrations_plans.curve(running, calibration_id)


@router.get(
    "/{calibration_id}/export", response_model=ExportedCertificateBody, responses=refused(409)
)
@needs(Scope.READ)
async def export_calibration(calibration_id: CalibrationId, running: Running) -> dict[str, Any]:
    """Return a certificate with its evidence, signed: to be verified or imported elsewhere."""
    return await travel.export(running, calibration_id)


@router.post(
    "/import",
    status_code=201,
    response_model=CertificateBody,
    response_description="the certificate, which keeps its id",
    responses={201: {"headers": LOCATION}, **refused(409)},
)
@needs(Scope.JUDGE)
@long_lists
async def import_calibration(
    document: Annotated[dict[str, Any], Body(description="an exported certificate, as it is")],
    running: Running,
    response: Response,
) -> dict[str, Any]:
    """Take in a certificate that was made elsewhere; it is verified, and its judges compared."""
    certificate = await travel.take_in(running, document)
    response.headers["Location"] = f"/v1/calibrations/{certificate.id}"
    return await stored.look(running, certificate.id)


@router.post("/{calibration_id}/revoke", response_model=CertificateBody, responses=refused(409))
@needs(Scope.ADMIN)
async def revoke_calibration(calibration_id: CalibrationId, running: Running) -> dict[str, Any]:
    """Withdraw a certificate's promise; verdicts under it are refused from now on."""
    await calibrations_service.revoke(running, calibration_id)
    return await stored.look(running, calibration_id)


@router.post(
    "/{calibration_id}/known-prompts",
    response_model=KnownPromptsBody,
    responses=refused(409),
)
@needs(Scope.READ)
async def known_prompts(
    calibration_id: CalibrationId, request: KnownPromptsIn, running: Running
) -> dict[str, Any]:
    """Say which prompts a certificate was made from: its promise is for others. Asks no judge."""
    known = await calibrations_service.known_prompts(running, calibration_id, request.prompts)
    return {"object": "known_prompts", "calibration": calibration_id, "known": known}


plans_router = APIRouter(prefix="/plans", tags=["plans"], route_class=AnswerRoute)


@plans_router.post("", response_model=PlanBody, responses=refused(404))
@needs(Scope.JUDGE)
async def create_plan(request: PlanIn, running: Running) -> dict[str, Any]:
    """Return coverage, agreement, cost and labels needed for each target; calls no judge."""
    return await calibrations_plans.make(running, request)


experiments_router = APIRouter(prefix="/experiments", tags=["experiments"], route_class=AnswerRoute)


@experiments_router.post("", response_model=ExperimentBody, responses=refused(404))
@needs(Scope.JUDGE)
async def create_experiment(request: ExperimentIn, running: Running) -> dict[str, Any]:
    """Return coverage, agreement, success rate and cost of each rule; calls no judge."""
    return await calibrations_experiments.make(running, request)
