"""One certificate, leaderboard, report or batch: what its JSON says, drawn and in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from fastapi import APIRouter, Request, Response

from app.api import batches as batches_api
from app.api import calibrations as calibrations_api
from app.api.calibrations import CalibrationId
from app.batches.events import has_ended
from app.calibrations.plans import PlanIn
from app.core.auth import Scope
from app.core.errors import Conflict
from app.core.http.access import needs
from app.core.http.parameters import Running
from app.core.lists import Paging
from app.core.runtime import Runtime
from app.judgments import service as judgments
from app.judgments.in_words import why_unanswered
from app.monitors import service as monitors
from app.pages import charts
from app.pages.frame import PageRoute, checked_form, go_to, page, paging, part, with_query
from app.pages.lists import dataset_names
from app.pages.words import target

router = APIRouter(include_in_schema=False, route_class=PageRoute)
_FEW: Final = Paging(20, None, "desc")
# the curve of more labelled pairs takes seconds, so it is drawn when somebody asks for it
_DRAWN_AT_ONCE: Final = 5_000
Body = Mapping[str, Any]


@router.get("/calibrations/{calibration_id}")
@needs(Scope.READ)
async def certificate_page(
    calibration_id: CalibrationId, request: Request, running: Running
) -> Response:
    """Say what a certificate promises, on what it rests, and which verdicts were given under it."""
    body = await calibrations_api.get_calibration(calibration_id, running)
    given = judgments.Filter(calibration=calibration_id)
    verdicts = await judgments.list_verdicts(running, given, _FEW)
    ref = body["request"].get("dataset")
    names = await dataset_names(running, [ref] if ref else [])
    figures = body.get("calibration")
    composition = list(figures["composition"].items()) if figures else []
    nodes, chosen = _nodes(body) if figures else ([], None)
    agreement = body["target_agreement"]
    # a promise on a whole dataset is about wrong verdicts among all pairs, not about agreement
    is_drawn = bool(nodes) and agreement is not None
    return await page(
        request,
        "certificate",
        api=f"/v1/calibrations/{part(calibration_id)}",
        body=body,
        figures=figures,
        verdicts=verdicts["data"],
        places=await judgments.places(running, [one["verdict_id"] for one in verdicts["data"]]),
        dataset=names.get(ref),
        chart=charts.frontier(nodes, agreement, chosen) if is_drawn else None,
        nodes=nodes,
        chosen=chosen,
        composition=composition,
        bar=charts.shares(composition, "Who answers") if composition else None,
        draws_curve=figures is not None and figures["pairs"] <= _DRAWN_AT_ONCE,
        monitors=await monitors.watching(running, calibration_id),
    )


@router.get("/calibrations/{calibration_id}/curve")
@needs(Scope.READ)
async def curve_page(calibration_id: CalibrationId, request: Request, running: Running) -> Response:
    """Show how often the cascade is wrong as it answers more; or why there is no such curve."""
    body: Body | None = None
    fault = None
    try:
        body = await calibrations_api.get_curve(calibration_id, running)
    except Conflict as error:
        fault = error.detail
    return await page(
        request,
        "curve",
        api=f"/v1/calibrations/{part(calibration_id)}/curve",
        id=calibration_id,
        body=body,
        fault=fault,
        chart=charts.risk_coverage(body["points"], body["certified"])
        if body and len(body["points"]) > 1
        else None,
    )


def _nodes(body: Body) -> tuple[list[dict[str, Any]], int | None]:
    """Return what a certificate holds by coverage, and the number of the node that it promises.

    These are its own thresholds, those of the targets of its menu, and its bounds.
    """
    parts = [part for part in body.get("certificates") or () if part["slice"] is None]
    found = [
        _node(whole["calibration"], f"target {target(whole)}", whole["status"])
        for whole in (body, *parts)
    ]
    found[0]["labels_needed"] = (body.get("advice") or {}).get("labels_needed")
    pairs = body["calibration"].get("pairs")
    for one in body["calibration"].get("bounds") or ():
        right = one["answered"] - one["disagreements"]
        agreement = right / one["answered"] if one["answered"] else None
        title = "other thresholds that hold together with it"
        figures = {"agreement": agreement, "cost_per_pair": None, "pairs": pairs, **one}
        found.append(_node(figures, title, None))
    # the first of a menu is the certificate itself
    own, *others = found
    others = [
        one for one in others if (one["title"], one["coverage"]) != (own["title"], own["coverage"])
    ]
    ordered = sorted([own, *others], key=lambda one: one["coverage"] or 0.0)
    number = next(number for number, one in enumerate(ordered) if one is own)
    return ordered, number if body["status"] == "certified" else None


def _node(one: Body, title: str, status: str | None) -> dict[str, Any]:
    """Return one point of the slider; `one` is the figures of a certificate or a row of a plan."""
    composition = list((one.get("composition") or {}).items())
    wrong = one.get("error_upper_bound")
    return {
        "title": title,
        "status": status,
        "coverage": one["coverage"],
        "answered": one.get("answered"),
        "pairs": one.get("pairs"),
        "agreement": one["agreement"],
        "bound": one["agreement_lower_bound"] if wrong is None else wrong,
        "bound_of": "agreement that is proven" if wrong is None else "of all pairs wrong, at most",
        "cost": one["cost_per_pair"],
        "labels_needed": one.get("labels_needed"),
        "composition": composition,
        "bar": charts.shares(composition, f"Who answers, {title}") if composition else None,
    }


# what people ask for, from lax to strict
TARGETS = (0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.98)
_ERRORS: Final = (0.2, 0.15, 0.1, 0.075, 0.05, 0.02, 0.01)
# of a request for a certificate: what a plan takes, too
_PLANNED: Final = (
    "dataset", "cascade", "scope", "failure_probability", "label_rule", "ties", "part", "method", "pool",
    "max_group_size", "min_label_probability", "seed",
)  # fmt: skip


@router.post("/calibrations/{calibration_id}/plan")
@needs(Scope.JUDGE)
async def plan_page(calibration_id: CalibrationId, request: Request, running: Running) -> Response:
    """Show what the labels of a certificate would give for other targets; asks no judge."""
    await checked_form(request)
    body = await calibrations_api.get_calibration(calibration_id, running)
    asked = {name: body["request"].get(name) for name in _PLANNED}
    wanted = {name: value for name, value in asked.items() if value is not None}
    is_whole = wanted.get("scope") == "dataset"
    targets = {"max_errors": _ERRORS} if is_whole else {"target_agreements": TARGETS}
    plan = await calibrations_api.create_plan(PlanIn.model_validate({**wanted, **targets}), running)
    rows = plan["frontier"]
    nodes = [_node(one, f"target {target(one)}", one["status"]) for one in rows]
    chosen = next((n for n, one in enumerate(rows) if target(one) == target(body)), 0)
    aim = body["target_agreement"]
    return await page(
        request,
        "plan",
        body=body,
        plan=plan,
        nodes=nodes,
        chosen=chosen,
        chart=None if is_whole else charts.frontier(nodes, aim, chosen),
    )


@router.post("/calibrations/{calibration_id}/revoke")
@needs(Scope.ADMIN)
async def revoke(calibration_id: CalibrationId, request: Request, running: Running) -> Response:
    """Withdraw a certificate's promise."""
    await checked_form(request)
    await calibrations_api.revoke_calibration(calibration_id, running)
    return go_to(f"/calibrations/{part(calibration_id)}")


