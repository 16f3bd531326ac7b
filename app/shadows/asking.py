"""Asks candidates about the pairs that were drawn, beside the service's other work.

A pair waits in the database until a candidate has judged it, so a restart loses none. Requests have
priority, and nothing that happens here changes a verdict that users get.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncSession

from app.core.errors import TribunalError, Unprocessable
from app.core.models import Shadow, ShadowVerdict
from app.core.outages import outages
from app.core.runtime import Runtime
from app.judgments import reasons
from app.judgments.authority import Authority, of_certificate, without_promise
from app.judgments.judging import Judged, Subject, judge_subjects
from app.judgments.verdicts import asking_usd
from app.scores import judges as cascades
from app.scores.store import is_recorded, store_scores
from app.shadows import queries
from app.shadows.schemas import ShadowIn
from judges.types import Message, Pair

_log = logging.getLogger(__name__)
_AT_ONCE: Final = 16
_LEASE: Final = timedelta(minutes=10)
_PAUSE_SECONDS: Final = 2.0


async def candidate(session: AsyncSession, running: Runtime, request: ShadowIn) -> Authority:
    """Return the candidate of a request.

    Raises:
        NotFound: its certificate is unknown.
        Conflict: its certificate cannot be used.
        Unprocessable: a judge is unknown, or answers from records.
    """
    registry = running.registry
    if request.candidate is not None:
        found = await of_certificate(session, registry, request.candidate)
    else:
        order = request.order or ""
        names = cascades.judge_names(registry, order)
        judges = cascades.resolve(registry, names, {}, "in the traffic")
        declared = registry.thresholds.get(order) if isinstance(order, str) else None
        found = without_promise(judges, declared)
        certificate = await queries.certificate_by_id(session, request.calibration)
        found = replace(found, ties=certificate.request["ties"])
    for tier in found.tiers:
        if is_recorded(tier.judge.spec):
            raise Unprocessable.field(
                ["judge" if request.judge else "cascade"],
                f"{tier.judge.spec.name!r} answers from records: for stored scores there are replays",
            )
    return found


def fingerprints(authority: Authority) -> dict[str, str]:
    """Return the fingerprints of the judges by name."""
    return {tier.judge.spec.name: tier.judge.spec.fingerprint for tier in authority.tiers}


async def ask_forever(running: Runtime) -> None:
    """Ask candidates as pairs are drawn for them, each apart: a slow one keeps no other waiting."""
    asking: dict[int, asyncio.Task[None]] = {}
    while True:
        await asyncio.sleep(_PAUSE_SECONDS)
        asking = {seq: task for seq, task in asking.items() if not task.done()}
        for shadow in await _with_waiting_pairs(running):
            if shadow.seq not in asking:
                name = f"candidate {shadow.id}"
                asking[shadow.seq] = running.start(_ask_while_any(running, shadow), name)


async def _with_waiting_pairs(running: Runtime) -> Sequence[Shadow]:
    try:
        async with running.db.read() as session:
            return await queries.with_waiting_pairs(session, running.now())
    except outages():
        _log.debug("pairs of shadows could not be read", exc_info=True)
        return ()


async def _ask_while_any(running: Runtime, shadow: Shadow) -> None:
    try:
        while await ask_some(running, shadow):
            pass
    except outages():
        _log.debug("pairs of %s could not be read", shadow.id, exc_info=True)
    except Exception:
        _log.exception("the candidate of %s could not be asked", shadow.id)


async def ask_some(running: Runtime, shadow: Shadow) -> int:
    """Ask a candidate about a few pairs; return how many pairs were taken."""
    moment = running.now()
    async with running.db.read() as session:
        own = await queries.waiting(session, shadow, moment, _AT_ONCE)
    if not own:
        return 0
    async with running.db.write() as session:
        seqs = [one.seq for one in own]
        ours = await queries.take(session, seqs, moment, moment + _LEASE)
    taken = [one for one in own if one.seq in ours]
    if taken:
        await _ask(running, shadow, taken)
    return len(taken)


async def _ask(running: Runtime, shadow: Shadow, taken: Sequence[ShadowVerdict]) -> None:
    request = ShadowIn.model_validate(shadow.options["request"])
    try:
        async with running.db.read() as session:
            authority = await candidate(session, running, request)
        if fingerprints(authority) != shadow.options["fingerprints"]:
            raise Unprocessable("its judges are configured otherwise now")
    except TribunalError as error:
        async with running.db.write() as session:
            await queries.end(
                session, shadow, status="ended", error=error.detail, ended_at=running.now()
            )
        return
    judged: list[Judged] = []

    async def keep(one: Judged) -> None:
        judged.append(one)

    subjects = [_subject(one) for one in taken]
    await judge_subjects(running, authority, subjects, keep, pause=running.courtesy.pause)
    await _store(running, shadow, judged)


def _subject(one: ShadowVerdict) -> Subject:
    content: Mapping[str, Any] = one.content or {}
    pair = Pair(
        id=str(one.seq),
        conversation=tuple(Message(role, text) for role, text in content["conversation"]),
        responses_a=tuple(content["responses_a"]),
        responses_b=tuple(content["responses_b"]),
        criterion=content["criterion"],
    )
    return Subject.of(pair, content["metadata"])


async def _store(running: Runtime, shadow: Shadow, judged: Sequence[Judged]) -> None:
    costs = [score.cost_usd for one in judged for _, score in one.obtained]
    costs += [one.paid_reason.cost_usd for one in judged if one.paid_reason is not None]
    moment = running.now()
    async with running.db.write() as session:
        await store_scores(session, [score for one in judged for score in one.fresh], moment)
        for one in judged:
            await reasons.store(session, one.fresh_reasons, moment)
            await queries.judged(session, int(one.pair.id), _said(one))
        spent = await queries.spend(session, shadow, sum(cost or 0.0 for cost in costs))
        budget = shadow.options["request"]["budget_usd"]
        if budget is not None and spent >= budget:
            await queries.end(session, shadow, status="spent", ended_at=moment)


def _said(one: Judged) -> dict[str, Any]:
    verdict = one.verdict
    return {
        "status": verdict.status,
        "label": verdict.label,
        "confidence": verdict.confidence,
        "judge": verdict.judge,
        "cost_usd": asking_usd(one),
    }
