"""Answers "what if": verdicts from stored scores by other thresholds, judges or rules; asks no judge."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator
from sqlalchemy.ext.asyncio import AsyncSession

from app.bodies.judgments import ReplayBody
from app.calibrations.schemas import Name, Ties
from app.core.errors import Unprocessable
from app.core.lists import required
from app.core.models import Batch, CalibrationRow, Dataset
from app.core.names import shown
from app.core.runtime import Runtime
from app.datasets import service as datasets
from app.datasets.records import PairKey
from app.datasets.splits import Part
from app.judgments import queries
from app.judgments.authority import Authority, of_certificate, without_promise
from app.judgments.replay import Replay, replay_by
from app.scores.judges import judges_for
from app.scores.table import ScoreTable, load_table
from calibration.labels import MISSING, TIE, A, B
from judges.cascade import Cascade

_MOST_PAIRS: Final = 1_000
_LABELS: Final = {A: "a", B: "b", TIE: "tie", MISSING: None}
Said = tuple[str, str | None]
Limit = Annotated[float, Field(ge=0, le=1)]


class Threshold(BaseModel):
    """The confidence from which a judge answers; null: never."""

    model_config = ConfigDict(extra="forbid")
    judge: Name
    threshold: Limit | None


_FewJudges: Final = Field(max_length=16)
_Thresholds = (
    Annotated[list[Threshold], _FewJudges] | Annotated[dict[str, Limit | None], _FewJudges]
)


class ReplayIn(BaseModel):
    """Which pairs to give verdicts on again, and by what."""

    model_config = ConfigDict(extra="forbid")
    dataset: Name | None = None
    batch: str | None = Field(None, max_length=64)
    part: Part | None = None
    calibration: str | None = Field(None, max_length=64, description="its thresholds and judges")
    thresholds: _Thresholds | None = Field(
        None, description="instead of the certificate's, as a certificate lists them"
    )
    ties: Ties | None = Field(None, description="another rule for ties of judges")
    annotators: int | None = Field(
        None, ge=1, le=100, description="as if judges had so many simulated annotators"
    )
    judges: list[Name] | None = Field(
        None, min_length=1, max_length=16, description="only these, in this order"
    )

    @model_validator(mode="after")
    def _complete(self) -> ReplayIn:
        if (self.dataset is None) == (self.batch is None):
            raise ValueError("dataset: give a dataset or a batch")
        if self.calibration is None and self.thresholds is None and self.batch is None:
            raise ValueError("calibration: give a certificate or thresholds")
        return self

    @property
    def limits(self) -> dict[str, float] | None:
        """The thresholds by judge; +inf: it never answers."""
        if self.thresholds is None:
            return None
        given = (
            self.thresholds.items()
            if isinstance(self.thresholds, dict)
            else [(one.judge, one.threshold) for one in self.thresholds]
        )
        return {judge: math.inf if limit is None else float(limit) for judge, limit in given}

    @property
    def is_changed(self) -> bool:
        """Whether anything but the certificate itself is asked for."""
        asked = (self.thresholds, self.ties, self.annotators, self.judges)
        return any(one is not None for one in asked)


@dataclass(frozen=True, slots=True)
class _Scene:
    """The pairs of a replay, and whose verdicts they are."""

    dataset: Dataset
    keys: list[PairKey]
    batch: Batch | None


async def replay(running: Runtime, request: ReplayIn) -> ReplayBody:
    """Return what the verdicts would be, what changes, and what it would have cost.

    Raises:
        NotFound: the dataset, the batch or the certificate is unknown.
        Conflict: the certificate is unfinished, revoked, or made with other judges.
        Unprocessable: a judge that is named is none of the certificate's.
    """
    async with running.db.read() as session:
        scene = await _scene(session, request)
        standing = await _standing(session, running, request, scene)
        judges = [tier.judge for tier in standing.tiers]
        table = await load_table(
            session, scene.dataset, scene.keys, judges, annotators=request.annotators
        )
        before = await _before(session, request, scene, standing, table)
    columns, changed = _changed(standing, request)
    chosen = table.columns(columns)
    found = replay_by(changed, scene.keys, chosen, request.ties or standing.ties)
    return _body(scene, found, chosen, before)


async def _scene(session: AsyncSession, request: ReplayIn) -> _Scene:
    batch = None
    if request.batch is not None:
        batch = await required(session, Batch, request.batch, "batch", "batch")
        dataset = await session.get_one(Dataset, batch.dataset_seq)
    else:
        dataset = await datasets.find_dataset(session, request.dataset or "")
    keys = await datasets.pair_keys(session, dataset, request.part)
    keys = [key for key in keys if key.content_hash is not None]
    if batch is not None:
        judged = await queries.positions_of(session, batch.seq)
        keys = [key for key in keys if key.position in judged]
    return _Scene(dataset, keys, batch)


async def _standing(
    session: AsyncSession, running: Runtime, request: ReplayIn, scene: _Scene
) -> Authority:
    """Return the thresholds that are changed: those of the certificate, or those that are given."""
    name = request.calibration
    if name is None and scene.batch is not None and scene.batch.certificate_seq is not None:
        name = (await session.get_one(CalibrationRow, scene.batch.certificate_seq)).id
    if name is not None:
        return await of_certificate(session, running.registry, name)
    limits = request.limits
    if not limits:
        raise Unprocessable.field(
            ["thresholds"], "the batch has no certificate: give thresholds, or a certificate"
        )
    judges = await judges_for(session, running.registry, scene.dataset, list(limits))
    return without_promise(judges, list(limits.values()))


def _changed(
    standing: Authority, request: ReplayIn
) -> tuple[list[int], Callable[[Mapping[str, Any]], Cascade]]:
    """Return the columns of the judges that remain, and how a pair's cascade is changed."""
    names = [tier.judge.spec.name for tier in standing.tiers]
    wanted = request.judges or names
    limits = request.limits or {}
    for place, given in (("judges", wanted), ("thresholds", limits)):
        for name in given:
            if name not in names:
                known = ", ".join(names)
                raise Unprocessable.field([place], f"{shown(name)} is none of {known}")
    columns = [names.index(name) for name in dict.fromkeys(wanted)]
    if standing.cascade.columns == "learned" and columns != list(range(len(names))):
        raise Unprocessable.field(
            ["judges"], "the certificate weighs its judges together: none can be left out"
        )

    def cascade_for(metadata: Mapping[str, Any]) -> Cascade:
        cascade = standing.cascade_for(metadata)
        tiers = [cascade.tiers[column] for column in columns]
        own = [
            replace(tier, threshold=limits.get(tier.judge.spec.name, tier.threshold))
            for tier in tiers
        ]
        return replace(cascade, tiers=tuple(own))

    return columns, cascade_for


