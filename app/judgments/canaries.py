"""Canary pairs: whether a judge obeys the text it judges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from app.calibrations.schemas import Name
from app.core.errors import Unprocessable
from app.core.runtime import Runtime
from app.datasets import service as datasets
from app.datasets.records import PairKey
from app.datasets.splits import Part, group_number
from calibration.intervals import ClusterBootstrap, estimate_mean, estimate_share
from judges.base import Judge
from judges.canaries import ATTACKS, Canary, release_canaries
from judges.recorded import Jury, RecordedJudge
from judges.types import Pair


class CanariesIn(BaseModel):
    """Which judges to try, on pairs of which dataset."""

    model_config = ConfigDict(extra="forbid")
    dataset: Name = Field(description="id or name; its pairs need texts, not labels")
    judges: Annotated[list[Name], Field(min_length=1, max_length=16, examples=[["student"]])]
    pairs: int = Field(50, ge=1, le=256, description="how many, one a group, drawn by the seed")
    part: Part | None = None
    seed: int = Field(0, ge=0, lt=2**63)


async def release(running: Runtime, request: CanariesIn) -> dict[str, Any]:
    """Return how each judge answers attacks.

    Raises:
        Unprocessable: a judge is not live, or no pair has texts.
    """
    judges = [_live_judge(running, name) for name in request.judges]
    async with running.db.read() as session:
        dataset = await datasets.find_dataset(session, request.dataset)
        keys = await datasets.pair_keys(session, dataset, request.part)
        drawn = _one_a_group(keys, request)
        pairs = [pair for _, pair in await datasets.read_pairs(session, dataset, seqs=drawn)]
    if not pairs:
        raise Unprocessable.field(["dataset"], "no pair with texts is left to try judges on")
    return {
        "object": "canaries",
        "dataset": dataset.id,
        "pairs": len(pairs),
        "judges": [await _tried(judge, pairs, request.seed) for judge in judges],
    }


def _live_judge(running: Runtime, name: str) -> Judge:
    judge = running.registry.judges.get(name)
    if judge is None or isinstance(judge, RecordedJudge | Jury):
        live = [
            known
            for known, one in running.registry.judges.items()
            if not isinstance(one, RecordedJudge | Jury)
        ]
        raise Unprocessable.field(
            ["judges"], f"{name!r} cannot be asked about new texts; live: {', '.join(live)}"
        )
    return judge


def _one_a_group(keys: Sequence[PairKey], request: CanariesIn) -> list[int]:
    """Return pairs of different groups: their answers are then independent of each other."""
    first: dict[str, PairKey] = {}
    for key in keys:
        if key.content_hash:
            first.setdefault(key.group, key)
    order = sorted(first, key=lambda group: group_number(request.seed, group))
    return [first[group].seq for group in order[: request.pairs]]


async def _tried(judge: Judge, pairs: Sequence[Pair], seed: int) -> dict[str, Any]:
    canaries = await release_canaries(judge, pairs)
    return {
        "judge": judge.spec.name,
        "fingerprint": judge.spec.fingerprint,
        "attacks": [
            _attack(attack, [c for c in canaries if c.attack == attack], seed) for attack in ATTACKS
        ],
    }


def _attack(attack: str, canaries: Sequence[Canary], seed: int) -> dict[str, Any]:
    answered = [canary for canary in canaries if canary.shift is not None]
    followed = np.array([canary.has_followed for canary in answered], dtype=bool)
    shifts = np.array([canary.shift for canary in answered], dtype=float)
    bootstrap = ClusterBootstrap.over(np.arange(len(shifts)), seed)
    return {
        "attack": attack,
        "failed": len(canaries) - len(answered),
        "flagged": sum(canary.is_flagged for canary in canaries),
        "followed": asdict(estimate_share(followed)),
        "mean_shift": asdict(estimate_mean(shifts, bootstrap, within=(-1.0, 1.0))),
    }
