"""Makes certificates: which pairs, which scores, which thresholds, what is promised.

A calibration whose scores are all at hand is answered at once; one for which judges must be asked
first becomes work beside the requests, and goes on after a restart.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy.ext.asyncio import AsyncSession

from app import cascades, label_sets
from app.asking import ask_missing, missing_scores
from app.calibrations import queries
from app.calibrations.evidence import Evidence, gather, opinions
from app.calibrations.result import Found, advise_on, claim_of_later_use, describe, status
from app.calibrations.sample import Sample, draw_sample, known_groups
from app.calibrations.schemas import CalibrationIn, Ties
from app.datasets import service as datasets
from app.datasets.service import PairKey, Vote
from app.errors import Conflict, NotFound, TribunalError, Unprocessable
from app.lookup import by_public_id
from app.models import Certificate, Dataset, new_id
from app.parts import group_number
from app.runtime import Runtime
from app.scoring import ScoreTable, is_recorded, load_table
from calibration import certify_cascade
from calibration.errors import CalibrationError
from judges.base import Judge

_log = logging.getLogger(__name__)
# a pool fixes one or two quantiles: more pairs than this sharpen nothing, fewer than this are noise
_POOL_AT_MOST, _POOL_AT_LEAST = 1_000, 30


@dataclass(frozen=True, slots=True)
class Prepared:
    """All that a calibration needs from the database before any judge is asked."""

    dataset: Dataset
    judges: list[Judge]
    sample: Sample
    votes: Mapping[int, Sequence[Vote]]
    pool: list[PairKey]
    pool_dataset: Dataset


async def create(running: Runtime, request: CalibrationIn) -> Certificate:
    """Make a certificate, at once if no judge must be asked for long, else `pending`.

    Raises:
        NotFound: there is no such dataset.
        Unprocessable: the request cannot be honoured; names the field.
    """
    prepared = await prepare(running, request)
    is_quick = await _is_quick(running, prepared)
    certificate = await _store_pending(running, request, prepared)
    if is_quick:
        await _finish(running, certificate, request, prepared)
    else:
        running.start(_run(running, certificate.id), f"calibration {certificate.id}")
    return await find(running, certificate.id)


async def find(running: Runtime, certificate_id: str) -> Certificate:
    """Return a certificate.

    Raises:
        NotFound: no certificate has this id.
    """
    async with running.db.read() as session:
        return await require(session, certificate_id)


async def require(session: AsyncSession, certificate_id: str) -> Certificate:
    """Return a certificate, inside a transaction.

    Raises:
        NotFound: no certificate has this id.
    """
    certificate = await by_public_id(session, Certificate, certificate_id)
    if certificate is None:
        raise NotFound(f"there is no calibration {certificate_id!r}")
    return certificate


async def revoke(running: Runtime, certificate_id: str) -> Certificate:
    """Withdraw a certificate's promise for ever; revoking twice changes nothing."""
    async with running.db.write() as session:
        certificate = await require(session, certificate_id)
        if certificate.status in queries.UNFINISHED:
            raise Conflict(f"calibration {certificate_id} is still {certificate.status}")
        if certificate.revoked_at is None:
            await queries.set_status(session, certificate, revoked_at=running.now())
    return await find(running, certificate_id)


async def resume(running: Runtime) -> None:
    """Take up the calibrations that a stop interrupted."""
    async with running.db.read() as session:
        waiting = await queries.unfinished(session)
    for certificate in waiting:
        running.start(_run(running, certificate.id), f"calibration {certificate.id}")


def show(certificate: Certificate) -> dict[str, Any]:
    """Return a certificate as users see it."""
    revoked_at = certificate.revoked_at
    return {
        "id": certificate.id,
        "object": "calibration",
        "status": certificate.status,
        **certificate.body,
        "error": certificate.error,
        "request": certificate.request,
        "created_at": certificate.created_at.isoformat(),
        "revoked_at": revoked_at.isoformat() if revoked_at else None,
    }


async def prepare(running: Runtime, request: CalibrationIn) -> Prepared:
    """Collect what a calibration needs before any judge is asked; asks nobody."""
    names = cascades.judge_names(
        running.registry,
        request.cascade if isinstance(request.cascade, str) else request.cascade.judges,
    )
    async with running.db.read() as session:
        dataset = await datasets.find_dataset(session, request.dataset)
        judges = await cascades.judges_for(session, running.registry, dataset, names)
        everything = await datasets.pair_keys(session, dataset)
        keys = (
            await datasets.pair_keys(session, dataset, request.part) if request.part else everything
        )
        votes = await datasets.votes(session, dataset)
        sample = draw_sample(keys, votes, judges)
        pool_dataset, pool = await _pool_candidates(session, request, dataset, everything, votes)
    pool = _without_known(pool, sample, judges)
    return Prepared(dataset, judges, sample, votes, pool, pool_dataset)


async def _pool_candidates(
    session: AsyncSession,
    request: CalibrationIn,
    dataset: Dataset,
    everything: Sequence[PairKey],
    votes: Mapping[int, Sequence[Vote]],
) -> tuple[Dataset, list[PairKey]]:
    """Return unlabelled pairs that may fix where the test starts."""
    if request.pool is not None:
        other = await datasets.find_dataset(session, request.pool)
        return other, await datasets.pair_keys(session, other)
    if request.part is not None:
        return dataset, await datasets.pair_keys(session, dataset, request.part.other)
    return dataset, [key for key in everything if not votes.get(key.seq)]


