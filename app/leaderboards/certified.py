"""The verdicts of a certificate on the pairs of a leaderboard, and whether its promise holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy.ext.asyncio import AsyncSession

from app.batches import service as batches
from app.calibrations.known_pairs import KnownPairs
from app.calibrations.queries import pairs_relabelled
from app.calibrations.sample import known_groups
from app.datasets.service import PairKey
from app.errors import Conflict
from app.judgments.authority import promises
from app.judgments.replay import Replayed, replay_certificate, suspension_of
from app.leaderboards.comparing import Outcomes, cascade_outcomes
from app.leaderboards.schemas import LeaderboardIn
from app.models import Dataset
from judges.registry import Registry


@dataclass(frozen=True, slots=True)
class Promise:
    """What verdicts promise: `certified`, `suspended` or `none`, and why if not the first."""

    state: str
    because: str | None


@dataclass(frozen=True, slots=True, eq=False)
class Verdicts:
    """A certificate's verdicts as comparisons."""

    outcomes: Outcomes
    promise: Promise
    rests_on: Mapping[str, Any]


async def verdicts(
    session: AsyncSession,
    registry: Registry,
    request: LeaderboardIn,
    dataset: Dataset,
    keys: Sequence[PairKey],
) -> Verdicts:
    """Replay a certificate; pairs that it knows are left out where they would be counted twice.

    The labels that a certificate was made from chose its thresholds, so they cannot correct its
    verdicts; and its promise is for other pairs than those.

    Raises:
        NotFound: no certificate has this id.
        Conflict: the certificate has no thresholds, was made with other judges, or does not hold
            although only certified verdicts are asked for.
    """
    assert request.calibration is not None
    made = await replay_certificate(session, registry, request.calibration, dataset, keys)
    promise = await _promise(session, dataset, made)
    if request.certified_only and promise.state != "certified":
        raise Conflict(
            f"certified_only: the verdicts of {made.certificate.id} carry no promise now: "
            f"{promise.because}",
            extra={"promise": promise.state, "suspended_because": promise.because},
        )
    outcomes = cascade_outcomes(made.verdicts, made.table, is_soft=request.soft)
    is_known = await _known(session, dataset, keys, made)
    if request.certified_only or request.is_powered:
        outcomes = outcomes.without(is_known, "calibration_pair")
    certificate = made.certificate
    rests_on = {
        "calibration": certificate.id,
        "status": certificate.status,
        "target_agreement": certificate.body.get("target_agreement"),
        "fingerprints": certificate.body["fingerprints"],
        "label_set_hash": certificate.label_set_hash,
        "certificate_label_set_hash": certificate.label_set_hash,
        "labels_changed": await pairs_relabelled(session, certificate),
        "known_to_certificate": int(is_known.sum()),
        # verdicts that are counted although the promise is for other pairs
        "calibration_pairs": int(np.count_nonzero(is_known[outcomes.row])),
    }
    return Verdicts(outcomes, promise, rests_on)


def known_pairs_note(rests_on: Mapping[str, Any]) -> str | None:
    """Say which verdicts of a leaderboard its certificate does not cover, or were left out for it."""
    known, counted = (
        rests_on.get(name, 0) for name in ("known_to_certificate", "calibration_pairs")
    )
    if counted:
        return (
            f"{counted} of these verdicts are on pairs that the certificate knows, because it was "
            "made from them or from others of their groups or prompts: its promise is for other "
            "pairs (certified_only leaves them out, or the other part of a certificate made on one)"
        )
    if known:
        return f"{known} pairs that the certificate knows are left out: its promise is for others"
    return None


async def _promise(session: AsyncSession, dataset: Dataset, made: Replayed) -> Promise:
    if not promises(made.certificate):
        return Promise("none", f"its status is {made.certificate.status}")
    suspended = await batches.suspension(session, dataset, made.certificate)
    if suspended is not None:
        return Promise("suspended", f"batch {suspended[0]}: {suspended[1]}")
    why = suspension_of(made)
    return Promise("suspended" if why else "certified", why)


async def _known(
    session: AsyncSession, dataset: Dataset, keys: Sequence[PairKey], made: Replayed
) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Mark the pairs the certificate was made from, or its judges learnt from, and their groups."""
    shown = [judge.spec.training_prompts | judge.spec.example_prompts for judge in made.judges]
    groups = known_groups(keys, frozenset().union(*shown))
    certified = await KnownPairs.of(session, made.certificate.seq, dataset)
    return np.array([certified.holds(key) or key.group in groups for key in keys], dtype=np.bool_)
