"""Agreement and coverage of a finished batch, by the labels that its pairs have.

It is kept when the batch completes, and made again if labels changed since.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any

import numpy as np
from sqlalchemy.ext.asyncio import AsyncSession

from app.calibrations.inputs import known_groups
from app.calibrations.service import KnownPairs
from app.core.errors import Conflict
from app.core.lists import required
from app.core.models import UNFINISHED_BATCH, Batch, CalibrationRow, Dataset, Report, new_id
from app.core.runtime import Runtime
from app.datasets import service as datasets
from app.datasets.records import PairKey
from app.labels import sets
from app.reports import service
from app.reports.agreement import human_agreement
from app.reports.cascade import abstention, cascade_agreement
from app.reports.inputs import PACKAGE, REVISION, texts_of
from app.reports.panel import Cascade, Judged, Panel, people_of
from calibration.arrays import BoolArray
from calibration.intervals import ClusterBootstrap
from calibration.labels import MISSING, TIE, A, B

_CODES = {"a": A, "b": B, "tie": TIE}


async def keep_if_completed(running: Runtime, batch_seq: int) -> None:
    """Store the report of a batch that has completed and has labels; else do nothing."""
    async with running.db.read() as session:
        batch = await service.batch_of(session, batch_seq)
        if batch is None or batch.status != "completed":
            return
        dataset = await session.get_one(Dataset, batch.dataset_seq)
    if dataset.labels:
        await _report(running, batch)


async def of_batch(running: Runtime, batch_id: str) -> Report:
    """Return the report of a batch and the labels there are now, stored earlier or made now.

    Raises:
        NotFound: no batch has this id.
        Conflict: the batch still runs.
    """
    async with running.db.read() as session:
        batch = await required(session, Batch, batch_id, "batch")
    if batch.status in UNFINISHED_BATCH:
        message = f"batch {batch_id} is {batch.status}: its report comes when it has ended"
        raise Conflict(message, headers={"Retry-After": "1"})
    return await _report(running, batch)


@dataclass(slots=True)
class _Verdicts:
    """A batch's verdicts as columns; `answered_by` numbers the judges of `names`."""

    names: list[str] = field(default_factory=list)
    pair_seqs: list[int] = field(default_factory=list)
    answered_by: list[int] = field(default_factory=list)
    label: list[int] = field(default_factory=list)
    cost: list[float] = field(default_factory=list)
    failed: int = 0

    def add(self, pair_seq: int, status: str, body: dict[str, Any]) -> None:
        """Add one verdict; failures and abstentions count as no answer."""
        for tier in body["tiers"]:
            if tier["judge"] not in self.names:
                self.names.append(tier["judge"])
        is_given = status == "accepted"
        self.pair_seqs.append(pair_seq)
        self.answered_by.append(self.names.index(body["judge"]) if is_given else -1)
        self.label.append(_CODES[body["label"]] if is_given else MISSING)
        self.cost.append(np.nan if body["cost_usd"] is None else body["cost_usd"])
        self.failed += status == "failed"


@dataclass(frozen=True, slots=True)
class _Gathered:
    dataset: Dataset
    certificate: CalibrationRow | None
    panel: Panel
    verdicts: _Verdicts
    label_set_hash: str


async def _report(running: Runtime, batch: Batch) -> Report:
    async with running.db.read() as session:
        gathered = await _gather(session, running, batch)
        rests_on = _rests_on(gathered, batch)
        digest = hashlib.sha256(json.dumps(rests_on, sort_keys=True).encode("ascii")).hexdigest()
        stored = await service.by_inputs(session, digest)
    if stored is not None:
        return stored
    couples = running.settings.limits.couples
    body = await running.pools.reports.run(_body, gathered, batch, couples)
    values = {
        "id": new_id("rep"),
        "created_at": running.now(),
        "kind": "batch",
        "status": "completed",
        "dataset_seq": batch.dataset_seq,
        "inputs_hash": digest,
        "request": {
            "dataset": gathered.dataset.id,
            "calibration": rests_on["calibration"],
            "part": batch.request["part"],
        },
        "body": {**body, "rests_on": {**rests_on, "inputs_hash": digest}},
    }
    async with running.db.write() as session:
        await service.add(session, values)
        made = await service.by_inputs(session, digest)
    assert made is not None
    return made


