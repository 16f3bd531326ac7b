"""Starts and ends monitors, takes the answers to their audits, and shows what they know."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy.ext.asyncio import AsyncSession

from app.bodies.monitors import AuditsBody, MonitorBody
from app.calibrations import stored as calibrations
from app.core.db import rfc3339
from app.core.errors import Conflict, NotFound, Unprocessable
from app.core.lists import Page, Paging, page_of, required
from app.core.models import Audit, CalibrationRow, Monitor, new_id
from app.core.names import shown
from app.core.runtime import Runtime
from app.datasets.slices import refuse_many, slice_of
from app.monitors import canaries, queries
from app.monitors.alarms import advance, target_risk
from app.monitors.sampling import new_dataset
from app.monitors.schemas import AuditAnswersIn, MonitorIn
from app.queues import exchange
from app.queues import service as queues
from app.queues.answering import label_of
from app.queues.exchange import Vote
from app.queues.service import NewQueue
from calibration.monitor import SlicedMonitor, detectable_risk, risk_so_far, start_sliced_monitor


async def require(session: AsyncSession, monitor_id: str) -> Monitor:
    """Return a monitor.

    Raises:
        NotFound: none has this id.
    """
    return await required(session, Monitor, monitor_id, "monitor")


async def create(running: Runtime, request: MonitorIn) -> MonitorBody:
    """Start to watch a certificate.

    Raises:
        NotFound: no certificate has this id.
        Conflict: it is not certified, or was revoked.
        Unprocessable: its target risk is too high to be watched, or its slices are too many.
    """
    moment, signing = running.now(), secrets.token_hex(32)
    async with running.db.write() as session:
        certificate = await calibrations.require(session, request.calibration)
        if certificate.status != "certified" or certificate.revoked_at is not None:
            raise Conflict(f"calibration {certificate.id} promises nothing that could be watched")
        if why := calibrations.expired(certificate, moment):
            raise Conflict(why)
        if certificate.body.get("target_agreement") is None:
            raise Conflict(
                f"calibration {certificate.id} promises something of a whole data set: a monitor "
                "watches verdicts on new pairs"
            )
        state = await _start(session, certificate, request, running)
        monitor_id = new_id("mon")
        dataset = new_dataset(f"audits of {monitor_id}", new_id("ds"), moment)
        session.add(dataset)
        await session.flush()
        wanted = NewQueue(
            f"audits of {monitor_id}",
            "audit",
            request.votes_per_pair,
            {"calibration": certificate.id, "seed": secrets.randbits(62)},
        )
        queue = await queues.open_queue(session, dataset, wanted, moment)
        monitor = Monitor(
            id=monitor_id,
            certificate_seq=certificate.seq,
            queue_seq=queue.seq,
            status="watching",
            options=request.model_dump(mode="json", exclude={"calibration"}),
            state=state.to_dict(),
            history=[],
            alarm=None,
            secret=secrets.token_hex(32),
            signing=signing,
            canaries=canaries.started(running.registry, certificate) if request.canaries else None,
            canary_at=None,
            created_at=moment,
            ended_at=None,
        )
        if monitor.canaries is not None:
            monitor.canary_at = moment
        session.add(monitor)
        await session.flush()
        body = await show(session, monitor)
    secret = signing if request.webhook else None
    return {**body, "webhook": request.webhook, "webhook_secret": secret}


async def _start(
    session: AsyncSession, certificate: CalibrationRow, request: MonitorIn, running: Runtime
) -> SlicedMonitor:
    risk = target_risk(certificate)
    if certificate.request.get("label_rule") == "panel" and request.votes_per_pair < 2:
        raise Unprocessable.field(
            ["votes_per_pair"],
            "must be at least 2: a panel's certificate counts two votes that agree",
        )
    if risk >= 0.82:
        raise Unprocessable.field(["calibration"], f"a target risk of {risk:g} cannot be watched")
    targets: dict[str, float] = {}
    if request.slices is not None:
        found = await queries.metadata_of(session, certificate)
        names = sorted({slice_of(one, request.slices) for one in found} - {""})
        refuse_many(names, running.settings.limits, ("body", "slices"))
        if not names:
            raise Unprocessable.field(
                ["slices"], f"no pair of the certificate has the metadata field {request.slices!r}"
            )
        targets = dict.fromkeys(names, risk)
    return start_sliced_monitor(risk, targets, request.failure_probability)


async def show(session: AsyncSession, monitor: Monitor) -> MonitorBody:
    """Return a monitor as users see it."""
    certificate, queue = await queries.parts(session, monitor)
    state = SlicedMonitor.from_dict(monitor.state)
    counts = await queries.counts(session, monitor)
    none = dict.fromkeys(("drawn", "answered", "lost", "counted"), 0)
    accepted, abstained = counts.get("accepted", none), counts.get("abstained", none)
    options = monitor.options
    body: Any = {
        "object": "monitor",
        "id": monitor.id,
        "calibration": certificate.id,
        "queue": queue.id,
        "status": monitor.status,
        "audit_rate": options["audit_rate"],
        "abstained_rate": options["abstained_rate"],
        "failure_probability": options["failure_probability"],
        "target_risk": state.whole.target_risk,
        "on_alarm": options["on_alarm"],
        "webhook": _without_secrets(options["webhook"]),
        "webhook_secret": None,
        "audits": {
            "drawn": int(accepted["drawn"]),
            "answered": int(accepted["answered"]),
            "disagreements": accepted["lost"],
            "excluded": int(accepted["answered"] - accepted["counted"]),
        },
        "abstained": {
            "drawn": int(abstained["drawn"]),
            "answered": int(abstained["answered"]),
        },
        "risk": asdict(risk_so_far(state.whole)),
        "e_value": state.whole.e_value,
        "alarm_level": state.whole.alarm_level,
        "detectable_risk": detectable_risk(state.whole),
        "alarm_at": monitor.alarm["at"] if monitor.alarm else None,
        "alarm": monitor.alarm,
        "slices": [
            {
                "slice": name,
                "audits": state.slices[name].audits,
                "risk": asdict(risk_so_far(state.slices[name])),
                "e_value": state.slices[name].e_value,
                "is_alarmed": state.slices[name].is_alarmed,
            }
            for name in state.by_evidence
        ],
        "canaries": canaries.show(monitor.canaries, alarmed=monitor.canary_at is None),
        "history": monitor.history,
        "created_at": rfc3339(monitor.created_at),
        "ended_at": monitor.ended_at and rfc3339(monitor.ended_at),
    }
    found: MonitorBody = body
    return found


def _without_secrets(address: str | None) -> str | None:
    """Return an address as every reader may see it: its path or query is often a token."""
    if address is None:
        return None
    parts = urlsplit(address)
    rest = "/..." if parts.path.strip("/") or parts.query or parts.fragment else parts.path
    return f"{parts.scheme}://{parts.netloc}{rest}"


async def look(running: Runtime, monitor_id: str) -> MonitorBody:
    """Return a monitor, with the answers that are there by now."""
    await catch_up(running, [monitor_id])
    async with running.db.read() as session:
        return await show(session, await require(session, monitor_id))


async def list_monitors(running: Runtime, paging: Paging) -> Page:
    """Return one page of monitors."""
    async with running.db.read() as session:
        rows = await queries.page(session, paging)
        bodies = {one.seq: await show(session, one) for one in rows[: paging.limit]}
    return page_of(rows, paging.limit, lambda one: dict(bodies[one.seq]))


async def catch_up(running: Runtime, monitor_ids: Sequence[str]) -> None:
    """Observe the answers that these monitors have not observed yet."""
    async with running.db.read() as session:
        known = [await require(session, one) for one in monitor_ids]
        waiting = [
            one for one in known if one.status != "ended" and await queries.answered(session, one)
        ]
    for monitor in waiting:
        async with running.db.write() as session:
            await advance(session, monitor, running.now())


async def answers_came(running: Runtime, queue: str) -> None:
    """Let the monitor of a queue, if there is one, observe the answers that have come."""
    async with running.db.read() as session:
        found = await queries.of_queue(session, queue)
    await catch_up(running, found)


async def answer(running: Runtime, monitor_id: str, request: AuditAnswersIn) -> AuditsBody:
    """Take answers to verdicts that were drawn, by the id of the judgment.

    Raises:
        NotFound: a judgment was not drawn: its label would be no random audit. Nothing is stored.
    """
    moment = running.now()
    async with running.db.write() as session:
        monitor = await require(session, monitor_id)
        _, queue = await queries.parts(session, monitor)
        items = await _items(session, monitor, request)
        by_person: dict[str, list[Vote]] = {}
        for at, one in enumerate(request.answers):
            details = {"comment": one.comment} if one.comment else {}
            vote = Vote(at, items[at], one.annotator, one.label, "a", details)
            by_person.setdefault(one.annotator, []).append(vote)
        counts = dict.fromkeys(("stored", "unchanged", "replaced", "spare"), 0)
        found = await exchange.take_votes(session, queue, by_person, moment)
        for name in counts:
            counts[name] += found.counts[name]
        await advance(session, monitor, moment)
    body: Any = {**counts, "monitor": await look(running, monitor_id)}
    taken: AuditsBody = body
    return taken


async def _items(session: AsyncSession, monitor: Monitor, request: AuditAnswersIn) -> list[str]:
    numbers = [_number(one.judgment) for one in request.answers]
    known = await queries.items_of_judgments(
        session, monitor, [number for number in numbers if number is not None]
    )
    faults = [
        {
            "loc": ["body", "answers", at, "judgment"],
            "msg": f"{shown(one.judgment)} was not drawn for an audit by this monitor",
        }
        for at, (one, number) in enumerate(zip(request.answers, numbers, strict=True))
        if number not in known
    ]
    if faults:
        raise NotFound(f"answers: {faults[0]['msg']}", errors=faults[:100])
    return [known[number] for number in numbers if number is not None]


def _number(judgment: str) -> int | None:
    return (
        int(judgment) if judgment.isascii() and judgment.isdigit() and len(judgment) < 19 else None
    )


async def audits_page(running: Runtime, monitor_id: str, paging: Paging) -> Page:
    """Return one page of the audits of a monitor; they do not say what the verdicts were.

    Raises:
        NotFound: no monitor has this id, or `after` is the id of no audit.
    """
    after = None
    if paging.after is not None:
        after = _number(paging.after)
        if after is None:
            raise NotFound(f"after: {shown(paging.after)} is no id of an audit")
    async with running.db.read() as session:
        monitor = await require(session, monitor_id)
        rows = await queries.audits_page(session, monitor, paging, after)
    return page_of(rows, paging.limit, _shown_audit)


async def places_of_answered(running: Runtime, audits: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Return where the pairs of audits lie, by the audit: the name of a dataset, and the id there.

    Those that wait for people are left out: nobody should label beside the verdict.
    """
    async with running.db.read() as session:
        found = await queries.places_of_answered(session, [int(one) for one in audits])
    return {str(seq): place for seq, place in found.items()}