@router.get("/batches/{batch_id}")
@needs(Scope.READ)
async def batch_page(batch_id: batches_api.BatchId, request: Request, running: Running) -> Response:
    """Show how far a batch is, what it costs, how its judges are doing, and which rows failed."""
    body = await batches_api.get_batch(batch_id, running)
    names = await dataset_names(running, [body["dataset"]])
    return await page(
        request,
        "batch",
        api=f"/v1/batches/{part(batch_id)}",
        body=body,
        dataset=names[body["dataset"]],
        ended=has_ended(body),
        unanswered=await _unanswered(running, request, body),
    )


_UNANSWERED: Final = ("failed", "abstained")


async def _unanswered(running: Runtime, request: Request, body: Body) -> dict[str, Any] | None:
    """Return a page of the rows that failed, or on which nobody was sure, and why.

    None where there are none, or where they stand in files.
    """
    counts = body["request_counts"]
    there = [status for status in _UNANSWERED if counts[status]]
    if not there or "output" in body:
        return None
    asked = request.query_params.get("rows", "")
    status = asked if asked in _UNANSWERED else there[0]
    in_order = replace(paging(running, request), order="asc")
    given = judgments.Filter(batch=body["id"], status=status)
    listed = await judgments.list_verdicts(running, given, in_order)
    thresholds = await _thresholds(running, body)
    query = {"batch": body["id"], "status": status, "order": "asc", "after": in_order.after}
    return {
        "status": status,
        "listed": listed,
        "why": {one["id"]: why_unanswered(one, thresholds) for one in listed["data"]},
        "api": with_query("/v1/judgments", query),
    }


async def _thresholds(running: Runtime, body: Body) -> Mapping[str, float | None]:
    """Return the thresholds of a batch by judge; none where every slice has its own."""
    if body["calibration"] is None:
        return {}
    certificate = await calibrations_api.get_calibration(body["calibration"], running)
    if certificate["request"].get("slices"):
        return {}
    return {one["judge"]: one["threshold"] for one in certificate.get("thresholds") or ()}


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
