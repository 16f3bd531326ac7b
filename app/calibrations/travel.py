"""Exports certificates as signed documents, and imports such documents."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from app.bodies.documents import EvidenceBody, LabelUses
from app.calibrations import queries
from app.calibrations.document import composed, verify
from app.calibrations.evidence import hash_of_others, read, written
from app.calibrations.inputs import hash_of_scores, hash_of_test, prepare
from app.calibrations.schemas import as_asked
from app.calibrations.service import UNFINISHED, collect
from app.calibrations.signing import Fault, signing_key
from app.calibrations.stored import require
from app.core.db import rfc3339
from app.core.errors import Conflict, TribunalError, Unprocessable
from app.core.lists import by_public_id
from app.core.models import JUDGE_SETTINGS, CalibrationRow, Dataset, new_id
from app.core.names import shown
from app.core.runtime import Runtime
from app.datasets import service as datasets
from app.labels import sets
from app.scores.judges import changed_fingerprints, changes_in_words
from calibration.errors import CalibrationError

_GONE = "made before evidence was kept, and its labels or scores are no longer the same"


async def export(running: Runtime, certificate_id: str) -> dict[str, Any]:
    """Return a certificate as a signed document with all that is needed to compute it again.

    Raises:
        NotFound: no certificate has this id.
        Conflict: it is not finished, or failed, or what it was made from is gone.
    """
    async with running.db.read() as session:
        certificate = await require(session, certificate_id)
        kept = await queries.evidence_of(session, certificate.seq)
    if certificate.status in (*UNFINISHED, "failed"):
        raise Conflict(
            f"calibration {certificate_id} is {certificate.status}: there is no certificate"
        )
    if kept is not None:
        document = composed(certificate, kept.evidence, kept.label_uses)  # type: ignore[arg-type]
    else:
        document = await _collected_again(running, certificate)
    key = await signing_key(running.settings, running.db)
    return key.sign(document, running.now())


async def _collected_again(running: Runtime, certificate: CalibrationRow) -> dict[str, Any]:
    """Return the document of an old certificate, whose evidence is collected again where possible."""
    again = f"calibration {certificate.id} was {_GONE}: certify again to export it"
    request = as_asked(certificate.request)
    try:
        prepared = await prepare(running, request)
        if prepared.fingerprints != [*certificate.body["fingerprints"].values()]:
            raise Conflict(again)
        evidence = written(await collect(running, request, prepared), request)
    except (TribunalError, CalibrationError) as error:
        raise Conflict(again) from error
    # the version that made it is unknown
    evidence["made_with"] = {}
    uses: LabelUses = {
        "certificates": certificate.body["label_set_uses"],
        "plans": certificate.body["label_set_plans"],
        "failure_probability": None,
    }
    document = composed(certificate, evidence, uses)
    signed = (await signing_key(running.settings, running.db)).sign(document, running.now())
    if (await running.pools.calibrations.run(verify, signed)).faults:
        raise Conflict(again)
    return document


async def take_in(running: Runtime, document: Any) -> CalibrationRow:
    """Store a certificate that was made elsewhere; the same document again is the same certificate.

    Raises:
        Unprocessable: it is no certificate, or was changed, or does not follow from its evidence.
        Conflict: its judges are configured otherwise here, it was revoked, or its id is taken.
    """
    checked = await running.pools.calibrations.run(verify, document, running.settings.trusted_keys)
    _refuse(checked.faults)
    # what is stored was computed here
    document = {**document, "certificate": checked.certificate}
    if document["revoked_at"] is not None:
        raise Conflict(f"calibration {document['id']} was revoked at {document['revoked_at']}")
    expires_at = document["expires_at"] and datetime.fromisoformat(document["expires_at"])
    if expires_at and expires_at <= running.now():
        raise Conflict(f"calibration {document['id']} expired at {document['expires_at']}")
    _refuse_other_judges(running, document)
    test = await running.pools.calibrations.run(_test, document)
    async with running.db.write() as session:
        known = await by_public_id(session, CalibrationRow, document["id"])
        if known is None:
            stored = await _store(session, document, running.now())
            if test is not None:
                # in the ledger here, so that later tests of its labels count it
                await sets.record(session, *test, is_plan=False)
            return stored
        if known.body != _body(document) or known.request != document["request"]:
            raise Conflict(f"there is another calibration with the id {document['id']}")
        return known


def _refuse(faults: list[Fault]) -> None:
    if not faults:
        return
    first, more = faults[0], len(faults) - 1
    raise Unprocessable(
        f"{first.field}: {first.reason}" + (f" (and {more} more)" if more else ""),
        errors=[{"loc": ["body", *one.field.split(".")], "msg": one.reason} for one in faults],
    )


def _refuse_other_judges(running: Runtime, document: Mapping[str, Any]) -> None:
    fingerprints = {judge["name"]: judge["fingerprint"] for judge in document["judges"]}
    settings = {judge["name"]: judge["configuration"] for judge in document["judges"]}
    changed = changed_fingerprints(running.registry, fingerprints, settings)
    if changed:
        raise Conflict(
            f"the certificate {shown(document['id'])} was made with other judges than those configured "
            f"here: {changes_in_words(changed)}",
            extra={"changed": changed},
        )


def _body(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body of a certificate as it is stored."""
    judges = document["judges"]
    return {
        **document["certificate"],
        "fingerprints": {judge["name"]: judge["fingerprint"] for judge in judges},
        JUDGE_SETTINGS: {judge["name"]: judge["configuration"] for judge in judges},
    }