def _shown_audit(audit: Audit) -> dict[str, Any]:
    return {
        "object": "audit",
        "id": str(audit.seq),
        "judgment": str(audit.verdict_seq),
        "item": audit.item,
        "status": audit.status,
        "slice": audit.slice,
        "probability": audit.probability,
        "answered": audit.is_observed,
        "loss": audit.loss,
        "drawn_at": rfc3339(audit.created_at),
    }


async def end(running: Runtime, monitor_id: str) -> MonitorBody:
    """Stop drawing audits; what was found stays, and so does a suspension."""
    await catch_up(running, [monitor_id])
    async with running.db.write() as session:
        monitor = await require(session, monitor_id)
        if monitor.status != "ended":
            ended_at = running.now()
            await queries.change(
                session, monitor, status="ended", ended_at=ended_at, canary_at=None
            )
    async with running.db.read() as session:
        return await show(session, await require(session, monitor_id))


async def said_in_audits(
    session: AsyncSession, verdicts: Sequence[int]
) -> dict[int, tuple[float, list[str]]]:
    """Return for verdicts that people audited how probable that was, and what they said."""
    found: dict[int, tuple[float, list[str]]] = {}
    for verdict, probability, said, left_is in await queries.said_in_audits(session, verdicts):
        found.setdefault(verdict, (probability, []))[1].append(label_of(said or "", left_is))
    return found


async def alarms(running: Runtime) -> list[dict[str, str]]:
    """Return the id and the certificate of each monitor whose alarm stands."""
    async with running.db.read() as session:
        return [
            {"id": one.id, "calibration": (await queries.parts(session, one))[0].id}
            for one in await queries.all_open(session)
            if one.status == "alarm"
        ]


async def watching(running: Runtime, calibration_id: str) -> list[MonitorBody]:
    """Return the monitors that watch a certificate.

    Raises:
        NotFound: there is no such certificate.
    """
    async with running.db.read() as session:
        certificate = await calibrations.require(session, calibration_id)
        return [
            await show(session, one) for one in await queries.watching(session, certificate.seq)
        ]


async def gauges(running: Runtime) -> list[MonitorBody]:
    """Return the monitors that have not ended, for the metrics."""
    async with running.db.read() as session:
        return [await show(session, one) for one in await queries.all_open(session)]
