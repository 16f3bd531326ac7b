"""On whose word pairs are judged: a certificate that still holds, or a cascade without a promise."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from app import cascades
from app.calibrations import service as calibrations
from app.calibrations.evidence import slice_of
from app.errors import Conflict
from app.models import Certificate
from calibration.preference import TieRule
from judges.base import Judge
from judges.cascade import Tier
from judges.registry import Registry

# without a certificate there is nothing to stand on: the thresholds of a plain heuristic
UNCERTIFIED_THRESHOLD = 0.8


@dataclass(frozen=True, slots=True)
class Authority:
    """Tiers and tie rule to judge by; `certificate` is None where nothing is promised."""

    tiers: tuple[Tier, ...]
    ties: TieRule
    certificate: Certificate | None

    @property
    def is_certified(self) -> bool:
        """Whether accepted verdicts carry the certificate's promise."""
        return self.certificate is not None and promises(self.certificate)

    def tiers_for(self, metadata: Mapping[str, Any]) -> tuple[Tier, ...]:
        """Return the tiers for one pair: those of its slice, if the certificate has slices."""
        if self.certificate is None or not self.certificate.request.get("slices"):
            return self.tiers
        name = slice_of(dict(metadata), self.certificate.request["slices"])
        for part in self.certificate.body["certificates"]:
            if part["slice"] == name:
                return _with_thresholds(self.tiers, part["thresholds"])
        return _with_thresholds(self.tiers, [{"threshold": None}] * len(self.tiers))


def promises(certificate: Certificate) -> bool:
    """Whether a certificate promises something of new pairs.

    One on average bounds the verdicts on its own pool in the mean, and no others.
    """
    return certificate.status == "certified" and certificate.body.get("method") != "average"


async def authority_of(
    session: AsyncSession,
    registry: Registry,
    calibration: str | None,
    judges: Sequence[Judge],
    thresholds: Sequence[float] | None = None,
) -> Authority:
    """Return what to judge by: the certificate of this id, else these judges without a promise.

    Raises:
        NotFound: no certificate has this id.
        Conflict: the certificate is unfinished, revoked, or made with other judges.
    """
    if calibration is None:
        return without_promise(judges, thresholds)
    certificate = await calibrations.require(session, calibration)
    _refuse_unusable(certificate)
    fingerprints = certificate.body["fingerprints"]
    changed = cascades.changed_fingerprints(registry, fingerprints)
    if changed:
        names = ", ".join(difference["judge"] for difference in changed)
        raise Conflict(
            f"the certificate {certificate.id} was made with other judges than those configured: "
            f"{names} changed; certify again",
            extra={"changed": changed},
        )
    judges = cascades.judges_of_certificate(registry, fingerprints)
    tiers = tuple(Tier(judge) for judge in judges)
    return Authority(
        _with_thresholds(tiers, certificate.body["thresholds"]),
        certificate.request["ties"],
        certificate,
    )


def _refuse_unusable(certificate: Certificate) -> None:
    if certificate.status not in ("certified", "not_certifiable"):
        raise Conflict(
            f"calibration {certificate.id} is {certificate.status}: it has no thresholds"
        )
    if certificate.revoked_at is not None:
        raise Conflict(f"calibration {certificate.id} was revoked: it promises nothing any more")


def without_promise(judges: Sequence[Judge], thresholds: Sequence[float] | None) -> Authority:
    """Return the word of nobody: these judges, at these thresholds or those of a heuristic."""
    if thresholds is None:
        thresholds = [*[UNCERTIFIED_THRESHOLD] * (len(judges) - 1), 0.0]
    tiers = tuple(Tier(judge, one) for judge, one in zip(judges, thresholds, strict=True))
    return Authority(tiers, "exclude", None)


def _with_thresholds(tiers: tuple[Tier, ...], given: list[Mapping[str, Any]]) -> tuple[Tier, ...]:
    return tuple(
        Tier(tier.judge, math.inf if one["threshold"] is None else one["threshold"])
        for tier, one in zip(tiers, given, strict=True)
    )