async def _before(
    session: AsyncSession,
    request: ReplayIn,
    scene: _Scene,
    standing: Authority,
    table: ScoreTable,
) -> dict[int, Said]:
    """Return the verdicts that a replay is compared with, by pair."""
    if scene.batch is not None:
        return await queries.said_in_batch(session, scene.batch.seq)
    if request.is_changed and standing.certificate is not None:
        if request.annotators is not None:
            judges = [tier.judge for tier in standing.tiers]
            table = await load_table(session, scene.dataset, scene.keys, judges)
        as_it_is = replay_by(standing.cascade_for, scene.keys, table, standing.ties)
        said = _said(as_it_is, table)
        return {key.seq: one for key, one in zip(scene.keys, said, strict=True) if one}
    return await queries.said_last(session, scene.dataset.seq)


def _said(found: Replay, table: ScoreTable) -> list[Said | None]:
    """Return status and label of each pair; None where a score is missing."""
    has_answered = found.answered_by >= 0
    silent = np.all(~found.is_asked | table.has_failed, axis=1) & found.is_asked.any(axis=1)
    status = np.where(has_answered, "accepted", np.where(silent, "failed", "abstained"))
    return [
        None if missing else (str(one), _LABELS[int(label)])
        for missing, one, label in zip(found.is_missing, status, found.label, strict=True)
    ]


def _body(
    scene: _Scene, found: Replay, table: ScoreTable, before: Mapping[int, Said]
) -> ReplayBody:
    said = _said(found, table)
    counts = dict.fromkeys(("accepted", "abstained", "failed"), 0)
    pairs: list[Any] = []
    changed = compared = 0
    for key, now in zip(scene.keys, said, strict=True):
        if now is None:
            continue
        counts[now[0]] += 1
        earlier = before.get(key.seq)
        compared += earlier is not None
        if earlier is None or earlier == now:
            continue
        changed += 1
        if len(pairs) < _MOST_PAIRS:
            was, will = (dict(zip(("status", "label"), one, strict=True)) for one in (earlier, now))
            pairs.append({"pair": key.id, "before": was, "after": will})
    known = ~found.is_missing
    cost = _sum(found.cost_usd[known])
    alone = _sum(table.cost_usd[known, -1])
    return {
        "object": "replay",
        "pairs": len(scene.keys),
        "verdicts": counts,  # type: ignore[typeddict-item]
        "changed": {"count": changed, "compared": compared, "pairs": pairs},
        "cost_usd": cost,
        "relative_cost": cost / alone if cost is not None and alone else None,
        "missing_scores": int(found.is_missing.sum()),
    }


def _sum(costs: npt.NDArray[np.float64]) -> float | None:
    return float(costs.sum()) if np.isfinite(costs).all() else None
