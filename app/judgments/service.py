"""POST /judgments, five steps in a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncSession

from app.api.bodies import Promise, TierBody, VerdictBody
from app.calibrations import service as calibrations
from app.calibrations.queries import known_among
from app.core.db import Database
from app.core.errors import Unprocessable
from app.core.lists import Page, page_of
from app.core.models import Verdict
from app.core.runtime import Runtime
from app.datasets import service as datasets
from app.formats.canonical import PairIn, to_pair
from app.judgments import queries
from app.judgments.authority import Authority, authority_of, without_promise
from app.judgments.judging import (
    Judged,
    Subject,
    count_verdicts,
    judge_all,
    tier_bodies,
    verdict_body,
)
from app.judgments.promise import Attendance, suspended_because
from app.judgments.schemas import JudgmentsIn
from app.scores import judges
from app.scores.store import is_recorded, store_scores
from judges.base import Judge
from judges.recorded import RecordedJudge
from judges.registry import DEFAULT_CASCADE, Registry


def judges_of(registry: Registry, request: JudgmentsIn) -> list[Judge]:
    """Return the judges of the cascade that a request names or describes, from cheap to strong.

    A name that is not configured answers from the scores that came with the pairs.

    Raises:
        Unprocessable: there is no such cascade, a judge is named twice, or a judge that the request
            itself names is neither configured nor recorded with any pair.
    """
    if request.cascade is None or isinstance(request.cascade, str):
        names = judges.judge_names(registry, request.cascade or DEFAULT_CASCADE)
    else:
        names = judges.judge_names(registry, request.cascade.judges)
        _refuse_unknown(registry, names, request.pairs)
    return [registry.judges.get(name) or _recorded(name, request.pairs) for name in names]


def _refuse_unknown(registry: Registry, names: Sequence[str], pairs: Sequence[PairIn]) -> None:
    for name in names:
        if name not in registry.judges and not any(name in pair.judges for pair in pairs):
            known = dict.fromkeys(
                [*registry.judges, *(one for pair in pairs for one in pair.judges)]
            )
            message = judges.unknown_judge(name, known, "with any of the pairs")
            raise Unprocessable.field(["cascade", "judges"], message)


def _recorded(name: str, pairs: Sequence[PairIn]) -> Judge:
    scores = [pair.judges[name] for pair in pairs if name in pair.judges]
    fingerprints = {score.fingerprint for score in scores if score.failure is None}
    if len(fingerprints) > 1:
        raise Unprocessable.field(
            ["cascade"],
            f"{name!r} is recorded with {len(fingerprints)} different models or prompts: give "
            "each its own name",
        )
    return RecordedJudge(name, fingerprint=next(iter(fingerprints), None))


Rows = list[dict[str, Any]]
_NOWHERE: Final[Mapping[str, int | None]] = dict.fromkeys(
    ("dataset_seq", "pair_seq", "batch_seq", "position")
)


@dataclass(frozen=True, slots=True)
class Filter:
    """Which stored verdicts to list."""

    dataset: str | None = None
    calibration: str | None = None
    status: str | None = None


async def judge(running: Runtime, request: JudgmentsIn) -> dict[str, Any]:
    """Return the verdicts on the posted pairs, in their order, and store them with their scores.

    Raises:
        NotFound: no certificate has this id.
        Conflict: the certificate does not apply any more.
        Unprocessable: an id twice, a score posted for a judge that is asked live, or a cascade
            that cannot be asked.
    """
    authority = await _authority(running, request)
    subjects = subjects_of(request.pairs, running.registry)
    judged = await judge_all(running, authority, subjects, deadline_seconds=request.deadline_s)
    fresh = [score for one in judged for score in one.fresh]
    if not fresh and not authority.is_certified:
        # rows that wait for nobody's locks: they go with those of other requests
        rows, shown = _rows(running, authority, judged, None)
        await running.together.join("verdicts", rows, partial(_store, running.db))
        return {"verdicts": shown, "suspended_because": None}
    async with running.db.write() as session:
        known = await _known_prompts(session, authority, subjects)
        why = await _suspended(session, authority, judged)
        rows, shown = _rows(running, authority, judged, why, known)
        await store_scores(session, fresh, running.now())
        await queries.add(session, rows)
    counted = sum(verdict["calibration_pair"] for verdict in shown)
    return {"verdicts": shown, "suspended_because": why, "calibration_pairs": counted}


async def _known_prompts(
    session: AsyncSession, authority: Authority, subjects: Sequence[Subject]
) -> frozenset[str]:
    """Return the prompts that are not new to the certificate: it promises nothing of their pairs."""
    if not authority.is_certified or authority.certificate is None:
        return frozenset()
    judges = [tier.judge for tier in authority.tiers]
    hashes = {subject.pair.prompt_hash for subject in subjects}
    return await known_among(session, authority.certificate.seq, judges, hashes)


def _rows(
    running: Runtime,
    authority: Authority,
    judged: Sequence[Judged],
    suspended: str | None,
    known: frozenset[str] = frozenset(),
) -> tuple[Rows, list[VerdictBody]]:
    """Return verdicts as the table holds them and as users see them, and count them."""
    promise = promise_of(authority, suspended)
    shown = [
        verdict_body(one, authority, promise, is_known=one.pair.prompt_hash in known)
        for one in judged
    ]
    count_verdicts(shown)
    certificate_seq, moment = seq_of(authority), running.now()
    rows = [
        verdict_row(body, one.subject.content_hash, certificate_seq, moment)
        for one, body in zip(judged, shown, strict=True)
    ]
    return rows, shown


async def _store(db: Database, several: Sequence[Rows]) -> Sequence[None]:
    async with db.write() as session:
        await queries.add(session, [row for rows in several for row in rows])
    return [None] * len(several)


async def _authority(running: Runtime, request: JudgmentsIn) -> Authority:
    registry = running.registry
    if request.calibration is not None:
        async with running.db.read() as session:
            return await authority_of(session, registry, request.calibration, ())
    cascade = request.cascade or DEFAULT_CASCADE
    declared = registry.thresholds.get(cascade) if isinstance(cascade, str) else None
    return without_promise(judges_of(registry, request), declared)


def promise_of(authority: Authority, suspended: str | None) -> Promise:
    """Return what a verdict of this run promises."""
    if not authority.is_certified:
        return "none"
    return "suspended" if suspended else "certified"


def seq_of(authority: Authority) -> int | None:
    """Return the number of the certificate on whose word pairs are judged, if there is one."""
    return authority.certificate.seq if authority.certificate else None


def verdict_row(
    body: VerdictBody,
    content_hash: str,
    certificate_seq: int | None,
    moment: datetime,
    place: Mapping[str, int | None] = _NOWHERE,
) -> dict[str, Any]:
    """Return a verdict as the table holds it; `place` is its pair's in a dataset and a batch."""
    return {
        "pair_id": body["id"],
        "content_hash": content_hash,
        "certificate_seq": certificate_seq,
        **place,
        "status": body["status"],
        "promise": body["promise"],
        "body": body,
        "created_at": moment,
    }


