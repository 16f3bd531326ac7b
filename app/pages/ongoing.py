"""What goes on for weeks: monitors of certificates, shadow judges, datasets that are finished."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from fastapi import APIRouter, Request, Response

from app.api import finishes as finishes_api
from app.api import monitors as monitors_api
from app.api import shadows as shadows_api
from app.core.auth import Scope
from app.core.errors import Conflict
from app.core.http.access import needs
from app.core.http.parameters import Running
from app.core.lists import Page
from app.core.runtime import Runtime
from app.finishes import service as finishes
from app.finishes.schemas import FinishRetryIn
from app.monitors import service as monitors
from app.pages import charts
from app.pages.frame import PageRoute, checked_form, go_to, page, paging, part
from app.pages.lists import dataset_names
from app.shadows import service as shadows

router = APIRouter(include_in_schema=False, route_class=PageRoute)
_CHANGES: Final = (
    ("coverage_change", "Answers more by"),
    ("agreement_change", "Agrees with people more by"),
)


@router.get("/monitors/{monitor}")
@needs(Scope.READ)
async def monitor_page(monitor: monitors_api.Id, request: Request, running: Running) -> Response:
    """Show whether a certificate still holds, and on how many audits that rests."""
    body = await monitors.look(running, monitor)
    level = body["alarm_level"]
    audits = await monitors.audits_page(running, monitor, paging(running, request))
    return await page(
        request,
        "monitor",
        api=f"/v1/monitors/{part(monitor)}",
        body=body,
        audits=audits,
        places=await monitors.places_of_answered(running, [one["id"] for one in audits["data"]]),
        chart=charts.evidence(body["history"], level) if body["history"] else None,
    )


@router.post("/monitors/{monitor}/end")
@needs(Scope.ADMIN)
async def end_monitor(monitor: monitors_api.Id, request: Request, running: Running) -> Response:
    """Stop to draw audits."""
    await checked_form(request)
    await monitors.end(running, monitor)
    return go_to(f"/monitors/{part(monitor)}")


@router.get("/shadows/{shadow}")
@needs(Scope.READ)
async def shadow_page(shadow: shadows_api.Id, request: Request, running: Running) -> Response:
    """Show what promoting a candidate would change, and whether that is known well enough."""
    body: dict[str, Any] = {**await shadows.look(running, shadow)}
    extent = charts.extent_of([body[name] for name, _ in _CHANGES])
    # a change is seen against none
    extent = (min(extent[0], -0.01), max(extent[1], 0.01))
    return await page(
        request,
        "shadow",
        api=f"/v1/shadows/{part(shadow)}",
        body=body,
        changes=[
            (words, body[name], charts.whisker(body[name], extent, words))
            for name, words in _CHANGES
        ],
    )


@router.post("/shadows/{shadow}/end")
@needs(Scope.ADMIN)
async def end_shadow(shadow: shadows_api.Id, request: Request, running: Running) -> Response:
    """Stop to ask a candidate."""
    await checked_form(request)
    await shadows.end(running, shadow)
    return go_to(f"/shadows/{part(shadow)}")


@router.get("/finishes/{finish}")
@needs(Scope.READ)
async def finish_page(finish: finishes_api.Id, request: Request, running: Running) -> Response:
    """Show who gave how many verdicts, what waits for people, and the rows."""
    body = await finishes.look(running, finish)
    names = await dataset_names(running, [body["dataset"]])
    return await page(
        request,
        "finish",
        api=f"/v1/finishes/{part(finish)}",
        body=body,
        dataset=names[body["dataset"]],
        rows=await _rows(running, request, finish),
    )


async def _rows(running: Runtime, request: Request, finish: str) -> Page | None:
    """Return a page of the rows with their verdicts; None while judges may still change them."""
    try:
        return await finishes.rows_page(
            running, finish, replace(paging(running, request), order="asc")
        )
    except Conflict:
        return None


@router.post("/finishes/{finish}/retry")
@needs(Scope.JUDGE)
async def retry_finish(finish: finishes_api.Id, request: Request, running: Running) -> Response:
    """Go on where judges failed: ask them again, or let people label those rows."""
    form = await checked_form(request)
    await finishes.retry(running, finish, FinishRetryIn(people=form.get("people") == "true"))
    return go_to(f"/finishes/{part(finish)}")
