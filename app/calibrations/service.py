"""Certificates: made, found, revoked, resumed, shown.

A calibration whose scores are all at hand is answered at once; one for which judges must be asked
first becomes work beside the requests, and goes on after a restart.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from app import label_sets, label_uses
from app.calibrations import queries
from app.calibrations.evidence import Evidence
from app.calibrations.known_pairs import known_among
from app.calibrations.making import Made, is_quick, make
from app.calibrations.preparation import Prepared, hash_of_test, prepare
from app.calibrations.result import claim_of_later_use, describe, status
from app.calibrations.schemas import CalibrationIn
from app.cascades import judges_of_certificate
from app.datasets import service as datasets
from app.errors import Conflict, NotFound, TribunalError, Unprocessable
from app.identifiers import shown
from app.lookup import by_public_id
from app.models import Certificate, new_id
from app.nearest import ALIKE_IDS, hint
from app.runtime import Runtime
from calibration.errors import CalibrationError
from judges.types import prompt_hash

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
    label_set_hash = label_sets.label_set_hash(evidence.keys, prepared.votes)
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
    evidence: Evidence,
    label_set_hash: str,
) -> label_uses.Uses:
    """Enter this test of its labels, and count all of them."""
    own_marks = label_uses.marks(evidence.keys)
    test = hash_of_test(request, prepared, label_set_hash)
    tests = {test: request.failure_probability}
    await label_uses.record(session, own_marks, tests, is_plan=False)
    return await label_uses.count(session, own_marks)


async def _store_failure(running: Runtime, certificate: Certificate, why: str) -> None:
    async with running.db.write() as session:
        if await queries.take(session, certificate):
            await queries.set_status(session, certificate, status="failed", error=why)
