"""Stored certificates as users see them; to look at them loads no statistics."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from app.calibrations import queries
from app.calibrations.wording import answers_in_words, in_short
from app.core.db import Stores, rfc3339
from app.core.errors import NotFound
from app.core.lists import Page, Paging, by_public_id, page_of
from app.core.models import JUDGE_SETTINGS, CalibrationRow
from app.core.names import hint, shown


async def find(running: Stores, certificate_id: str) -> CalibrationRow:
    """Return a certificate.

    Raises:
        NotFound: no certificate has this id.
    """
    async with running.db.read() as session:
        return await require(session, certificate_id)


async def require(session: AsyncSession, certificate_id: str) -> CalibrationRow:
    """Return a certificate, inside a transaction.

    Raises:
        NotFound: no certificate has this id.
    """
    certificate = await by_public_id(session, CalibrationRow, certificate_id)
    if certificate is None:
        known = await queries.newest_ids(session)
        see = "GET /v1/calibrations" if known else "tribunal certify"
        meant = hint(certificate_id, known, see=see, is_id=True)
        raise NotFound(f"there is no calibration {shown(certificate_id)}{meant}")
    return certificate


async def look(running: Stores, certificate_id: str) -> dict[str, Any]:
    """Return a certificate as users see it, with how many of its labels changed since.

    Raises:
        NotFound: no certificate has this id.
    """
    async with running.db.read() as session:
        certificate = await require(session, certificate_id)
        changed = await labels_changed(session, certificate)
        by = await queries.successors(session, [certificate.id])
        body = {**show(certificate, by.get(certificate.id)), "labels_changed": changed}
        if certificate.status == "not_certifiable":
            alike = await queries.in_force_on_same_labels(session, certificate, running.now())
            body["same_labels"] = [
                {"id": one.id, "summary": in_short(one.body, one.request, is_certified=True)}
                for one in alike
            ]
    return body


async def labels_changed(session: AsyncSession, certificate: CalibrationRow) -> int:
    """Count the pairs of a certificate whose labels changed since it was requested."""
    return await queries.pairs_relabelled(session, certificate)


async def page(running: Stores, paging: Paging) -> Page:
    """Return one page of certificates."""
    async with running.db.read() as session:
        rows = await queries.page(session, paging)
        by = await queries.successors(session, [row.id for row in rows])
    return page_of(rows, paging.limit, lambda row: show(row, by.get(row.id)))


def why_not_promised(certificate: CalibrationRow, moment: datetime) -> str | None:
    """Return why verdicts of this moment carry no promise; None where the certificate holds."""
    if certificate.suspended_because is not None:
        return certificate.suspended_because
    return expired(certificate, moment)


def expired(certificate: CalibrationRow, moment: datetime) -> str | None:
    """Say that a certificate has expired at this moment; None if it has not."""
    if certificate.expires_at is None or certificate.expires_at > moment:
        return None
    return (
        f"calibration {certificate.id} expired at {rfc3339(certificate.expires_at)}: certify again "
        f"on new labels, with supersedes {certificate.id}"
    )


def show(certificate: CalibrationRow, superseded_by: str | None = None) -> dict[str, Any]:
    """Return a certificate as users see it in a list."""
    revoked_at = certificate.revoked_at
    body = {name: value for name, value in certificate.body.items() if name != JUDGE_SETTINGS}
    if "calibration" in body:
        is_certified = certificate.status == "certified"
        asked = certificate.request
        body["summary"] = in_short(body, asked, is_certified=is_certified)
        if is_certified:
            body["answers"] = answers_in_words(body["calibration"], asked)
    if certificate.imported is not None:
        body["imported"] = certificate.imported
    if certificate.suspended_because is not None:
        body["suspended_because"] = certificate.suspended_because
    return {
        "id": certificate.id,
        "object": "calibration",
        "status": certificate.status,
        **body,
        "error": certificate.error,
        "request": certificate.request,
        "created_at": rfc3339(certificate.created_at),
        "revoked_at": rfc3339(revoked_at) if revoked_at else None,
        "expires_at": rfc3339(certificate.expires_at) if certificate.expires_at else None,
        "supersedes": certificate.supersedes,
        "superseded_by": superseded_by,
    }