async def _gather(session: AsyncSession, running: Runtime, batch: Batch) -> _Gathered:
    dataset = await session.get_one(Dataset, batch.dataset_seq)
    certificate = None
    if batch.certificate_seq is not None:
        certificate = await session.get_one(CalibrationRow, batch.certificate_seq)
    found = _Verdicts()
    async for rows in service.verdicts(session, batch.seq):
        for row in rows:
            found.add(row.pair_seq, row.status, row.body)
    by_seq = {key.seq: key for key in await datasets.pair_keys(session, dataset)}
    keys = [by_seq[seq] for seq in found.pair_seqs]
    votes = await datasets.votes(session, dataset)
    n = len(keys)
    cascade = Cascade(
        names=tuple(found.names),
        answered_by=np.array(found.answered_by, dtype=np.int64),
        label=np.array(found.label, dtype=np.int64),
        is_missing=np.zeros(n, dtype=np.bool_),
        is_excluded=await _excluded(session, running, batch, (dataset, keys, found.names)),
        cost=np.array(found.cost, dtype=np.float64),
        last_cost=np.full(n, np.nan),
    )
    panel = Panel(
        groups=np.array([key.group for key in keys], dtype=object).astype(np.str_),
        people=people_of(keys, votes),
        judged=_no_judges(n),
        cascade=cascade,
        texts=await texts_of(session, found.pair_seqs),
    )
    label_set_hash = sets.label_set_hash(keys, votes)
    return _Gathered(dataset, certificate, panel, found, label_set_hash)


async def _excluded(
    session: AsyncSession,
    running: Runtime,
    batch: Batch,
    where: tuple[Dataset, list[PairKey], list[str]],
) -> BoolArray:
    """Mark the pairs that the certificate was made from, or that a judge knows."""
    dataset, keys, names = where
    certified = None
    if batch.certificate_seq is not None:
        certified = await KnownPairs.of(session, batch.certificate_seq, dataset)
    judges = [running.registry.judges[name] for name in names if name in running.registry.judges]
    prompts = [judge.spec.training_prompts | judge.spec.example_prompts for judge in judges]
    groups = known_groups(keys, frozenset().union(*prompts))
    return np.array(
        [(certified is not None and certified.holds(key)) or key.group in groups for key in keys],
        dtype=np.bool_,
    )


def _no_judges(n: int) -> Judged:
    codes, flags = np.zeros((n, 0), dtype=np.int64), np.zeros((n, 0), dtype=np.bool_)
    numbers = np.zeros((n, 0))
    return Judged(
        names=(), label=codes, first=codes, second=codes, confidence=numbers, prefers_a=flags,
        has_preference=flags, has_failed=flags, is_flagged=flags, was_trained=flags,
        failure=codes.astype(np.int8), cost=numbers, own_side=codes,
    )  # fmt: skip


def _rests_on(gathered: _Gathered, batch: Batch) -> dict[str, Any]:
    certificate = gathered.certificate
    return {
        "batch": batch.id,
        "dataset_id": gathered.dataset.id,
        "dataset_content_hash": gathered.dataset.content_hash,
        "label_set_hash": gathered.label_set_hash,
        "calibration": None if certificate is None else certificate.id,
        "fingerprints": {} if certificate is None else certificate.body.get("fingerprints", {}),
        "verdicts": len(gathered.verdicts.pair_seqs),
        "part": batch.request["part"],
        "version": version(PACKAGE),
        "revision": REVISION,
    }


def _body(gathered: _Gathered, batch: Batch, most_couples: int) -> dict[str, Any]:
    panel = gathered.panel
    bootstrap = ClusterBootstrap.over(panel.groups, rng=0)
    return {
        "batch": batch.id,
        "batch_status": batch.status,
        "promise": batch.promise,
        "pairs": len(panel),
        "failed": gathered.verdicts.failed,
        "human": human_agreement(panel.people, bootstrap.groups, most_couples),
        "cascade": cascade_agreement(panel, bootstrap),
        "abstention": abstention(panel, bootstrap),
    }
