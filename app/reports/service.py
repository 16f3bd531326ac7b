"""Makes agreement reports and keeps them: the same inputs give the same stored report."""

from __future__ import annotations

import asyncio
import hashlib
import json
from dataclasses import fields
from importlib.metadata import version
from typing import Any, Final

import numpy as np

from app.errors import NotFound
from app.identifiers import is_name, shown
from app.lookup import by_public_id
from app.models import Report, new_id
from app.reports import queries
from app.reports.agreement import agreement_report
from app.reports.gathering import Gathered, gather
from app.reports.schemas import AgreementIn
from app.runtime import Runtime

_PACKAGE: Final = "tribunal-judge"
# counts up when a figure gets another definition: stored reports keep theirs
_REVISION: Final = 1


async def agreement(running: Runtime, request: AgreementIn) -> Report:
    """Return the report of these inputs, stored earlier or made now.

    Raises:
        NotFound: there is no such dataset or certificate.
        Conflict: the certificate has no thresholds, or was made with other judges.
        Unprocessable: names the field that cannot be honoured.
    """
    async with running.db.read() as session:
        gathered = await gather(session, running.registry, request)
        rests_on = _rests_on(gathered, request)
        inputs_hash = _hash(rests_on, gathered)
        stored = await queries.by_inputs(session, inputs_hash)
    if stored is not None:
        return stored
    body = await asyncio.to_thread(agreement_report, gathered.panel, request)
    values = {
        "id": new_id("rep"),
        "created_at": running.now(),
        "dataset_seq": gathered.dataset.seq,
        "inputs_hash": inputs_hash,
        "request": request.model_dump(mode="json"),
        "body": {**body, "rests_on": {**rests_on, "inputs_hash": inputs_hash}},
    }
    async with running.db.write() as session:
        await queries.add(session, values)
        made = await queries.by_inputs(session, inputs_hash)
    assert made is not None
    return made


async def find(running: Runtime, report_id: str) -> Report:
    """Return a report.

    Raises:
        NotFound: no report has this id.
    """
    found = None
    if is_name(report_id):
        async with running.db.read() as session:
            found = await by_public_id(session, Report, report_id)
    if found is None:
        raise NotFound(f"there is no report {shown(report_id)}")
    return found


def show(report: Report) -> dict[str, Any]:
    """Return a report as users see it."""
    return {
        "id": report.id,
        "object": "agreement_report",
        "created_at": report.created_at.isoformat(),
        "dataset": report.request["dataset"],
        "calibration": report.request["calibration"],
        "part": report.request["part"],
        "group_by": report.request["group_by"],
        **report.body,
    }


def _rests_on(gathered: Gathered, request: AgreementIn) -> dict[str, Any]:
    """All that a report depends on, but for the stored scores themselves."""
    return {
        "dataset_id": gathered.dataset.id,
        "dataset_content_hash": gathered.dataset.content_hash,
        "label_set_hash": gathered.label_set_hash,
        "calibration": gathered.calibration,
        "fingerprints": gathered.fingerprints,
        "judges": list(gathered.panel.judged.names),
        "part": request.part,
        "group_by": request.group_by,
        "include": sorted(set(request.include)),
        "seed": request.seed,
        "confidence_level": request.confidence_level,
        "version": version(_PACKAGE),
        "revision": _REVISION,
    }


def _hash(rests_on: dict[str, Any], gathered: Gathered) -> str:
    """Hash a report's inputs; scores count, too: more of them may be stored than last time."""
    digest = hashlib.sha256(json.dumps(rests_on, sort_keys=True).encode("ascii"))
    for part in (gathered.panel.judged, gathered.panel.cascade):
        if part is None:
            continue
        for column in fields(part):
            if column.name != "names":
                digest.update(np.ascontiguousarray(getattr(part, column.name)).tobytes())
    return digest.hexdigest()
