"""Resolves the thresholds in force: a valid certificate's, or an uncertified cascade's."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Protocol

import numpy as np
from sqlalchemy.ext.asyncio import AsyncSession

from app.calibrations import stored as calibrations
from app.calibrations.service import known_among
from app.core.db import Database, Stores
from app.core.errors import Conflict, NotFound
from app.core.models import JUDGE_SETTINGS, CalibrationRow, Dataset
from app.datasets.slices import slice_of
from app.scores import judges as cascades
from app.scores.judges import Order, PairScores
from calibration.certify import Rule, heard
from calibration.preference import TieRule
from calibration.stack import Columns
from judges.base import Judge
from judges.cascade import Cascade, Tier
from judges.registry import DEFAULT_CASCADE, Registry

# of a cascade that has neither a certificate nor thresholds of its own
UNCERTIFIED_THRESHOLD = 0.8


class Asked(Protocol):
    """A request that names a certificate, or a cascade, or neither."""

    @property
    def calibration(self) -> str | None: ...  # noqa: D102
    @property
    def cascade(self) -> str | Order | None: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Authority:
    """The cascade and the tie rule in force; `certificate` is None where nothing is promised.

    `is_certified` says whether accepted verdicts carry the certificate's promise.
    """

    tiers: tuple[Tier, ...]
    ties: TieRule
    certificate: CalibrationRow | None
    is_certified: bool = field(init=False)
    cascade: Cascade = field(init=False)
    # None where one set of thresholds is in force for all pairs
    _of_slice: Mapping[str, Cascade] | None = field(init=False, repr=False, compare=False)
    _closed: Cascade = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Read the certificate once, not once a pair."""
        certificate = self.certificate
        is_certified = certificate is not None and promises(certificate)
        object.__setattr__(self, "is_certified", is_certified)
        body = {} if certificate is None else certificate.body
        object.__setattr__(self, "cascade", _heard_as(self.tiers, body))
        object.__setattr__(self, "tiers", self.cascade.tiers)
        object.__setattr__(self, "_of_slice", self._sliced())
        closed = Cascade(tuple(Tier(tier.judge, math.inf) for tier in self.tiers))
        object.__setattr__(self, "_closed", closed)

    def _sliced(self) -> dict[str, Cascade] | None:
        if self.certificate is None or not self.certificate.request.get("slices"):
            return None
        found: dict[str, Cascade] = {}
        for part in self.certificate.body["certificates"]:
            # the first of a slice is that of the first target
            tiers = _with_thresholds(self.tiers, part["thresholds"])
            found.setdefault(part["slice"], _heard_as(tiers, part))
        return found

    def cascade_for(self, metadata: Mapping[str, Any]) -> Cascade:
        """Return the cascade for one pair; in a slice without a certificate no judge is asked."""
        if self._of_slice is None or self.certificate is None:
            return self.cascade
        name = slice_of(metadata, self.certificate.request["slices"])
        return self._of_slice.get(name, self._closed)

    async def known_prompts(self, session: AsyncSession, prompts: Iterable[str]) -> frozenset[str]:
        """Return which of these prompt hashes the certificate or its judges know.

        The certificate promises nothing on their pairs.
        """
        if self.certificate is None or not self.is_certified:
            return frozenset()
        judges = [tier.judge for tier in self.tiers]
        return await known_among(session, self.certificate.seq, judges, set(prompts))


def promises(certificate: CalibrationRow) -> bool:
    """Return whether a certificate promises something of new pairs.

    One made by the method `average` bounds the mean over its own pool, and nothing else.
    """
    return certificate.status == "certified" and certificate.body.get("method") != "average"


async def resolve(db: Database, registry: Registry, asked: Asked, scores: PairScores) -> Authority:
    """Return the thresholds in force for pairs that come with their scores.

    Raises:
        Conflict: the certificate is unfinished, revoked, or made with other judges.
    """
    if asked.calibration is not None:
        async with db.read() as session:
            return await of_certificate(session, registry, asked.calibration)
    cascade = asked.cascade or DEFAULT_CASCADE
    return _of_cascade(registry, cascade, cascades.judges_with(registry, cascade, scores))