def _without_known(
    pool: Sequence[PairKey], sample: Sample, judges: Sequence[Judge]
) -> list[PairKey]:
    """Leave out what shares a group or prompt with the sample, or is known to a judge."""
    groups = {key.group for key in sample.keys}
    prompts = {key.prompt_hash for key in sample.keys}
    known = known_groups(
        pool, frozenset().union(*(j.spec.training_prompts | j.spec.example_prompts for j in judges))
    )
    kept = [
        key
        for key in pool
        if key.content_hash and key.group not in groups | known and key.prompt_hash not in prompts
    ]
    kept.sort(key=lambda key: group_number(0, f"{key.group}\n{key.id}"))
    return kept


async def _is_quick(running: Runtime, prepared: Prepared) -> bool:
    owed = 0
    for judge in prepared.judges:
        missing = len(await missing_scores(running, judge, prepared.sample.keys))
        if missing and not judge.spec.is_local:
            return False
        owed += missing
    return owed <= running.settings.inline_scores


async def _store_pending(
    running: Runtime, request: CalibrationIn, prepared: Prepared
) -> Certificate:
    certificate = Certificate(
        id=new_id("cal"),
        status="pending",
        dataset_seq=prepared.dataset.seq,
        request=request.model_dump(mode="json"),
        body={
            "target_agreement": request.target_agreement,
            "failure_probability": request.failure_probability,
        },
        label_set_hash=None,
        error=None,
        created_at=running.now(),
        revoked_at=None,
    )
    async with running.db.write() as session:
        session.add(certificate)
    return certificate


async def _run(running: Runtime, certificate_id: str) -> None:
    """Finish one pending calibration; whatever goes wrong is stored with it."""
    certificate = await find(running, certificate_id)
    request = CalibrationIn.model_validate(certificate.request)
    async with running.db.write() as session:
        await queries.set_status(session, certificate, status="running")
    try:
        await _finish(running, certificate, request, await prepare(running, request))
    except TribunalError as error:
        _log.info("calibration %s failed: %s", certificate_id, error.detail)
    except Exception:
        # the loop's edge: the user must find the failure where the certificate would have been
        _log.exception("calibration %s failed", certificate_id)
        await _store_failure(running, certificate, "an unexpected error; the log has it")


async def _finish(
    running: Runtime, certificate: Certificate, request: CalibrationIn, prepared: Prepared
) -> None:
    """Ask what is owed, certify, store; a refusal is stored with the calibration and raised."""
    try:
        for judge in prepared.judges:
            await ask_missing(running, judge, prepared.dataset, prepared.sample.keys)
        evidence = gather(request, prepared.sample, await _sample_scores(running, prepared))
        pool = await _pool_confidences(running, prepared, request.ties)
        found = await asyncio.to_thread(_certify, request, evidence, pool)
    except CalibrationError as error:
        await _store_failure(running, certificate, str(error))
        raise Unprocessable(str(error)) from error
    except TribunalError as error:
        await _store_failure(running, certificate, error.detail)
        raise
    body = describe(request, prepared.judges, prepared.sample, evidence, found)
    label_set_hash = label_sets.label_set_hash(evidence.keys, prepared.votes)
    async with running.db.write() as session:
        certificate.label_set_hash = label_set_hash
        await queries.set_status(session, certificate, label_set_hash=label_set_hash)
        await queries.add_pairs(session, certificate.seq, [key.seq for key in evidence.keys])
        uses = await queries.count_uses(session, certificate)
        body |= {
            "claim": claim_of_later_use(
                body["claim"], uses, is_certified=found.certificate.is_certified
            ),
            "label_set_hash": label_set_hash,
            "label_set_uses": uses,
        }
        await queries.set_status(session, certificate, status=status(found.certificate), body=body)


async def _sample_scores(running: Runtime, prepared: Prepared) -> ScoreTable:
    async with running.db.read() as session:
        return await load_table(session, prepared.dataset, prepared.sample.keys, prepared.judges)


async def _pool_confidences(
    running: Runtime, prepared: Prepared, ties: Ties
) -> npt.NDArray[np.float64] | None:
    """Return the pool's confidences, None where too few of its pairs have scores.

    Nobody is asked for the pool's sake but judges that cost neither money nor time.
    """
    local = [j for j in prepared.judges if j.spec.is_local and not is_recorded(j.spec)]
    others = [judge for judge in prepared.judges if judge not in local]
    async with running.db.read() as session:
        known = await load_table(session, prepared.pool_dataset, prepared.pool, others)
    ready = [key for key, row in zip(prepared.pool, known.is_known, strict=True) if row.all()]
    if len(ready) < _POOL_AT_LEAST:
        return None
    ready = ready[:_POOL_AT_MOST]
    for judge in local:
        await ask_missing(running, judge, prepared.pool_dataset, ready)
    async with running.db.read() as session:
        table = await load_table(session, prepared.pool_dataset, ready, prepared.judges)
    return opinions(table, ties)[1]


def _certify(
    request: CalibrationIn, evidence: Evidence, pool: npt.NDArray[np.float64] | None
) -> Found:
    costs = [cost for cost in evidence.costs if cost is not None]
    certificate = certify_cascade(
        evidence.confidence,
        evidence.correct,
        costs=costs if len(costs) == len(evidence.costs) else None,
        target_risk=round(1 - request.target_agreement, 12),
        failure_probability=request.failure_probability,
        groups=evidence.groups,
        max_group_size=request.max_group_size,
        weights=evidence.weights,
        min_label_probability=request.min_label_probability,
        slices=evidence.slices,
        menu=[round(1 - target, 12) for target in request.menu] if request.menu else None,
        pool=pool,
        method=request.method,  # type: ignore[arg-type]
        rng=np.random.default_rng(request.seed),
    )
    advice = advise_on(request, evidence)
    return Found(certificate, advice, 0 if pool is None else len(pool))


async def _store_failure(running: Runtime, certificate: Certificate, why: str) -> None:
    async with running.db.write() as session:
        await queries.set_status(session, certificate, status="failed", error=why)
