"""Makes, finds, lists, revokes and resumes certificates.

A calibration whose scores are all stored is answered at once. One for which judges must be asked
first runs in the background, and resumes after a restart.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Final, Protocol

from sqlalchemy.ext.asyncio import AsyncSession

from app.calibrations import queries
from app.calibrations.evidence import Basis, certified, hash_of_others, written
from app.calibrations.inputs import (
    CalibrationInputs,
    Prepared,
    gather,
    hash_of_scores,
    hash_of_test,
    prepare,
)
from app.calibrations.result import changes, describe, status
from app.calibrations.schemas import CalibrationIn, as_asked
from app.calibrations.stored import find, require
from app.calibrations.traffic import traffic_of
from app.calibrations.wording import Found, claim_of_later_use
from app.core.errors import Conflict, TribunalError, Unprocessable, died_of_it
from app.core.lists import by_public_id
from app.core.models import CalibrationRow, Dataset, new_id
from app.core.runtime import Runtime
from app.datasets import service as datasets
from app.labels import sets
from app.scores.judges import judges_of_certificate
from app.scores.store import is_recorded
from app.scores.table import ScoreTable, fetch_missing, load_table, missing_scores
from calibration.errors import CalibrationError
from judges.base import Judge
from judges.types import prompt_hash

_log = logging.getLogger(__name__)
UNFINISHED: Final = queries.UNFINISHED
# a pool fixes one or two quantiles: more pairs than this sharpen nothing, fewer than this are noise
_POOL_AT_MOST, _POOL_AT_LEAST = 1_000, 30


@dataclass(frozen=True, slots=True)
class Made:
    """The evidence of a calibration and what was found on it."""

    basis: Basis
    evidence: CalibrationInputs
    found: Found


async def make(running: Runtime, request: CalibrationIn, prepared: Prepared) -> Made:
    """Fetch missing scores, then certify."""
    for judge in prepared.judges:
        await fetch_missing(running, judge, prepared.dataset, prepared.sample.keys)
    return await made_from(running, request, await collect(running, request, prepared))


async def collect(running: Runtime, request: CalibrationIn, prepared: Prepared) -> Basis:
    """Return what a certification reads, as far as scores are stored.

    Raises:
        Unprocessable: the request cannot be honoured on these pairs.
    """
    table = await _sample_scores(running, prepared)
    evidence = gather(request, prepared.sample, table)
    pool = await pool_scores(running, prepared)
    traffic = await traffic_of(running, request, prepared, evidence.keys)
    return Basis(prepared.sample, table, evidence.costs, pool, traffic)


async def made_from(running: Runtime, request: CalibrationIn, basis: Basis) -> Made:
    """Certify on what was collected, when there is room."""
    return await running.pools.calibrations.run(_make, request, basis)


def _make(request: CalibrationIn, basis: Basis) -> Made:
    evidence = basis.inputs(request)
    return Made(basis, evidence, certified(request, evidence, basis.pool, basis.traffic))


async def is_quick(running: Runtime, prepared: Prepared) -> bool:
    """Return whether no judge that costs money or time must be asked."""
    missing = 0
    for judge in prepared.judges:
        own = len(await missing_scores(running, judge, prepared.sample.keys))
        if own and not judge.spec.is_local:
            return False
        missing += own
    return missing <= running.settings.inline_scores


async def _sample_scores(running: Runtime, prepared: Prepared) -> ScoreTable:
    async with running.db.read() as session:
        return await load_table(session, prepared.dataset, prepared.sample.keys, prepared.judges)


async def pool_scores(running: Runtime, prepared: Prepared) -> ScoreTable | None:
    """Return the pool's scores, None where too few of its pairs have them.

    Only judges that cost neither money nor time are asked for the pool.
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
        await fetch_missing(running, judge, prepared.pool_dataset, ready)
    async with running.db.read() as session:
        return await load_table(session, prepared.pool_dataset, ready, prepared.judges)


Also = Callable[[AsyncSession, CalibrationRow], Awaitable[None]]


async def create(
    running: Runtime, request: CalibrationIn, also: Also | None = None
) -> CalibrationRow:
    """Make a certificate: at once, or `pending` where judges must be asked for long.

    Args:
        running: The service.
        request: What is to be certified.
        also: What is stored in the transaction that stores it as `pending`; if it raises, there is
            no certificate, and no judge is asked.

    Raises:
        Unprocessable: the request cannot be honoured; names the field.
        NotFound: there is no certificate that it could supersede.
        Conflict: that one is unfinished, or superseded already.
    """
    await _refuse_predecessor(running, request)
    prepared = await prepare(running, request)
    can_wait = await is_quick(running, prepared)
    certificate = await _store_pending(running, request, prepared, also)
    if can_wait:
        await _finish(running, certificate, request, prepared)
    else:
        running.start(_run(running, certificate.id), f"calibration {certificate.id}")
    return await find(running, certificate.id)