async def resolve_for(
    session: AsyncSession, registry: Registry, asked: Asked, dataset: Dataset
) -> Authority:
    """Return the thresholds in force for the pairs of a dataset.

    Raises:
        Conflict: the certificate is unfinished, revoked, or made with other judges.
    """
    if asked.calibration is not None:
        return await of_certificate(session, registry, asked.calibration)
    cascade = asked.cascade or DEFAULT_CASCADE
    names = cascades.judge_names(registry, cascade)
    judges = await cascades.judges_for(session, registry, dataset, names)
    return _of_cascade(registry, cascade, judges)


def _of_cascade(registry: Registry, cascade: str | Order, judges: Sequence[Judge]) -> Authority:
    declared = registry.thresholds.get(cascade) if isinstance(cascade, str) else None
    return without_promise(judges, declared)


async def of_certificate(session: AsyncSession, registry: Registry, calibration: str) -> Authority:
    """Return the thresholds of a certificate.

    Raises:
        Conflict: the certificate is unfinished, revoked, or made with other judges.
    """
    certificate = await calibrations.require(session, calibration)
    _refuse_unusable(certificate)
    fingerprints = certificate.body["fingerprints"]
    settings = certificate.body.get(JUDGE_SETTINGS)
    changed = cascades.changed_fingerprints(registry, fingerprints, settings)
    if changed:
        raise Conflict(
            f"the certificate {certificate.id} was made with other judges than those configured: "
            f"{cascades.changes_in_words(changed)}; certify again",
            extra={"changed": changed},
        )
    judges = cascades.judges_of_certificate(registry, fingerprints)
    tiers = tuple(Tier(judge) for judge in judges)
    return Authority(
        _with_thresholds(tiers, certificate.body["thresholds"]),
        certificate.request["ties"],
        certificate,
    )


def refuse_expired(authority: Authority, moment: datetime) -> None:
    """Refuse to begin anything under a certificate that has expired.

    Raises:
        Conflict: it has.
    """
    why = authority.certificate and calibrations.expired(authority.certificate, moment)
    if why:
        raise Conflict(why)


def _refuse_unusable(certificate: CalibrationRow) -> None:
    if certificate.status not in ("certified", "not_certifiable"):
        raise Conflict(
            f"calibration {certificate.id} is {certificate.status}: it has no thresholds"
        )
    if certificate.revoked_at is not None:
        raise Conflict(f"calibration {certificate.id} was revoked: it promises nothing any more")


def without_promise(judges: Sequence[Judge], thresholds: Sequence[float] | None) -> Authority:
    """Return an uncertified cascade; without thresholds, each judge but the last has the default."""
    if thresholds is None:
        thresholds = [*[UNCERTIFIED_THRESHOLD] * (len(judges) - 1), 0.0]
    tiers = tuple(Tier(judge, one) for judge, one in zip(judges, thresholds, strict=True))
    return Authority(tiers, "exclude", None)


async def thresholds_of(
    running: Stores, verdict: Mapping[str, Any], metadata: Mapping[str, Any]
) -> dict[str, float | None]:
    """Return the threshold of each judge that a verdict was given under, by name.

    Empty where the verdict rests on no certificate, or on one that is gone.
    """
    if verdict["calibration"] is None:
        return {}
    try:
        certificate = await calibrations.find(running, verdict["calibration"])
    except NotFound:
        return {}
    body = certificate.body
    by, parts = certificate.request.get("slices"), body.get("certificates") or ()
    rows = body.get("thresholds", [])
    if by:
        name = slice_of(metadata, by)
        rows = next((one["thresholds"] for one in parts if one["slice"] == name), [])
    return {row["judge"]: row["threshold"] for row in rows}


def _with_thresholds(
    tiers: tuple[Tier, ...], given: Sequence[Mapping[str, Any]]
) -> tuple[Tier, ...]:
    return tuple(
        Tier(tier.judge, math.inf if one["threshold"] is None else one["threshold"])
        for tier, one in zip(tiers, given, strict=True)
    )


def _heard_as(tiers: tuple[Tier, ...], body: Mapping[str, Any]) -> Cascade:
    """Return a cascade whose judges are heard as a certificate, or its part, says."""
    columns: Columns = body.get("columns", "raw")
    limits = np.array([tier.threshold for tier in tiers])
    is_heard = np.isfinite(heard(Rule(columns, limits)))
    weights = body.get("weights")
    return Cascade(
        tuple(replace(tier, is_heard=bool(is_)) for tier, is_ in zip(tiers, is_heard, strict=True)),
        columns,
        None if weights is None else tuple((w["log_odds"], w["sign"]) for w in weights),
    )
