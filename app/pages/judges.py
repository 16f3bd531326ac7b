"""The judges that are configured or known from what is stored, and one pasted pair judged by a cascade."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from fastapi import APIRouter, Request, Response
from pydantic import ValidationError

from app.api import batches as batches_api
from app.api import calibrations
from app.api import datasets as datasets_api
from app.api import judgments as judgments_api
from app.api import reports as reports_api
from app.core.auth import Scope
from app.core.errors import TribunalError, Unprocessable
from app.core.http.access import needs
from app.core.http.field_errors import field_errors, named
from app.core.http.parameters import Running
from app.core.lists import Paging
from app.core.runtime import Runtime
from app.judgments import service as judgments
from app.judgments.schemas import JudgmentsIn
from app.monitors import service as monitors
from app.pages.frame import PageRoute, checked_form, page
from app.pages.lists import dataset_names, in_force

router = APIRouter(include_in_schema=False, route_class=PageRoute)
_ADDRESS: Final = "/judges"
_ALL: Final = Paging(1_000, None, "asc")
_NEWEST: Final = Paging(50, None, "desc")
# reports are long, and a judge that none of these tells of has not been looked at for a while
_REPORTS: Final = Paging(20, None, "desc")
_TEXTS: Final = ("prompt", "response_a", "response_b")
_CERTIFICATE: Final = "certificate "


@router.get(_ADDRESS)
@needs(Scope.READ)
async def judges_page(request: Request, running: Running) -> Response:
    """Show who judges: kind, model, price, health, and the cascades."""
    return await _shown(request, running, {}, None)


@router.post(_ADDRESS)
@needs(Scope.JUDGE)
async def try_pair(request: Request, running: Running) -> Response:
    """Judge one pasted pair, and show what every judge said."""
    form = await checked_form(request)
    try:
        asked = _asked(form)
        verdict = (await judgments.judge(running, asked))["verdicts"][0]
    except ValidationError as error:
        return await _shown(request, running, form, None, named(field_errors(error.errors(), form)))
    except TribunalError as error:
        return await _shown(request, running, form, None, error.detail)
    return await _shown(request, running, form, verdict)


def _asked(form: Mapping[str, str]) -> JudgmentsIn:
    empty = [name for name in _TEXTS[:2] if not form.get(name, "").strip()]
    if empty:
        raise Unprocessable.field([empty[0]], "is empty: paste a text")
    by = form.get("by", "")
    pair = {name: form.get(name, "") for name in _TEXTS}
    who = (
        {"calibration": by.removeprefix(_CERTIFICATE)}
        if by.startswith(_CERTIFICATE)
        else {"cascade": by or None}
    )
    return JudgmentsIn.model_validate({"pairs": [{"id": "pasted", **pair}], **who})


async def _shown(
    request: Request,
    running: Runtime,
    form: Mapping[str, str],
    verdict: Mapping[str, Any] | None,
    fault: str | None = None,
) -> Response:
    certificates = (await calibrations.list_calibrations(running, _NEWEST))["data"]
    configured = (await judgments_api.list_judges(running, _ALL))["data"]
    agreement = await _agreement(running)
    return await page(
        request,
        "judges",
        status=422 if fault else 200,
        api="/v1/judges",
        judges=configured,
        stored=await _stored(running, certificates, {one["name"] for one in configured}),
        agreement=agreement,
        canaries=await _canaries(running),
        names=await dataset_names(running, [one["dataset"] for _, one in agreement.values()]),
        cascades=(await judgments_api.list_cascades(running, _ALL))["data"],
        certificates=[one for one in certificates if in_force(one)],
        form=form,
        verdict=verdict,
        fault=fault,
    )


@dataclass(slots=True)
class _Stored:
    """Where a judge that is not configured is known from, newest first.

    Attributes:
        datasets: Names of those that its scores came with.
        certificates: Ids of those that it answers under.
        batches: Ids of those that it was asked in.
    """

    datasets: list[str] = field(default_factory=list)
    certificates: list[str] = field(default_factory=list)
    batches: list[str] = field(default_factory=list)


async def _stored(
    running: Runtime, certificates: Collection[Mapping[str, Any]], configured: Collection[str]
) -> dict[str, _Stored]:
    """Return the judges of the newest datasets, certificates and batches that are not configured."""
    found: dict[str, _Stored] = {}

    def of(name: str) -> _Stored:
        return found.setdefault(name, _Stored())

    for dataset in (await datasets_api.list_datasets(running, _NEWEST))["data"]:
        for name in dataset["recorded_judges"]:
            of(name).datasets.append(dataset["name"])
    for certificate in certificates:
        for name in certificate.get("fingerprints") or ():
            of(name).certificates.append(certificate["id"])
    for batch in (await batches_api.list_batches(running, _NEWEST))["data"]:
        for tier in batch["progress"]["tiers"]:
            of(tier["judge"]).batches.append(batch["id"])
    return {name: one for name, one in sorted(found.items()) if name not in configured}


async def _canaries(running: Runtime) -> dict[str, tuple[Mapping[str, Any], str]]:
    """Return, for each judge, what canaries of the newest monitor that asks it say, and its id."""
    found: dict[str, tuple[Mapping[str, Any], str]] = {}
    for monitor in (await monitors.list_monitors(running, _NEWEST))["data"]:
        for one in monitor["canaries"]["judges"]:
            found.setdefault(one["judge"], (one, monitor["id"]))
    return found


async def _agreement(running: Runtime) -> dict[str, tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Return, for each judge, its figures in the newest report that tells of it, and that report."""
    found: dict[str, tuple[Mapping[str, Any], Mapping[str, Any]]] = {}
    for report in (await reports_api.list_reports(running, _REPORTS))["data"]:
        for one in report.get("judges") or ():
            if one["agreement"]["n"]:
                found.setdefault(one["judge"], (one, report))
    return found