async def list_verdicts(running: Runtime, chosen: Filter, limit: int, after: str | None) -> Page:
    """Return stored verdicts, oldest first; a page's cursor is a verdict's number."""
    async with running.db.read() as session:
        dataset = (
            None if chosen.dataset is None else await datasets.find_dataset(session, chosen.dataset)
        )
        certificate = (
            None
            if chosen.calibration is None
            else await calibrations.require(session, chosen.calibration)
        )
        rows = await queries.page(
            session,
            limit,
            _cursor(after),
            dataset_seq=dataset.seq if dataset else None,
            certificate_seq=certificate.seq if certificate else None,
            status=chosen.status,
        )
        now = await queries.without_promise(session, rows)
    return page_of(
        rows, limit, lambda row: _listed(row, now.get(row.seq, row.promise)), key="verdict_id"
    )


def _listed(row: Verdict, promise: str) -> dict[str, Any]:
    return {
        "verdict_id": str(row.seq),
        **row.body,
        "promise": promise,
        "created_at": row.created_at.isoformat(),
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


def subjects_of(pairs: Sequence[PairIn], registry: Registry) -> list[Subject]:
    """Return what to judge.

    Raises:
        Unprocessable: an id twice, a row without texts, a score for a judge that is asked live.
    """
    subjects = []
    first_at: dict[str, int] = {}
    for number, posted in enumerate(pairs):
        if posted.is_battle:
            raise Unprocessable.field(["pairs", number, "prompt"], "is missing (or messages)")
        pair = to_pair(posted)
        if pair.id in first_at:
            raise Unprocessable.field(
                ["pairs", number, "id"], f"{pair.id!r} is also the id of pair {first_at[pair.id]}"
            )
        first_at[pair.id] = number
        _refuse_live_scores(number, pair.recorded, registry)
        subjects.append(Subject.of(pair, posted.metadata or {}))
    return subjects


def _refuse_live_scores(number: int, recorded: Any, registry: Registry) -> None:
    for name in recorded:
        if name in registry.judges and not is_recorded(registry.judges[name].spec):
            raise Unprocessable.field(
                ["pairs", number, "judges", name],
                "this judge is asked live: a posted score cannot stand in for it",
            )


async def _suspended(
    session: AsyncSession, authority: Authority, judged: Sequence[Judged]
) -> str | None:
    """Hold this run, and this run with the certificate's last verdicts, against calibration."""
    if not authority.is_certified or authority.certificate is None:
        return None
    calibrated = authority.certificate.body["calibration"]["failures"]
    own: dict[str, list[TierBody]] = {one.subject.content_hash: tier_bodies(one) for one in judged}
    recent = await queries.recent_tiers(session, authority.certificate.seq)
    return suspended_because(calibrated, Attendance.of(own.values())) or suspended_because(
        calibrated, Attendance.of({**recent, **own}.values())
    )