async def _refuse_predecessor(running: Runtime, request: CalibrationIn) -> None:
    if request.supersedes is None:
        return
    async with running.db.read() as session:
        predecessor = await require(session, request.supersedes)
        successors = await queries.successors(session, [predecessor.id])
    if predecessor.status in UNFINISHED:
        raise Conflict(f"supersedes: calibration {predecessor.id} is still {predecessor.status}")
    if successor := successors.get(predecessor.id):
        raise Conflict(
            f"supersedes: calibration {predecessor.id} is superseded by {successor} already: supersede "
            "that one"
        )


async def revoke(running: Runtime, certificate_id: str) -> CalibrationRow:
    """Withdraw a certificate's promise permanently; revoking twice changes nothing."""
    async with running.db.write() as session:
        certificate = await require(session, certificate_id)
        if certificate.status in UNFINISHED:
            raise Conflict(f"calibration {certificate_id} is still {certificate.status}")
        if certificate.revoked_at is None:
            await queries.set_status(session, certificate, revoked_at=running.now())
    return await find(running, certificate_id)


class Known(Protocol):
    """The part of a pair that says whether a certificate knows it."""

    @property
    def seq(self) -> int: ...  # noqa: D102
    @property
    def group(self) -> str: ...  # noqa: D102
    @property
    def prompt_hash(self) -> str | None: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class KnownPairs:
    """The pairs that a certificate was made from, and all others of their groups and prompts."""

    seqs: frozenset[int]
    groups: frozenset[str]
    prompts: frozenset[str]

    @classmethod
    async def of(
        cls,
        session: AsyncSession,
        certificate_seq: int,
        dataset: Dataset,
        judges: Iterable[Judge] = (),
    ) -> KnownPairs:
        """Return what a certificate, or one of these judges, knows of a dataset."""
        rows = await queries.certified_on(session, certificate_seq)
        return cls(
            seqs=frozenset(row.seq for row in rows),
            groups=frozenset(row.group for row in rows if row.dataset_seq == dataset.seq),
            prompts=prompts_of(judges)
            | frozenset(row.prompt_hash for row in rows if row.prompt_hash is not None),
        )

    def holds(self, key: Known) -> bool:
        """Return whether the certificate knows a pair of the dataset."""
        return key.seq in self.seqs or key.group in self.groups or key.prompt_hash in self.prompts


async def known_among(
    session: AsyncSession, certificate_seq: int, judges: Iterable[Judge], prompts: Collection[str]
) -> frozenset[str]:
    """Return which of these prompt hashes a certificate or its judges know, in any dataset."""
    certified = await queries.certified_prompts(session, certificate_seq, prompts)
    return certified | prompts_of(judges).intersection(prompts)


def prompts_of(judges: Iterable[Judge]) -> frozenset[str]:
    """Return the hashes of the prompts that judges were trained on, or show as examples."""
    known = [judge.spec.training_prompts | judge.spec.example_prompts for judge in judges]
    return frozenset().union(*known)


async def known_prompts(
    running: Runtime, certificate_id: str, prompts: Sequence[str]
) -> list[bool]:
    """Say for each prompt whether the certificate, or one of its judges, knows it.

    The certificate knows the prompts of the pairs that it was made from, whatever the responses; a
    judge knows the prompts that it was trained on or shows as examples. No judge is asked.

    Raises:
        NotFound: no certificate has this id.
        Conflict: it is not finished.
    """
    hashes = [prompt_hash(prompt) for prompt in prompts]
    async with running.db.read() as session:
        certificate = await require(session, certificate_id)
        if certificate.status in UNFINISHED:
            raise Conflict(f"calibration {certificate_id} is still {certificate.status}")
        fingerprints = certificate.body.get("fingerprints", {})
        judges = judges_of_certificate(running.registry, fingerprints)
        known = await known_among(session, certificate.seq, judges, set(hashes))
    return [one in known for one in hashes]


