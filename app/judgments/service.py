"""Judges posted pairs in five steps, and lists stored verdicts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Literal

from sqlalchemy.ext.asyncio import AsyncSession

from app.bodies.judgments import ReasonBody, TierBody
from app.calibrations import stored as calibrations
from app.core.db import Database, rfc3339
from app.core.errors import Unprocessable
from app.core.lists import Page, Paging, page_of, required
from app.core.models import Batch, Verdict
from app.core.runtime import Runtime
from app.datasets import service as datasets
from app.formats.canonical import PairIn, to_pair
from app.judgments import queries, reasons
from app.judgments.authority import Authority, refuse_expired, resolve
from app.judgments.judging import Judged, Subject, judge_all
from app.judgments.promise import AnswerCounts, suspended_because
from app.judgments.schemas import JudgmentsIn
from app.judgments.verdicts import (
    Settled,
    asking_usd,
    settled_verdicts,
    tier_bodies,
    with_orders,
    with_reason,
)
from app.monitors import drawing
from app.monitors.sampling import Candidate, Where
from app.scores.judges import PairScores
from app.scores.store import is_recorded, store_scores
from judges.registry import Registry

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Filter:
    """The filter for a list of stored verdicts."""

    dataset: str | None = None
    calibration: str | None = None
    batch: str | None = None
    status: str | None = None
    include: Literal["reasons"] | None = None


async def judge(running: Runtime, request: JudgmentsIn, *, with_reasons: bool = False) -> Body:
    """Return the verdicts on the posted pairs, in their order, and store them with their scores.

    Args:
        running: The service.
        request: The pairs, and by what to judge them.
        with_reasons: Whether the verdicts carry the reasons that their judges gave.

    Raises:
        Unprocessable: an id occurs twice, a score is posted for a judge that is asked live, or
            the cascade cannot be asked.
    """
    subjects = read(request.pairs, running.registry)
    scores = PairScores([pair.judges for pair in request.pairs], "with any of the pairs")
    authority = await resolve(running.db, running.registry, request, scores)
    refuse_expired(authority, running.now())
    judged = await judge_all(running, authority, subjects, deadline_seconds=request.deadline_s)
    if authority.is_certified or any(one.fresh or one.fresh_reasons for one in judged):
        async with running.db.write() as session:
            moment = running.now()
            settled = await settle(session, authority, judged, moment)
            await store(session, settled, moment)
            await _draw_audits(session, authority, judged, settled, moment)
    else:
        # takes no row lock, so the insert can be coalesced with other requests'
        settled = settled_verdicts(authority, judged, running.now())
        await running.coalescer.call("verdicts", settled.rows, partial(_store_rows, running.db))
    return {
        "verdicts": [
            with_orders(with_reason(body, one) if with_reasons else body, one)
            for body, one in zip(settled.verdicts, judged, strict=True)
        ],
        "suspended_because": settled.suspended_because,
        "calibration_pairs": sum(body["calibration_pair"] for body in settled.verdicts),
    }


def read(pairs: Sequence[PairIn], registry: Registry) -> list[Subject]:
    """Return what to judge.

    Raises:
        Unprocessable: an id occurs twice, a row has no texts, or a score is posted for a judge that
            is asked live.
    """
    subjects = []
    first_at: dict[str, int] = {}
    for number, posted in enumerate(pairs):
        if posted.is_battle:
            raise Unprocessable.field(["pairs", number, "prompt"], "is missing (or messages)")
        _refuse_live_scores(number, posted.judges, registry)
        pair = to_pair(posted)
        if pair.id in first_at:
            raise Unprocessable.field(
                ["pairs", number, "id"], f"{pair.id!r} is also the id of pair {first_at[pair.id]}"
            )
        first_at[pair.id] = number
        subjects.append(Subject.of(pair, posted.metadata or {}))
    return subjects


def _refuse_live_scores(number: int, recorded: Iterable[str], registry: Registry) -> None:
    for name in recorded:
        if name in registry.judges and not is_recorded(registry.judges[name].spec):
            raise Unprocessable.field(
                ["pairs", number, "judges", name],
                "this judge is asked live: a posted score cannot stand in for it",
            )


async def settle(
    session: AsyncSession, authority: Authority, judged: Sequence[Judged], moment: datetime
) -> Settled:
    """Return the verdicts with their promise."""
    if not authority.is_certified or authority.certificate is None:
        return settled_verdicts(authority, judged, moment)
    known = await authority.known_prompts(session, [one.pair.prompt_hash for one in judged])
    calibrated = authority.certificate.body["calibration"]["failures"]
    own: dict[str, list[TierBody]] = {one.subject.content_hash: tier_bodies(one) for one in judged}
    recent = await queries.recent_tiers(session, authority.certificate.seq)
    # this run alone, then with the certificate's last verdicts: many small runs are one large one
    why = (
        calibrations.why_not_promised(authority.certificate, moment)
        or suspended_because(calibrated, AnswerCounts.of(own.values()))
        or suspended_because(calibrated, AnswerCounts.of({**recent, **own}.values()))
    )
    return settled_verdicts(authority, judged, moment, why, known)


async def store(session: AsyncSession, settled: Settled, moment: datetime) -> None:
    """Store verdicts, and the scores that were obtained for them."""
    await store_scores(session, settled.fresh, moment)
    await reasons.store(session, settled.fresh_reasons, moment)
    await queries.add(session, settled.rows)


async def _draw_audits(
    session: AsyncSession,
    authority: Authority,
    judged: Sequence[Judged],
    settled: Settled,
    moment: datetime,
) -> None:
    """Draw some of the verdicts for the monitors and shadows of their certificate."""
    if not authority.is_certified or authority.certificate is None:
        return
    candidates = [
        Candidate(
            one.pair,
            one.subject.content_hash,
            one.subject.metadata,
            body,
            asking_usd=asking_usd(one),
        )
        for one, body in zip(judged, settled.verdicts, strict=True)
    ]
    await drawing.draw(session, Where(authority.certificate.seq, moment), candidates)


async def _store_rows(db: Database, several: Sequence[list[Body]]) -> Sequence[None]:
    async with db.write() as session:
        await queries.add(session, [row for rows in several for row in rows])
    return [None] * len(several)


async def list_verdicts(running: Runtime, chosen: Filter, paging: Paging) -> Page:
    """Return one page of stored verdicts; a page's cursor is a verdict's number."""
    async with running.db.read() as session:
        dataset = (
            None if chosen.dataset is None else await datasets.find_dataset(session, chosen.dataset)
        )
        certificate = (
            None
            if chosen.calibration is None
            else await calibrations.require(session, chosen.calibration)
        )
        batch = (
            None
            if chosen.batch is None
            else await required(session, Batch, chosen.batch, "batch", "batch")
        )
        rows = await queries.page(
            session,
            paging,
            _cursor(paging.after),
            dataset_seq=dataset.seq if dataset else None,
            certificate_seq=certificate.seq if certificate else None,
            batch_seq=batch.seq if batch else None,
            status=chosen.status,
        )
        now = await queries.without_promise(session, rows)
        explained = {(row.content_hash, row.explained_by) for row in rows if chosen.include}
        said = await reasons.bodies_of(session, explained)
    return page_of(
        rows,
        paging.limit,
        lambda row: _listed(row, now.get(row.seq, row.promise), said),
        key="verdict_id",
    )


async def places(running: Runtime, verdicts: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Return where the pairs of verdicts lie, by the `verdict_id`: name of the dataset, and id there.

    Posted pairs lie in no dataset and are left out.
    """
    async with running.db.read() as session:
        found = await queries.places(session, [int(one) for one in verdicts])
    return {str(seq): place for seq, place in found.items()}


def _listed(
    row: Verdict, promise: str, said: Mapping[tuple[str, str | None], ReasonBody]
) -> dict[str, Any]:
    reason = said.get((row.content_hash, row.explained_by))
    return {
        "verdict_id": str(row.seq),
        "judgment": str(row.seq),
        **row.body,
        **({} if reason is None else {"reason": reason}),
        **({} if row.position is None else {"position": row.position}),
        "promise": promise,
        "created_at": rfc3339(row.created_at),
    }


def _cursor(after: str | None) -> int | None:
    if after is None:
        return None
    if not after.isascii() or not after.isdigit() or len(after) > 18:
        raise Unprocessable(
            "after: give the last_id of a page",
            errors=[{"loc": ["query", "after"], "msg": "the last_id of a page is expected"}],
        )
    return int(after)
