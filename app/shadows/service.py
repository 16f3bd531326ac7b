"""Starts, shows and ends shadow judges."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncSession

from app.bodies.shadows import ShadowBody
from app.calibrations import stored as calibrations
from app.core.db import rfc3339
from app.core.errors import Conflict, Unprocessable
from app.core.lists import Page, Paging, page_of, required
from app.core.models import CalibrationRow, Shadow, ShadowVerdict, new_id
from app.core.pools import beside_if_many
from app.core.runtime import Runtime
from app.datasets import stored_pairs
from app.judgments.authority import promises
from app.monitors import alarms
from app.monitors import service as monitors
from app.shadows import queries
from app.shadows.asking import candidate, fingerprints
from app.shadows.report import Change, Compared, compare
from app.shadows.schemas import ShadowIn
from judges.budget import is_priced

_FEW_LABELS: Final = 30
Said = tuple[float, Sequence[str]]


async def require(session: AsyncSession, shadow_id: str) -> Shadow:
    """Return a shadow.

    Raises:
        NotFound: none has this id.
    """
    return await required(session, Shadow, shadow_id, "shadow")


async def create(running: Runtime, request: ShadowIn) -> ShadowBody:
    """Let a candidate judge a share of a certificate's traffic.

    Raises:
        NotFound: a certificate is unknown.
        Conflict: the certificate is not in use, or the candidate's cannot be used.
        Unprocessable: a judge is unknown, answers from records, or has no price under a budget.
    """
    async with running.db.write() as session:
        certificate = await calibrations.require(session, request.calibration)
        if not promises(certificate) or certificate.revoked_at is not None:
            raise Conflict(
                f"calibration {certificate.id} is not in use: it gives no promised verdict"
            )
        authority = await candidate(session, running, request)
        if request.budget_usd is not None:
            for tier in authority.tiers:
                if not tier.judge.spec.is_local and not is_priced(tier.judge):
                    raise Unprocessable.field(
                        ["budget_usd"], f"the judge {tier.judge.spec.name!r} has no price"
                    )
        shadow = Shadow(
            id=new_id("shadow"),
            certificate_seq=certificate.seq,
            status="watching",
            options={
                "request": request.model_dump(mode="json"),
                "share": request.share,
                "fingerprints": fingerprints(authority),
            },
            secret=secrets.token_hex(32),
            spent_usd=0.0,
            error=None,
            created_at=running.now(),
            ended_at=None,
        )
        session.add(shadow)
        await session.flush()
        return await show(session, shadow)


async def look(running: Runtime, shadow_id: str) -> ShadowBody:
    """Return a shadow with its figures so far."""
    async with running.db.read() as session:
        return await show(session, await require(session, shadow_id))


async def list_shadows(running: Runtime, paging: Paging) -> Page:
    """Return one page of shadows."""
    async with running.db.read() as session:
        rows = await queries.page(session, paging)
        bodies = {one.seq: await show(session, one) for one in rows[: paging.limit]}
    return page_of(rows, paging.limit, lambda one: dict(bodies[one.seq]))


async def end(running: Runtime, shadow_id: str) -> ShadowBody:
    """Stop drawing pairs and asking the candidate; keep the figures."""
    async with running.db.write() as session:
        shadow = await require(session, shadow_id)
        await queries.end(session, shadow, status="ended", ended_at=running.now())
    return await look(running, shadow_id)


async def show(session: AsyncSession, shadow: Shadow) -> ShadowBody:
    """Return a shadow as users see it."""
    certificate = await queries.certificate_of(session, shadow)
    request = ShadowIn.model_validate(shadow.options["request"])
    drawn, waiting = await queries.counts(session, shadow)
    rows = await queries.verdicts_of(session, shadow)
    said = await _said_by_people(session, rows)
    pairs, found = await beside_if_many(len(rows), _figures, rows, said, certificate)
    body: Any = {
        "object": "shadow",
        "id": shadow.id,
        "status": shadow.status,
        "calibration": certificate.id,
        "judges": list(shadow.options["fingerprints"]),
        "share": request.share,
        "drawn": drawn,
        "pairs": len(rows),
        "waiting": waiting,
        "failed": sum((row.said or {}).get("status") == "failed" for row in rows),
        "labelled": found.labelled,
        **{
            name: asdict(getattr(found, name))
            for name in (
                "coverage", "coverage_change", "agreement", "agreement_change", "cost_change", "same",
            )
        },
        "enough": found.is_enough(request.precision),
        "precision": request.precision,
        "labels_needed": found.labels_needed(request.precision),
        "notes": _notes(pairs, found),
        "spent_usd": shadow.spent_usd,
        "budget_usd": request.budget_usd,
        "error": shadow.error,
        "created_at": rfc3339(shadow.created_at),
        "ended_at": shadow.ended_at and rfc3339(shadow.ended_at),
    }  # fmt: skip
    shadow_body: ShadowBody = body
    return shadow_body


async def _said_by_people(session: AsyncSession, rows: Sequence[ShadowVerdict]) -> dict[int, Said]:
    """Return, by row, the probability that people were asked, and what they said.

    Answers to audits come first, because audits are drawn from the verdicts. Where there are none,
    labels of the dataset count, unless they were asked for because of a verdict.
    """
    of_audits = await monitors.said_in_audits(session, [row.verdict_seq for row in rows])
    if of_audits:
        return {row.seq: of_audits[row.verdict_seq] for row in rows if row.verdict_seq in of_audits}
    votes = await stored_pairs.votes_on(session, [row.pair_seq for row in rows if row.pair_seq])
    found: dict[int, Said] = {}
    for row in rows:
        own = [
            vote
            for vote in votes.get(row.pair_seq or 0, ())
            if vote.criterion == "overall" and "selected" not in vote.details
        ]
        if own:
            drawn = min(float(vote.details.get("label_probability", 1.0)) for vote in own)
            found[row.seq] = (drawn, [vote.label for vote in own])
    return found


def _figures(
    rows: Sequence[ShadowVerdict], said: Mapping[int, Said], certificate: CalibrationRow
) -> tuple[list[Compared], Change]:
    pairs = [_compared(row, said.get(row.seq), certificate) for row in rows]
    return pairs, compare(pairs)


def _compared(row: ShadowVerdict, said: Said | None, certificate: CalibrationRow) -> Compared:
    after: Mapping[str, Any] = row.said or {}
    labels = (row.present["label"], after.get("label"))
    costs = (row.present["cost_usd"], after.get("cost_usd"))
    if said is None:
        return Compared(row.prompt, row.in_share, labels, costs)
    losses = tuple(
        None if label is None else alarms.loss_of(label, said[1], certificate.request)
        for label in labels
    )
    return Compared(row.prompt, row.in_share, labels, costs, (losses[0], losses[1]), 1 / said[0])


def _notes(pairs: Sequence[Compared], found: Change) -> list[str]:
    """Say what the figures leave out."""
    notes = []
    gained = any(one.labels[0] is None and one.labels[1] is not None for one in pairs)
    looked = any(one.labels[0] is None and one.losses[1] is not None for one in pairs)
    if gained and found.labelled and not looked:
        notes.append(
            "no label is on a pair on which the present cascade abstains: agreement is that on the "
            "pairs it answers; a monitor with --abstained-rate asks people about the others"
        )
    if found.labelled < _FEW_LABELS:
        notes.append(
            f"{found.labelled} judged pairs have labels: a monitor of the same certificate gets more, "
            "and whatever it audits the candidate judges, too"
        )
    if found.cost_change.value is None and pairs:
        notes.append("what some judge costs is unknown: set price_input and price_output")
    return notes