async def _store(
    session: AsyncSession, document: Mapping[str, Any], moment: datetime
) -> CalibrationRow:
    """Store a certificate, its evidence, and its pairs: it promises nothing on their prompts."""
    evidence: EvidenceBody = document["evidence"]
    dataset = _dataset(document, evidence, moment)
    session.add(dataset)
    await session.flush()
    await datasets.add_pairs(session, dataset, _pairs(evidence, document["request"].get("slices")))
    signature = document["signature"]
    certificate = CalibrationRow(
        id=document["id"],
        status=document["status"],
        dataset_seq=dataset.seq,
        request=document["request"],
        body=_body(document),
        label_set_hash=document["certificate"].get("label_set_hash"),
        error=None,
        created_at=datetime.fromisoformat(document["created_at"]),
        revoked_at=None,
        suspended_because=document["suspended_because"],
        expires_at=document["expires_at"] and datetime.fromisoformat(document["expires_at"]),
        supersedes=document["supersedes"],
        imported={
            "signed_by": signature["public_key"],
            "signed_at": signature["signed_at"],
            "imported_at": rfc3339(moment),
        },
    )
    session.add(certificate)
    await session.flush()
    keys = await datasets.pair_keys(session, dataset)
    await queries.add_pairs(session, certificate.seq, [key.seq for key in keys])
    await queries.add_evidence(session, certificate.seq, evidence, document["label_uses"])
    return certificate


def _test(document: Mapping[str, Any]) -> tuple[list[str], dict[str, float]] | None:
    """Return the marks of a certificate's labels and the test of them; None for an early document."""
    label_set_hash = document["certificate"].get("label_set_hash")
    if label_set_hash is None:
        return None
    request = as_asked(document["request"])
    names, fingerprints = zip(
        *((judge["name"], judge["fingerprint"]) for judge in document["judges"]), strict=True
    )
    basis = read(document["evidence"], request, names)
    evidence = basis.inputs(request)
    scores, others = hash_of_scores(evidence), hash_of_others(evidence, basis.pool, basis.traffic)
    test = hash_of_test(request, fingerprints, label_set_hash, scores, others)
    return sets.marks(evidence.keys), {test: request.failure_probability}


def _dataset(document: Mapping[str, Any], evidence: EvidenceBody, moment: datetime) -> Dataset:
    """Return the dataset for an imported certificate's pairs, which come without texts."""
    name = f"pairs of {document['id']}"
    return Dataset(
        id=new_id("ds"),
        name=name,
        dialect="canonical",
        content_hash=hashlib.sha256(name.encode()).hexdigest(),
        pairs=len(evidence["pairs"]["group"]),
        groups=len(set(evidence["pairs"]["group"])),
        labels=0,
        annotators=0,
        recorded_judges=[],
        rejected=[],
        rejected_count=0,
        created_at=moment,
    )


def _pairs(evidence: EvidenceBody, slices: str | None) -> list[dict[str, Any]]:
    pairs = evidence["pairs"]
    values = pairs["slice"] or [None] * len(pairs["group"])
    name = (slices or "").removeprefix("metadata.")
    return [
        {
            "position": position,
            "id": str(position + 1),
            "content": None,
            "content_hash": None,
            "swapped_hash": None,
            "prompt_hash": prompt,
            "group_key": str(group),
            "model_a": None,
            "model_b": None,
            "metadata": json.dumps({} if value is None else {name: value}),
        }
        for position, (group, prompt, value) in enumerate(
            zip(pairs["group"], pairs["prompt"], values, strict=True)
        )
    ]
