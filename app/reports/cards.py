"""Health cards from stored reports."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from app.errors import NotFound
from app.identifiers import shown
from app.models import Report
from app.nearest import hint
from app.reports import service
from app.reports.health import health_card
from app.reports.health_lines import Lines
from app.reports.schemas import AgreementIn, HealthIn
from app.runtime import Runtime
from app.score_store import is_recorded


async def report_for(running: Runtime, asked: HealthIn) -> Report:
    """Return the report that a judge's card is made from; unfinished if it takes long.

    Raises:
        TribunalError: as for an agreement report of this judge.
    """
    given = asked.model_dump(include=set(AgreementIn.model_fields), exclude_unset=True)
    return await service.agreement(running, AgreementIn(**given, judges=[asked.judge]))


def card(running: Runtime, report: Report, judge: str, lines: Lines) -> dict[str, Any]:
    """Return a judge's card: the request's lines, else the configuration's, else the defaults.

    Raises:
        NotFound: the report has no such judge.
    """
    body = service.show(report)
    figures = _figures(body, judge)
    return {
        "object": "health_card",
        "report": report.id,
        **health_card(figures, {**running.health_lines, **lines}),
        "not_judged": _not_judged(running, body, figures),
        "dataset": body["dataset"],
        "part": body["part"],
        "pairs": body["pairs"],
        "labels": body["human"]["labels"],
        "annotators": body["human"]["annotators"],
        "confidence_level": figures["agreement"]["confidence_level"],
        "created_at": body["created_at"],
        "fingerprint": body["rests_on"]["fingerprints"].get(judge),
        "rests_on": body["rests_on"],
    }


def _not_judged(
    running: Runtime, report: Mapping[str, Any], figures: Mapping[str, Any]
) -> str | None:
    """Say that nothing is known of a judge on these pairs, and what changes that; else None."""
    if figures["failure_share"]["n"] or not report["pairs"]:
        return None
    judge, dataset = figures["judge"], report["dataset"]
    asked = running.registry.judges.get(judge)
    if asked is None or is_recorded(asked.spec):
        return f"{judge} has no score of these pairs: import rows that carry its scores"
    command = ["tribunal", "batch", dataset, "--judges", judge]
    if report["part"] is not None:
        command += ["--part", report["part"]]
    return (
        f"{judge}, as it is configured now, has not judged these pairs: no score of it is stored. "
        f"`{shlex.join(command)}` has them judged; then ask for the card again"
    )


def _figures(body: Mapping[str, Any], judge: str) -> Mapping[str, Any]:
    for one in body.get("judges", ()):
        # reports of earlier versions lack what a card is made from
        if one["judge"] == judge and "reliability" in one:
            found: Mapping[str, Any] = one
            return found
    known = [one["judge"] for one in body.get("judges", ())]
    meant = hint(judge, known, see=f"GET /v1/reports/{body['id']}")
    raise NotFound(f"report {body['id']} has no card of a judge {shown(judge)}{meant}")