async def resume(running: Runtime) -> None:
    """Resume the calibrations that a stop interrupted."""
    async with running.db.read() as session:
        waiting = await queries.unfinished(session)
    for certificate in waiting:
        async with running.db.write() as session:
            attempts = await queries.change_attempts(session, certificate, by=1)
        if attempts > running.settings.max_attempts:
            await _store_failure(running, certificate, died_of_it(attempts - 1))
        else:
            running.start(_run(running, certificate.id), f"calibration {certificate.id}")


async def _store_pending(
    running: Runtime, request: CalibrationIn, prepared: Prepared, also: Also | None
) -> CalibrationRow:
    moment = running.now()
    certificate = CalibrationRow(
        id=new_id("cal"),
        status="pending",
        dataset_seq=prepared.dataset.seq,
        request=request.model_dump(mode="json"),
        body={
            **request.target,
            "failure_probability": request.failure_probability,
        },
        label_set_hash=None,
        error=None,
        created_at=moment,
        revoked_at=None,
        expires_at=request.expires_at(moment),
        supersedes=request.supersedes,
    )
    async with running.db.write() as session:
        session.add(certificate)
        if also is not None:
            await session.flush()
            await also(session, certificate)
    return certificate


async def _run(running: Runtime, certificate_id: str) -> None:
    """Finish one pending calibration; any error is stored with it."""
    certificate = await find(running, certificate_id)
    request = as_asked(certificate.request)
    async with running.db.write() as session:
        if not await queries.take(session, certificate):
            return
    try:
        await _finish(running, certificate, request, await prepare(running, request))
    except asyncio.CancelledError:
        # asked to stop: that is no fault of this calibration
        async with running.db.write() as session:
            await queries.change_attempts(session, certificate, by=-1)
        raise
    except TribunalError as error:
        # what a judge said may repeat people's texts: it is stored, and not logged
        _log.info("calibration %s failed: its error says why", certificate_id)
        await _store_failure(running, certificate, error.detail)
    except Exception:
        # no caller waits here: the user must find the failure where the certificate would be
        _log.exception("calibration %s failed", certificate_id)
        await _store_failure(running, certificate, "an unexpected error; the log has it")


async def _finish(
    running: Runtime, certificate: CalibrationRow, request: CalibrationIn, prepared: Prepared
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
    certificate: CalibrationRow,
    request: CalibrationIn,
    prepared: Prepared,
    made: Made,
) -> None:
    """Store a certificate with the pairs it was made from, unless another process was faster."""
    evidence, found = made.evidence, made.found
    specs = [judge.spec for judge in prepared.judges]
    body = describe(request, specs, prepared.sample, evidence, found)
    label_set_hash = sets.label_set_hash(evidence.keys, prepared.votes)
    async with running.db.write() as session:
        await datasets.lock(session, [prepared.dataset])
        if not await queries.take(session, certificate, label_set_hash=label_set_hash):
            return
        certificate.label_set_hash = label_set_hash
        # pairs that the label rule left out were read too: their labels decided what remains
        await queries.add_pairs(session, certificate.seq, [key.seq for key in prepared.sample.keys])
        uses = await _uses(session, request, prepared, made, label_set_hash)
        is_certified = found.certificate.is_certified
        body |= {
            "claim": claim_of_later_use(body["claim"], uses, is_certified=is_certified),
            "label_set_hash": label_set_hash,
            "label_set_uses": uses.certificates,
            "label_set_plans": uses.plans,
        }
        if request.supersedes is not None:
            before = await by_public_id(session, CalibrationRow, request.supersedes)
            body["changes"] = [] if before is None else changes(before, request, body)
        await queries.set_status(session, certificate, status=status(found.certificate), body=body)
        await queries.add_evidence(
            session, certificate.seq, written(made.basis, request), asdict(uses)
        )


async def _uses(
    session: AsyncSession,
    request: CalibrationIn,
    prepared: Prepared,
    made: Made,
    label_set_hash: str,
) -> sets.Uses:
    """Record this test of its labels, and count all tests of them."""
    evidence, basis = made.evidence, made.basis
    own_marks = sets.marks(evidence.keys)
    scores, others = hash_of_scores(evidence), hash_of_others(evidence, basis.pool, basis.traffic)
    test = hash_of_test(request, prepared.fingerprints, label_set_hash, scores, others)
    tests = {test: request.failure_probability}
    await sets.record(session, own_marks, tests, is_plan=False)
    return await sets.count(session, own_marks)


async def _store_failure(running: Runtime, certificate: CalibrationRow, why: str) -> None:
    async with running.db.write() as session:
        if await queries.take(session, certificate):
            await queries.set_status(session, certificate, status="failed", error=why)
