"""`/judgments`, and who judges: `/judges`, `/cascades`, `/canaries`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header, Path, Query, Request
from fastapi.responses import JSONResponse

from app.batches.forms import batch_of
from app.bodies.batches import BatchBody
from app.bodies.common import PageBody
from app.bodies.judgments import (
    CanariesBody,
    CascadeBody,
    JudgeBody,
    JudgmentsBody,
    ReplayBody,
    StoredVerdictBody,
    TriedBody,
)
from app.core.auth import Scope
from app.core.errors import NotFound
from app.core.http.access import needs
from app.core.http.idempotency import IdempotentRoute
from app.core.http.json_bodies import as_sent
from app.core.http.openapi import LOCATION, AnswerRoute, refused
from app.core.http.parameters import AsKept, NewestFirst, Running
from app.core.http.problems import TextsResponse
from app.core.lists import Page, Paging, page_of
from app.core.names import shown
from app.judgments import canaries as judgments_canaries
from app.judgments import replaying
from app.judgments import service as judgments_service
from app.judgments import trying as judgments_trying
from app.judgments.canaries import CanariesIn
from app.judgments.replaying import ReplayIn
from app.judgments.schemas import JudgmentsIn
from app.judgments.trying import TryIn
from judges.base import Judge, JudgeHealth

Include = Annotated[
    Literal["reasons"] | None, Query(description="reasons: what judges say of why, where they did")
]
router = APIRouter(prefix="/judgments", tags=["judgments"], route_class=IdempotentRoute)


@router.post(
    "",
    response_model=JudgmentsBody,
    responses={
        202: {
            "model": BatchBody,
            "description": "with `Prefer: respond-async`: a batch, see Location",
            "headers": LOCATION,
        },
        **refused(404, 409),
    },
)
@needs(Scope.JUDGE)
async def create_judgments(
    request: JudgmentsIn,
    running: Running,
    http: Request,
    include: Include = None,
    prefer: Annotated[
        str, Header(description="`respond-async`: as a batch, whose address comes at once")
    ] = "",
) -> dict[str, Any] | JSONResponse:
    """Judge up to 256 pairs; stored scores are used again, so a repeat calls no judge."""
    if "respond-async" in prefer:
        batch = await batch_of(running, request, as_sent(http)["pairs"])
        headers = {
            "Location": f"/v1/batches/{batch['id']}",
            "Preference-Applied": "respond-async",
        }
        return JSONResponse(batch, 202, headers)
    judged = await judgments_service.judge(running, request, with_reasons=include == "reasons")
    return {
        "object": "judgments",
        "verdicts": judged["verdicts"],
        "suspended_because": judged["suspended_because"],
        "calibration_pairs": judged.get("calibration_pairs", 0),
    }


def _filter(
    dataset: Annotated[
        str | None, Query(max_length=512, description="only of this dataset, by id or name")
    ] = None,
    calibration: Annotated[
        str | None, Query(max_length=512, description="only under this certificate")
    ] = None,
    batch: Annotated[str | None, Query(max_length=512, description="only of this batch")] = None,
    status: Annotated[
        Literal["accepted", "abstained", "failed"] | None, Query(description="only these")
    ] = None,
    include: Include = None,
) -> judgments_service.Filter:
    return judgments_service.Filter(dataset, calibration, batch, status, include)


@router.get("", response_model=PageBody[StoredVerdictBody], responses=refused(404))
@needs(Scope.READ)
async def list_judgments(
    running: Running,
    chosen: Annotated[judgments_service.Filter, Depends(_filter)],
    paging: NewestFirst,
) -> Page:
    """List stored verdicts, newest first."""
    return await judgments_service.list_verdicts(running, chosen, paging)


canaries_router = APIRouter(prefix="/canaries", tags=["canaries"], route_class=AnswerRoute)


@canaries_router.post("", response_model=CanariesBody, responses=refused(404))
@needs(Scope.JUDGE)
async def release(request: CanariesIn, running: Running) -> dict[str, Any]:
    """Ask live judges about pairs whose worse response demands to win; nothing is stored.

    Every pair costs each judge six questions: one as it is, and one for each attack.
    """
    return await judgments_canaries.release(running, request)


replays_router = APIRouter(prefix="/replays", tags=["judgments"], route_class=AnswerRoute)


@replays_router.post("", response_model=ReplayBody, responses=refused(404, 409))
@needs(Scope.READ)
async def replay(request: ReplayIn, running: Running) -> TextsResponse:
    """Give verdicts again from stored scores: other thresholds, judges or rules; asks no judge."""
    return TextsResponse(await replaying.replay(running, request))


catalogue_router = APIRouter(tags=["judges"], route_class=AnswerRoute)


@catalogue_router.get("/judges", response_model=PageBody[JudgeBody], responses=refused(404))
@needs(Scope.READ)
async def list_judges(running: Running, paging: AsKept) -> Page:
    """List the configured judges in the order of the configuration."""
    judges = running.registry.judges
    health = await running.health_of_judges()
    rows = [_show(judges[name], health[name]) for name in _names(judges, paging)]
    return page_of(rows, paging.limit, dict)


@catalogue_router.post("/judges/{name}/try", response_model=TriedBody, responses=refused(404))
@needs(Scope.JUDGE)
async def try_judge(
    name: Annotated[str, Path(max_length=512, description="a configured judge")],
    request: TryIn,
    running: Running,
) -> TriedBody:
    """Ask a judge about one pair and show how: prompts, tokens read, cost; nothing is stored.

    The calls are real ones, and they cost what they cost.
    """
    return await judgments_trying.try_judge(running, name, request)


@catalogue_router.get("/cascades", response_model=PageBody[CascadeBody], responses=refused(404))
@needs(Scope.READ)
async def list_cascades(running: Running, paging: AsKept) -> Page:
    """List the configured cascades, judges from cheap to strong."""
    cascades = running.registry.cascades
    rows = [
        {"id": name, "object": "cascade", "name": name, "judges": list(cascades[name])}
        for name in _names(cascades, paging)
    ]
    return page_of(rows, paging.limit, dict)


def _names(known: Mapping[str, Any], paging: Paging) -> list[str]:
    """Return the names of a page, and one more where there is one."""
    names = list(known)[::-1] if paging.descends else list(known)
    first = 0
    if paging.after is not None:
        if paging.after not in names:
            raise NotFound(f"after: there is no {shown(paging.after)} in this list")
        first = names.index(paging.after) + 1
    return names[first : first + paging.limit + 1]


def _show(judge: Judge, health: JudgeHealth) -> dict[str, Any]:
    spec = judge.spec
    return {
        "id": spec.name,
        "object": "judge",
        "name": spec.name,
        "kind": spec.kind,
        "model": spec.model,
        "fingerprint": spec.fingerprint,
        "price_input": spec.price_input,
        "price_output": spec.price_output,
        "training_prompts": len(spec.training_prompts),
        "example_prompts": len(spec.example_prompts),
        "template": _template(spec.notes),
        "health": {"ready": health.is_ready, "detail": health.detail},
    }


def _template(notes: Mapping[str, Any]) -> dict[str, Any] | None:
    if "template" not in notes:
        return None
    return {
        "name": notes["template"],
        "version": notes["template_version"],
        "labels": notes["template_labels"],
        "variables": notes["template_variables"],
    }
