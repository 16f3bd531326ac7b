"""Observes the answers to audits and canaries, and raises the alarm where a certificate fails."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import numpy as np
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.db import rfc3339
from app.core.models import CalibrationRow, Monitor, new_id
from app.core.outages import outages
from app.core.runtime import Runtime
from app.monitors import canaries, queries
from app.queues.answering import label_of
from calibration.monitor import SlicedMonitor, observe_in_slices, risk_so_far

_log = logging.getLogger(__name__)
_MOST_HISTORY: Final = 1_000
_TIE_LOSS: Final = {"error": 1.0, "half": 0.5}


def target_risk(certificate: CalibrationRow) -> float:
    """Return the share of verdicts that may disagree with people under a certificate."""
    return float(round(1 - certificate.body["target_agreement"], 12))


async def advance(session: AsyncSession, monitor: Monitor, moment: datetime) -> None:
    """Observe the audits that people have answered; raise the alarm.

    An audit counts once, with the answers that it had when its last one came.
    """
    locked = await queries.lock(session, monitor.seq)
    if locked is None or locked.status == "ended":
        return
    rows = await queries.answered(session, locked)
    if not rows:
        return
    certificate, _ = await queries.parts(session, locked)
    votes = await queries.votes_on(session, [row.of for row in rows])
    losses: dict[int, float | None] = {}
    for row in rows:
        said = [label_of(*vote) for vote in votes.get(row.of, ())]
        losses[row.seq] = None if row.said is None else loss_of(row.said, said, certificate.request)
    await queries.observe(session, losses)
    seen = [row for row in rows if row.status == "accepted" and losses[row.seq] is not None]
    if not seen:
        return
    numbers = await queries.numbers_of(session, locked, [row.seq for row in seen])
    state = observe_in_slices(
        SlicedMonitor.from_dict(locked.state),
        [losses[row.seq] or 0.0 for row in seen],
        [row.slice for row in seen],
        numbers=[numbers[row.seq] for row in seen],
    )
    point = {
        "at": rfc3339(moment),
        "audits": state.whole.audits,
        "e_value": state.whole.e_value,
        "risk": risk_so_far(state.whole).value,
    }
    history = [*locked.history, point][-_MOST_HISTORY:]
    await queries.change(session, locked, state=state.to_dict(), history=history)
    if state.is_alarmed and locked.alarm is None:
        await _raise_alarm(session, locked, certificate, state, moment)


def loss_of(verdict: str, said: Sequence[str], request: Mapping[str, Any]) -> float | None:
    """Return how far people disagree with a verdict under its certificate's rules; None: not counted.

    Args:
        verdict: What was said to be better.
        said: The labels of people.
        request: `label_rule` and `ties` of the certificate.

    Example:
        >>> rules = {"label_rule": "majority", "ties": "exclude"}
        >>> loss_of("a", ["a", "b", "b"], rules), loss_of("a", ["tie"], rules)
        (1.0, None)
    """
    ties = request.get("ties", "exclude")
    if request.get("label_rule") == "random_annotator":
        losses = [_single(verdict, one, ties) for one in said]
        known = [loss for loss in losses if loss is not None]
        return sum(known) / len(known) if known else None
    if request.get("label_rule") == "panel":
        first, *rest = *said[:2], None
        return None if first not in rest else _single(verdict, str(first), ties)
    counts = sorted(((said.count(one), one) for one in set(said)), reverse=True)
    if not counts or (len(counts) > 1 and counts[0][0] == counts[1][0]):
        return None
    return _single(verdict, counts[0][1], ties)


def _single(verdict: str, said: str, ties: str) -> float | None:
    if said == "tie" and ties != "class":
        return _TIE_LOSS.get(ties)
    return float(said != verdict)


async def _raise_alarm(
    session: AsyncSession,
    monitor: Monitor,
    certificate: CalibrationRow,
    state: SlicedMonitor,
    moment: datetime,
) -> None:
    moved = state.moved
    is_whole = state.whole.is_alarmed
    risk = risk_so_far(state.whole)
    # the certificate promises nothing of a slice, unless it was made by slices
    acts = is_whole or bool(certificate.request.get("slices"))
    action = monitor.options["on_alarm"] if acts else "alarm"
    where = "all audits" if is_whole else f"the slice {moved!r}"
    reason = (
        f"{where}: more verdicts than {target_risk(certificate):.1%} disagree with people; "
        f"{risk.value:.1%} of {risk.n} audits did so far"
    )
    alarm = {
        "id": new_id("alarm"),
        "at": rfc3339(moment),
        "audits": state.whole.audits,
        "reason": reason,
        "slice": moved,
        "action": action,
        "recertify": _how_to_recertify(certificate),
    }
    why = f"the monitor {monitor.id} raised its alarm on {rfc3339(moment)[:19]}: {reason}"
    await _tell(session, monitor, certificate, alarm, why)


async def _tell(
    session: AsyncSession,
    monitor: Monitor,
    certificate: CalibrationRow,
    alarm: Mapping[str, Any],
    why: str,
) -> None:
    """Store an alarm with what it does, and tell the webhook."""
    action, moment = alarm["action"], datetime.fromisoformat(alarm["at"])
    # the first alarm of a monitor stands
    await queries.change(session, monitor, status="alarm", alarm=monitor.alarm or dict(alarm))
    if action == "suspend":
        await queries.suspend(session, certificate.seq, why)
    elif action == "revoke":
        await queries.revoke(session, certificate.seq, moment, why)
    if monitor.options["webhook"]:
        body = {"type": "alarm", "monitor": monitor.id, "calibration": certificate.id, **alarm}
        await queries.add_delivery(
            session,
            id=alarm["id"],
            monitor_seq=monitor.seq,
            body=body,
            attempts=0,
            next_at=moment,
            delivered_at=None,
            error=None,
        )


async def ask_canaries(running: Runtime, monitor: Monitor, rng: np.random.Generator) -> None:
    """Ask the judges of a monitor about canaries, and raise the alarm where one has changed."""
    until = running.now() + canaries.LEASE
    async with running.db.write() as session:
        if monitor.canaries is None or not await queries.take_canary(session, monitor, until):
            return
        certificate, _ = await queries.parts(session, monitor)
    watch = await canaries.asked(running, monitor, certificate, rng)
    moment = running.now()
    changed = canaries.changed(watch)
    async with running.db.write() as session:
        locked = await queries.lock(session, monitor.seq)
        if locked is None or locked.status == "ended":
            return
        after = None
        if changed is None:
            after = moment + timedelta(seconds=canaries.pause(watch, monitor.options))
        await queries.change(session, locked, canaries=watch, canary_at=after)
        if changed is not None:
            await _raise_judge_changed(session, locked, certificate, changed, moment)


async def _raise_judge_changed(
    session: AsyncSession,
    monitor: Monitor,
    certificate: CalibrationRow,
    changed: str,
    moment: datetime,
) -> None:
    """Suspend a certificate whose judge has changed, or revoke it where alarms do that."""
    reason = f"judge changed: {changed}"
    alarm = {
        "id": new_id("alarm"),
        "at": rfc3339(moment),
        "audits": SlicedMonitor.from_dict(monitor.state).whole.audits,
        "reason": reason,
        "slice": None,
        "action": "revoke" if monitor.options["on_alarm"] == "revoke" else "suspend",
        "recertify": _how_to_recertify(certificate),
    }
    why = f"{reason} (seen by the monitor {monitor.id} on {rfc3339(moment)[:19]})"
    await _tell(session, monitor, certificate, alarm, why)


async def ask_canaries_forever(running: Runtime) -> None:
    """Ask canaries as they become due, or as a certificate has given enough verdicts.

    Each monitor is apart: a judge that hangs keeps no other from being watched.
    """
    rng = np.random.default_rng()
    asking: dict[int, asyncio.Task[None]] = {}
    while True:
        await asyncio.sleep(canaries.LOOK_SECONDS)
        asking = {seq: task for seq, task in asking.items() if not task.done()}
        try:
            await _start_due(running, rng, asking)
        except outages():
            _log.debug("canaries could not be read", exc_info=True)


async def ask_due_canaries(running: Runtime, rng: np.random.Generator) -> int:
    """Ask the canaries that are due, and wait for the answers; return of how many monitors."""
    asking: dict[int, asyncio.Task[None]] = {}
    await _start_due(running, rng, asking)
    if asking:
        await asyncio.wait(asking.values())
    return len(asking)


async def _start_due(
    running: Runtime, rng: np.random.Generator, asking: dict[int, asyncio.Task[None]]
) -> None:
    """Start to ask the canaries that are due, but those of monitors whose judges are being asked."""
    async with running.db.read() as session:
        due = list(await queries.canaries_due(session, running.now()))
        for one in await queries.canaries_waiting(session, running.now()):
            mark = (one.canaries or {}).get("last_verdict", 0)
            given = await queries.verdicts_since(
                session, one.certificate_seq, mark, canaries.MOST_VERDICTS
            )
            due += [one] if given >= canaries.MOST_VERDICTS else []
    for monitor in due:
        if monitor.seq not in asking:
            work = _ask_apart(running, monitor, rng)
            asking[monitor.seq] = running.start(work, f"canaries of {monitor.id}")


async def _ask_apart(running: Runtime, monitor: Monitor, rng: np.random.Generator) -> None:
    try:
        await ask_canaries(running, monitor, rng)
    except outages():
        _log.debug("canaries of %s could not be read", monitor.id, exc_info=True)
    except Exception:
        # a faulty judge must not end the watch on others
        _log.exception("canaries of %s could not be asked", monitor.id)


def _how_to_recertify(certificate: CalibrationRow) -> str:
    share = certificate.body["failure_probability"]
    return (
        "label pairs of the traffic as it is now (tribunal queue create DATASET --unlabelled), drawn "
        f"after this alarm, then: tribunal certify DATASET --target-agreement "
        f"{certificate.body['target_agreement']:g} --failure-probability {share:g}; its failure "
        "probability is a new share beside those of the old certificate and of this monitor"
    )
