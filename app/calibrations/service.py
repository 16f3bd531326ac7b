"""Made, found, revoked, resumed.

A calibration whose scores are all at hand is answered at once; one for which judges must be asked
first becomes work beside the requests, and goes on after a restart.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy.ext.asyncio import AsyncSession

from app.calibrations import queries
from app.calibrations.inputs import (
    CalibrationInputs,
    Prepared,
    gather,
    hash_of_test,
    opinions,
    prepare,
)
from app.calibrations.queries import known_among
from app.calibrations.result import Found, advise_on, claim_of_later_use, describe, status
from app.calibrations.schemas import CalibrationIn, Ties
from app.core.errors import Conflict, NotFound, TribunalError, Unprocessable
from app.core.lists import by_public_id
from app.core.models import Certificate, new_id
from app.core.names import ALIKE_IDS, hint, shown
from app.core.runtime import Runtime
from app.datasets import service as datasets
from app.labels import sets
from app.scores.judges import judges_of_certificate
from app.scores.store import is_recorded
from app.scores.table import ScoreTable, ask_missing, load_table, missing_scores
from calibration import certify_cascade
from calibration.arrays import FloatArray
from calibration.errors import CalibrationError
from judges.types import prompt_hash

# a pool fixes one or two quantiles: more pairs than this sharpen nothing, fewer than this are noise
_POOL_AT_MOST, _POOL_AT_LEAST = 1_000, 30


@dataclass(frozen=True, slots=True)
class Made:
    """The evidence of a calibration and what was found on it."""

    evidence: CalibrationInputs
    found: Found


async def make(running: Runtime, request: CalibrationIn, prepared: Prepared) -> Made:
    """Ask the judges for what they owe, and certify.

    Raises:
        CalibrationError: the labels do not fit the request.
        Unprocessable: no pair is left to calibrate on, or a field does not fit the labels.
    """
    for judge in prepared.judges:
        await ask_missing(running, judge, prepared.dataset, prepared.sample.keys)
    evidence = gather(request, prepared.sample, await _sample_scores(running, prepared))
    pool = await pool_confidences(running, prepared, request.ties)
    return Made(evidence, await asyncio.to_thread(_certify, request, evidence, pool))


async def is_quick(running: Runtime, prepared: Prepared) -> bool:
    """Whether no judge must be asked that costs money or time."""
    owed = 0
    for judge in prepared.judges:
        missing = len(await missing_scores(running, judge, prepared.sample.keys))
        if missing and not judge.spec.is_local:
            return False
        owed += missing
    return owed <= running.settings.inline_scores


async def _sample_scores(running: Runtime, prepared: Prepared) -> ScoreTable:
    async with running.db.read() as session:
        return await load_table(session, prepared.dataset, prepared.sample.keys, prepared.judges)


async def pool_confidences(running: Runtime, prepared: Prepared, ties: Ties) -> FloatArray | None:
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


def certification(
    request: CalibrationIn, evidence: CalibrationInputs, pool: FloatArray | None
) -> dict[str, Any]:
    """Return what a certificate of any target is made with, for the library to take."""
    costs = [cost for cost in evidence.costs if cost is not None]
    return {
        "costs": costs if len(costs) == len(evidence.costs) else None,
        "failure_probability": request.failure_probability,
        "groups": evidence.groups,
        "max_group_size": request.max_group_size,
        "weights": evidence.weights,
        "min_label_probability": request.min_label_probability,
        "exposure": evidence.exposure,
        "pool": pool,
        "method": request.method,
        "rng": np.random.default_rng(request.seed),
    }


def _certify(request: CalibrationIn, evidence: CalibrationInputs, pool: FloatArray | None) -> Found:
    certificate = certify_cascade(
        evidence.confidence,
        evidence.correct,
        target_risk=round(1 - request.target_agreement, 12),
        slices=evidence.slices,
        slice_rule=request.slice_rule,
        menu=[round(1 - target, 12) for target in request.menu] if request.menu else None,
        **certification(request, evidence, pool),
    )
    advice = advise_on(request, evidence, has_pool=pool is not None)
    return Found(certificate, advice, 0 if pool is None else len(pool))


_log = logging.getLogger(__name__)


async def create(running: Runtime, request: CalibrationIn) -> Certificate:
    """Make a certificate, at once if no judge must be asked for long, else `pending`.

    Raises:
        NotFound: there is no such dataset.
        Unprocessable: the request cannot be honoured; names the field.
    """
    prepared = await prepare(running, request)
    can_wait = await is_quick(running, prepared)
    certificate = await _store_pending(running, request, prepared)
    if can_wait:
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
        known = await queries.newest_ids(session)
        see = "GET /v1/calibrations" if known else "tribunal certify"
        meant = hint(certificate_id, known, see=see, alike=ALIKE_IDS)
        raise NotFound(f"there is no calibration {shown(certificate_id)}{meant}")
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


async def known_prompts(
    running: Runtime, certificate_id: str, prompts: Sequence[str]
) -> list[bool]:
    """Say of each prompt whether the certificate, or one of its judges, knows it.

    The certificate knows the prompts of the pairs that it was made from, whatever the responses; a
    judge knows what it was trained on or shows as examples. No judge is asked.

    Raises:
        NotFound: no certificate has this id.
        Conflict: it is not made yet.
    """
    hashes = [prompt_hash(prompt) for prompt in prompts]
    async with running.db.read() as session:
        certificate = await require(session, certificate_id)
        if certificate.status in queries.UNFINISHED:
            raise Conflict(f"calibration {certificate_id} is still {certificate.status}")
        fingerprints = certificate.body.get("fingerprints", {})
        judges = judges_of_certificate(running.registry, fingerprints)
        known = await known_among(session, certificate.seq, judges, set(hashes))
    return [one in known for one in hashes]


async def resume(running: Runtime) -> None:
    """Take up the calibrations that a stop interrupted."""
    async with running.db.read() as session:
        waiting = await queries.unfinished(session)
    for certificate in waiting:
        running.start(_run(running, certificate.id), f"calibration {certificate.id}")


async def look(running: Runtime, certificate_id: str) -> dict[str, Any]:
    """Return a certificate as users see it, with what became of its labels since.

    Raises:
        NotFound: no certificate has this id.
    """
    async with running.db.read() as session:
        certificate = await require(session, certificate_id)
        changed = await queries.pairs_relabelled(session, certificate)
    return {**show(certificate), "labels_changed": changed}


def show(certificate: Certificate) -> dict[str, Any]:
    """Return a certificate as users see it in a list."""
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
        if not await queries.take(session, certificate):
            return
    try:
        await _finish(running, certificate, request, await prepare(running, request))
    except TribunalError as error:
        _log.info("calibration %s failed: %s", certificate_id, error.detail)
        await _store_failure(running, certificate, error.detail)
    except Exception:
        # the loop's edge: the user must find the failure where the certificate would have been
        _log.exception("calibration %s failed", certificate_id)
        await _store_failure(running, certificate, "an unexpected error; the log has it")


async def _finish(
    running: Runtime, certificate: Certificate, request: CalibrationIn, prepared: Prepared
) -> None:
    """Make and store; a refusal is stored with the calibration and raised."""
    try:
        made = await make(running, request, prepared)
    except CalibrationError as error:
        await _store_failure(running, certificate, str(error))
        raise Unprocessable.whole(str(error)) from error
    except TribunalError as error:
        await _store_failure(running, certificate, error.detail)
        raise
    await _store(running, certificate, request, prepared, made)


async def _store(
    running: Runtime,
    certificate: Certificate,
    request: CalibrationIn,
    prepared: Prepared,
    made: Made,
) -> None:
    """Store a certificate with the pairs it rests on, unless another process was quicker."""
    evidence, found = made.evidence, made.found
    body = describe(request, prepared.judges, prepared.sample, evidence, found)
    label_set_hash = sets.label_set_hash(evidence.keys, prepared.votes)
    async with running.db.write() as session:
        await datasets.lock(session, [prepared.dataset])
        if not await queries.take(session, certificate, label_set_hash=label_set_hash):
            return
        certificate.label_set_hash = label_set_hash
        # those that its label rule left out were read too: what then remains is chosen by its labels
        await queries.add_pairs(session, certificate.seq, [key.seq for key in prepared.sample.keys])
        uses = await _uses(session, request, prepared, evidence, label_set_hash)
        is_certified = found.certificate.is_certified
        body |= {
            "claim": claim_of_later_use(body["claim"], uses, is_certified=is_certified),
            "label_set_hash": label_set_hash,
            "label_set_uses": uses.certificates,
            "label_set_plans": uses.plans,
        }
        await queries.set_status(session, certificate, status=status(found.certificate), body=body)


async def _uses(
    session: AsyncSession,
    request: CalibrationIn,
    prepared: Prepared,
    evidence: CalibrationInputs,
    label_set_hash: str,
) -> sets.Uses:
    """Enter this test of its labels, and count all of them."""
    own_marks = sets.marks(evidence.keys)
    test = hash_of_test(request, prepared, label_set_hash)
    tests = {test: request.failure_probability}
    await sets.record(session, own_marks, tests, is_plan=False)
    return await sets.count(session, own_marks)


async def _store_failure(running: Runtime, certificate: Certificate, why: str) -> None:
    async with running.db.write() as session:
        if await queries.take(session, certificate):
            await queries.set_status(session, certificate, status="failed", error=why)
