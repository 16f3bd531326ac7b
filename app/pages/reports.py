"""Agreement reports, and the health cards of judges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Request, Response
from markupsafe import Markup

from app.api import reports as reports_api
from app.api.reports import ReportId
from app.core.auth import Scope
from app.core.errors import NotFound
from app.core.http.access import needs
from app.core.http.parameters import Running
from app.core.runtime import Runtime
from app.pages import charts
from app.pages.frame import (
    PageRoute,
    as_download,
    checked_form,
    go_to,
    page,
    part,
    single_file,
)
from app.pages.lists import dataset_names
from app.pages.words import when_plain
from app.reports import health, history, service
from app.reports.health_page import confusion_rows
from app.reports.schemas import AgreementIn, HistoryIn

router = APIRouter(include_in_schema=False, route_class=PageRoute)
Body = Mapping[str, Any]
JudgeName = Annotated[str, Path(max_length=2_048)]
_LEANS: Final = (
    ("position", "the response shown first"),
    ("length", "the longer response"),
    ("style", "the one with lists, headings, bold words"),
    ("self_preference", "its own response"),
)
_WEIGHT: Final = "criterion."
# a report takes so many weights
_MOST_SLIDERS: Final = 20
# a figure with a picture for each of very many judges is not looked at
_MOST_PLOTTED: Final = 12


@router.get("/reports/{report_id}")
@needs(Scope.READ)
async def report_page(report_id: ReportId, request: Request, running: Running) -> Response:
    """Show how well people, judges and a cascade agree."""
    body = await reports_api.get_report(report_id, running)
    names = await dataset_names(running, [body["dataset"]])
    past = await _past(running, body)
    return await page(
        request,
        "report",
        api=f"/v1/reports/{part(report_id)}",
        **_shown(body, past, names[body["dataset"]]),
    )


@router.get("/reports/{report_id}/export")
@needs(Scope.READ)
async def report_file(report_id: ReportId, running: Running) -> Response:
    """Return a report as one file that needs nothing else."""
    body = await reports_api.get_report(report_id, running)
    names = await dataset_names(running, [body["dataset"]])
    shown = _shown(body, await _past(running, body), names[body["dataset"]])
    return as_download(single_file("report", running.now(), **shown), body["id"])


@router.post("/reports/{report_id}/reweight")
@needs(Scope.READ)
async def reweigh(report_id: ReportId, request: Request, running: Running) -> Response:
    """Make the report with the weights of the form, and lead to it."""
    form = await checked_form(request)
    kept = await service.find(running, report_id)
    weights = [
        f"{name.removeprefix(_WEIGHT)}={text}"
        for name, text in form.items()
        if name.startswith(_WEIGHT)
    ]
    asked = AgreementIn.model_validate({**kept.request, "criterion": weights})
    made = await service.agreement(running, asked)
    return go_to(f"/reports/{part(made.id)}")


def file_of(report: Body, past: Body | None, now: datetime) -> str:
    """Return a report, as the API tells it, as one file that needs nothing else.

    Args:
        report: The report.
        past: The history of its dataset, None for none.
        now: When the file is made.
    """
    return single_file("report", now, **_shown(report, past, report["dataset"]))


async def _past(running: Runtime, body: Body) -> Body | None:
    try:
        return await history.history(running, HistoryIn(dataset=body["dataset"]))
    except NotFound:
        return None


def _shown(body: Body, past: Body | None, dataset: str) -> dict[str, Any]:
    """Return what the template shows of a report."""
    judges = body.get("judges") or []
    cascade = body.get("cascade")
    composition = list(cascade["composition"].items()) if cascade else []
    names = [(one["judge"], "judge") for one in judges] + [(body["calibration"], "cascade")]
    series = [one for one in (past or {}).get("series", ()) if (one["name"], one["of"]) in names]
    return {
        "body": body,
        "dataset": dataset,
        "judges": judges,
        "plots": {one["judge"]: _plots(one) for one in judges[:_MOST_PLOTTED]},
        "confusions": {one["judge"]: confusion_rows(one) for one in judges[:_MOST_PLOTTED]},
        "cascade_confusion": confusion_rows(cascade)
        if cascade and "confusion" in cascade
        else None,
        "composition": composition,
        "sliders": _sliders(body.get("correlations")),
        "bar": charts.shares(composition, "Who answers") if composition else None,
        "over_time": [
            (one["name"], chart)
            for one in series[:_MOST_PLOTTED]
            if (chart := _over_time(one["points"], "agreement"))
        ],
    }


def _sliders(correlations: Body | None) -> dict[str, float]:
    """Return the weight of each criterion that people scored by, if there are several."""
    found = correlations or {"by_response": (), "weights": {}}
    names = [one["criterion"] for one in found["by_response"] if one["criterion"] is not None]
    weights = {name: found["weights"].get(name, 0.0) for name in names}
    return weights if 1 < len(weights) <= _MOST_SLIDERS else {}


def _plots(judge: Body) -> list[tuple[str, Markup]]:
    found = []
    if bins := judge.get("reliability", {}).get("bins"):
        found.append(("How often it is right when it is that sure", charts.reliability(bins)))
    points = judge.get("risk_coverage", {}).get("points") or ()
    # one point is no curve
    if len(points) > 1:
        found.append(("How wrong it is when it answers that many", charts.risk_coverage(points)))
    return found


def _over_time(points: Sequence[Body], name: str) -> Markup | None:
    """Draw a figure over time; None where fewer than two reports know it."""
    known = [one for one in points if name in one and one[name]["value"] is not None]
    if len(known) < 2:
        return None
    seen = [(when_plain(one["created_at"]), one[name]) for one in known]
    return charts.series(seen, name.replace("_", " ").replace("cohens", "Cohen's"))


@router.get("/reports/{report_id}/judges/{judge:path}")
@needs(Scope.READ)
async def health_page(
    report_id: ReportId, judge: JudgeName, request: Request, running: Running
) -> Response:
    """Show the health card of one judge: lines, confusion, confidence, leans, difficulty, over time."""
    report = await service.find(running, report_id)
    card = health.card(running, report, judge, {})
    names = await dataset_names(running, [card["dataset"]])
    asked = HistoryIn(dataset=card["dataset"], judge=judge)
    past = (await history.history(running, asked))["series"]
    points = past[0]["points"] if past else []
    figures = card["figures"]
    address = f"/v1/reports/{part(report_id)}/health?judge={part(judge)}"
    return await page(
        request,
        "health",
        api=address,
        card=card,
        dataset=names[card["dataset"]],
        figures=figures,
        confusion=confusion_rows(figures),
        plots=_plots(figures),
        leans=_leans(figures),
        over_time=[
            chart for name in ("agreement", "cohens_kappa") if (chart := _over_time(points, name))
        ],
        file=f"{address}&format=html",
    )


def _leans(figures: Body) -> list[tuple[str, Body, Markup]]:
    found: list[tuple[str, Body]] = [
        (words, figures[name])
        for name, words in _LEANS
        if name in figures and figures[name]["lean"]["value"] is not None
    ]
    return [
        (words, one, charts.whisker(one["lean"], (-1.0, 1.0), f"lean to {words}"))
        for words, one in found
    ]
