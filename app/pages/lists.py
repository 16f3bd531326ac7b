"""The overview, and the pages that list what there is, newest first."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from markupsafe import Markup

from app.api import batches as batches_api
from app.api import calibrations, datasets, leaderboards, reports
from app.batches import stored as batches_service
from app.batches.totals import spent_together
from app.core.auth import Scope
from app.core.http.access import caller_of, needs
from app.core.http.parameters import Running
from app.core.runtime import Runtime
from app.datasets import service as datasets_service
from app.finishes import service as finishes
from app.monitors import service as monitors
from app.pages import charts
from app.pages.frame import ANYBODY, PageRoute, go_to, page, paging
from app.pages.words import standing
from app.queues import progress as queues
from app.shadows import service as shadows

router = APIRouter(include_in_schema=False, route_class=PageRoute)
_FEW: Final = 8


@router.get("/")
@needs(ANYBODY)
async def overview(request: Request, running: Running) -> Response:
    """Show which promises are in force, what runs, and what waits for somebody."""
    if not caller_of(request).may(Scope.READ):
        # a key that only labels opens nothing else
        return go_to("/label")
    few = paging(running, request, _FEW)
    listed: dict[str, Any] = {
        "datasets": await datasets.list_datasets(running, few),
        "calibrations": await calibrations.list_calibrations(running, few),
        "batches": await batches_api.list_batches(running, few),
        "leaderboards": await leaderboards.list_leaderboards(running, few),
        "reports": await reports.list_reports(running, few),
    }
    running_now = await batches_service.unfinished(running)
    kinds = ("calibrations", "batches", "leaderboards", "reports")
    refs = [_dataset_of(one) for kind in kinds for one in listed[kind]["data"]]
    refs += [_dataset_of(one) for one in running_now]
    names = await dataset_names(running, refs)
    promises = [one for one in listed["calibrations"]["data"] if in_force(one)]
    newest = listed["batches"]["data"]
    seen = {one["id"] for one in newest}
    # what runs comes first, however old it is
    now = [one for one in running_now if one["id"] not in seen]
    return await page(
        request,
        "overview",
        **listed,
        unfinished=running_now,
        names=names,
        judged=[*now[:_FEW], *newest],
        spent=spent_together(newest),
        promises=promises,
        bars={one["id"]: _bar(one["calibration"]["composition"]) for one in promises},
        others=[one for one in listed["calibrations"]["data"] if not in_force(one)],
        is_empty=not listed["datasets"]["data"],
        waiting_labels=await queues.waiting(running),
        waiting_audits=await queues.waiting(running, "audit"),
        alarms=await monitors.alarms(running),
    )


def _bar(composition: Mapping[str, float]) -> Markup:
    return charts.shares([*composition.items()], "Who answers")


def in_force(certificate: dict[str, Any]) -> bool:
    """Return whether a certificate promises something now."""
    return standing(certificate) == "certified"


@router.get("/datasets")
@needs(Scope.READ)
async def datasets_page(request: Request, running: Running) -> Response:
    """List the datasets, and take a new one."""
    listed = await datasets.list_datasets(running, paging(running, request))
    return await page(request, "datasets", api="/v1/datasets", listed=listed)


@router.get("/calibrations")
@needs(Scope.READ)
async def calibrations_page(request: Request, running: Running) -> Response:
    """List the certificates with their state."""
    listed = await calibrations.list_calibrations(running, paging(running, request))
    return await _list(request, running, "calibrations", listed)


@router.get("/batches")
@needs(Scope.READ)
async def batches_page(request: Request, running: Running) -> Response:
    """List the batches."""
    listed = await batches_api.list_batches(running, paging(running, request))
    return await _list(request, running, "batches", listed)


@router.get("/leaderboards")
@needs(Scope.READ)
async def leaderboards_page(request: Request, running: Running) -> Response:
    """List the leaderboards."""
    listed = await leaderboards.list_leaderboards(running, paging(running, request))
    return await _list(request, running, "leaderboards", listed)


@router.get("/reports")
@needs(Scope.READ)
async def reports_page(request: Request, running: Running) -> Response:
    """List the reports."""
    listed = await reports.list_reports(running, paging(running, request))
    return await _list(request, running, "reports", listed)


@router.get("/finishes")
@needs(Scope.READ)
async def finishes_page(request: Request, running: Running) -> Response:
    """List the datasets that judges and people finish."""
    listed = await finishes.list_finishes(running, paging(running, request))
    return await _list(request, running, "finishes", listed)


@router.get("/shadows")
@needs(Scope.READ)
async def shadows_page(request: Request, running: Running) -> Response:
    """List the candidates that judge a share of the traffic."""
    listed = await shadows.list_shadows(running, paging(running, request))
    return await page(request, "shadows", api="/v1/shadows", listed=listed)


@router.get("/monitors")
@needs(Scope.READ)
async def monitors_page(request: Request, running: Running) -> Response:
    """List the monitors of certificates."""
    listed = await monitors.list_monitors(running, paging(running, request))
    return await page(request, "monitors", api="/v1/monitors", listed=listed)


async def _list(request: Request, running: Runtime, kind: str, listed: Any) -> Response:
    names = await dataset_names(running, [_dataset_of(one) for one in listed["data"]])
    return await page(request, kind, api=f"/v1/{kind}", listed=listed, names=names)


def _dataset_of(body: dict[str, Any]) -> str:
    return str(body["dataset"] if "dataset" in body else body["request"]["dataset"])


async def dataset_names(running: Runtime, refs: list[str]) -> dict[str, str]:
    """Return the names of datasets by what they were referred to, one query for all."""
    async with running.db.read() as session:
        found = await datasets_service.find_datasets(session, set(refs))
    return {ref: found[ref].name if ref in found else ref for ref in refs}
