"""One certificate, leaderboard, report or batch: what its JSON says, drawn and in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from fastapi import APIRouter, Request, Response

from app.api import batches as batches_api
from app.api import calibrations as calibrations_api
from app.api import reports as reports_api
from app.api.calibrations import CalibrationId
from app.api.reports import ReportId
from app.batches.events import has_ended
from app.core.auth import Scope
from app.core.http.access import needs
from app.core.http.parameters import Running
from app.core.lists import Paging
from app.judgments import service as judgments
from app.pages import charts
from app.pages.frame import PageRoute, checked_form, go_to, page, part
from app.pages.lists import dataset_names
from app.pages.words import target

router = APIRouter(include_in_schema=False, route_class=PageRoute)
_FEW: Final = Paging(20, None, "desc")
Body = Mapping[str, Any]


@router.get("/calibrations/{calibration_id}")
@needs(Scope.READ)
async def certificate_page(
    calibration_id: CalibrationId, request: Request, running: Running
) -> Response:
    """Say what a certificate promises, on what it rests, and which verdicts were given under it."""
    body = await calibrations_api.get_calibration(calibration_id, running)
    chosen = judgments.Filter(calibration=calibration_id)
    verdicts = await judgments.list_verdicts(running, chosen, _FEW)
    ref = body["request"].get("dataset")
    names = await dataset_names(running, [ref] if ref else [])
    figures = body.get("calibration")
    composition = list(figures["composition"].items()) if figures else []
    nodes = _nodes(body) if figures else []
    agreement = body["target_agreement"]
    # a promise on a whole dataset is about wrong verdicts among all pairs, not about agreement
    is_drawn = bool(nodes) and agreement is not None
    chart = charts.frontier(nodes, agreement, _chosen(body)) if is_drawn else None
    return await page(
        request,
        "certificate",
        api=f"/v1/calibrations/{part(calibration_id)}",
        body=body,
        figures=figures,
        verdicts=verdicts["data"],
        dataset=names.get(ref),
        chart=chart,
        nodes=nodes,
        composition=composition,
        bar=charts.shares(composition, "Who answers") if composition else None,
    )


def _chosen(body: Body) -> int | None:
    return 0 if body["status"] == "certified" else None


def _nodes(body: Body) -> list[dict[str, Any]]:
    """Return the thresholds that a certificate holds: its own, those of its parts and its bounds."""
    parts = [part for part in body.get("certificates") or () if part["slice"] is None]
    found = [body["calibration"], *(part["calibration"] for part in parts)]
    nodes = [
        _node(one, f"target {target(whole)}", one["agreement"], one["cost_per_pair"])
        for one, whole in zip(found, [body, *parts], strict=True)
    ]
    for one in body["calibration"].get("bounds") or ():
        right = one["answered"] - one["disagreements"]
        agreement = right / one["answered"] if one["answered"] else None
        nodes.append(_node(one, "other thresholds that hold together with it", agreement, None))
    return nodes


def _node(one: Body, title: str, agreement: float | None, cost: float | None) -> dict[str, Any]:
    return {
        "coverage": one["coverage"],
        "agreement": agreement,
        "bound": one["agreement_lower_bound"],
        "cost": cost,
        "title": title,
    }


@router.post("/calibrations/{calibration_id}/revoke")
@needs(Scope.ADMIN)
async def revoke(calibration_id: CalibrationId, request: Request, running: Running) -> Response:
    """Withdraw a certificate's promise."""
    await checked_form(request)
    await calibrations_api.revoke_calibration(calibration_id, running)
    return go_to(f"/calibrations/{part(calibration_id)}")


@router.get("/reports/{report_id}")
@needs(Scope.READ)
async def report_page(report_id: ReportId, request: Request, running: Running) -> Response:
    """Show how well people, judges and a cascade agree."""
    body = await reports_api.get_report(report_id, running)
    names = await dataset_names(running, [body["dataset"]])
    judges = body.get("judges") or []
    return await page(
        request,
        "report",
        api=f"/v1/reports/{part(report_id)}",
        body=body,
        dataset=names[body["dataset"]],
        judges=judges,
        plots={one["judge"]: _plots(one) for one in judges},
    )


def _plots(judge: Body) -> list[Any]:
    found = []
    if bins := judge.get("reliability", {}).get("bins"):
        found.append(charts.reliability(bins))
    if points := judge.get("risk_coverage", {}).get("points"):
        found.append(charts.risk_coverage(points))
    return found


@router.get("/batches/{batch_id}")
@needs(Scope.READ)
async def batch_page(batch_id: batches_api.BatchId, request: Request, running: Running) -> Response:
    """Show how far a batch is, what it costs, and how its judges are doing."""
    body = await batches_api.get_batch(batch_id, running)
    names = await dataset_names(running, [body["dataset"]])
    return await page(
        request,
        "batch",
        api=f"/v1/batches/{part(batch_id)}",
        body=body,
        dataset=names[body["dataset"]],
        ended=has_ended(body),
    )


@router.post("/batches/{batch_id}/cancel")
@needs(Scope.JUDGE)
async def cancel(batch_id: batches_api.BatchId, request: Request, running: Running) -> Response:
    """Stop a batch and keep what is done."""
    await checked_form(request)
    await batches_api.cancel_batch(batch_id, running)
    return go_to(f"/batches/{part(batch_id)}")


@router.post("/batches/{batch_id}/retry")
@needs(Scope.JUDGE)
async def retry(batch_id: batches_api.BatchId, request: Request, running: Running) -> Response:
    """Judge what an ended batch lacks."""
    await checked_form(request)
    await batches_api.retry_batch(batch_id, running, Response())
    return go_to(f"/batches/{part(batch_id)}")
