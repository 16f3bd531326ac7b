"""Draws verdicts for audit, in the transaction that stores them.

A prompt is drawn with the audit rate, once for each batch and each day, by a hash with a secret that
nobody else has; the same hash chooses one of its verdicts. Verdicts of one prompt tend to be right or
wrong together: as separate audits they would raise false alarms. The draw does not depend on labels.
Pairs that the certificate knows are left out, because it promises nothing about them.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy.ext.asyncio import AsyncSession

from app.bodies.judgments import VerdictBody
from app.core.models import Dataset, Monitor, Queue
from app.core.names import MAX_LENGTH
from app.datasets import service as datasets
from app.datasets.records import PairKey, pair_content
from app.datasets.slices import slice_of
from app.monitors import queries
from app.queues import service as queues
from app.queues.filling import Drawn
from judges.types import Pair


class Candidate(NamedTuple):
    """A verdict that was just stored; `pair_seq` and `position` are None for a posted pair.

    `asking_usd` is what its judges cost if no score is stored.
    """

    pair: Pair
    content_hash: str
    metadata: Mapping[str, Any]
    verdict: VerdictBody
    pair_seq: int | None = None
    position: int | None = None
    asking_usd: float | None = None


class Where(NamedTuple):
    """Where the verdicts came from: a batch, or requests of a day."""

    certificate_seq: int
    moment: datetime
    batch_seq: int | None = None

    @property
    def unit(self) -> str:
        """What a prompt is drawn once for."""
        if self.batch_seq is not None:
            return f"batch {self.batch_seq}"
        return self.moment.date().isoformat()


class Chosen(NamedTuple):
    """A verdict that is to be audited, what its prompt was drawn once for, and the probability."""

    candidate: Candidate
    unit: str
    rate: float


def chance(secret: str, *parts: str) -> float:
    """Return a number in [0, 1) that follows from a secret and texts.

    Example:
        >>> 0 <= chance("secret", "prompt") < 1
        True
    """
    text = "\n".join(parts).encode("utf-8", "backslashreplace")
    return int.from_bytes(hmac.digest(secret.encode(), text, "sha256")[:7], "big") / 2**56


async def draw(
    session: AsyncSession, where: Where, candidates: Sequence[Candidate]
) -> list[Candidate]:
    """Draw audits for every monitor of a certificate, with the verdicts stored; return the drawn."""
    drawn: list[Candidate] = []
    for monitor in await queries.watching(session, where.certificate_seq):
        chosen = choose(monitor, where, candidates)
        known = await queries.known_units(session, monitor, [one.unit for one in chosen])
        fresh = [one for one in chosen if one.unit not in known]
        if fresh:
            await _store(session, monitor, where, fresh)
            drawn += [one.candidate for one in fresh]
    return drawn


def choose(monitor: Monitor, where: Where, candidates: Sequence[Candidate]) -> list[Chosen]:
    """Return the verdicts that a monitor draws of those given; the same ones each time."""
    rates = {
        "accepted": monitor.options["audit_rate"],
        "abstained": monitor.options["abstained_rate"],
    }
    best: dict[str, tuple[float, Chosen]] = {}
    for one in candidates:
        verdict = one.verdict
        rate = rates.get(verdict["status"], 0.0)
        if not rate or verdict["promise"] != "certified" or verdict["calibration_pair"]:
            continue
        prompt = hashlib.sha256(one.pair.prompt_hash.encode()).hexdigest()
        unit = f"{where.unit} {verdict['status']} {prompt}"
        if chance(monitor.secret, "prompt", unit) >= rate:
            continue
        among = chance(monitor.secret, "verdict", unit, one.content_hash, one.pair.id)
        if unit not in best or among < best[unit][0]:
            best[unit] = (among, Chosen(one, unit, rate))
    return [chosen for _, chosen in best.values()]


async def _store(
    session: AsyncSession, monitor: Monitor, where: Where, chosen: Sequence[Chosen]
) -> None:
    _, queue = await queries.parts(session, monitor)
    verdicts = await verdict_seqs(session, where, [one.candidate for one in chosen])
    keys = await _keys(session, queue, chosen, verdicts)
    rates = [one.rate for one in chosen]
    drawn = [Drawn(key, rate) for key, rate in zip(keys, rates, strict=True)]
    items = await queues.add(session, queue, drawn)
    field = monitor.options["slices"]
    rows = [
        {
            "monitor_seq": monitor.seq,
            "verdict_seq": verdict,
            "item": item,
            "unit": one.unit,
            "status": one.candidate.verdict["status"],
            "said": one.candidate.verdict["label"],
            "slice": None if field is None else slice_of(one.candidate.metadata, field),
            "probability": one.rate,
            "is_observed": False,
            "loss": None,
            "created_at": where.moment,
        }
        for one, item, verdict in zip(chosen, items, verdicts, strict=True)
    ]
    await queries.add_audits(session, rows)


async def verdict_seqs(
    session: AsyncSession, where: Where, chosen: Sequence[Candidate]
) -> list[int]:
    """Return the numbers of verdicts that were just stored."""
    if where.batch_seq is not None:
        positions = [one.position or 0 for one in chosen]
        of_batch = await queries.batch_verdicts(session, where.batch_seq, positions)
        return [of_batch[position] for position in positions]
    hashes = [one.content_hash for one in chosen]
    newest = await queries.live_verdicts(session, where.certificate_seq, hashes)
    return [newest[one.content_hash, one.pair.id] for one in chosen]


async def _keys(
    session: AsyncSession, queue: Queue, chosen: Sequence[Chosen], verdicts: Sequence[int]
) -> list[PairKey]:
    """Return the keys of drawn pairs; posted ones are stored in the queue's own dataset."""
    names = [
        f"{verdict} {one.candidate.pair.id}"[:MAX_LENGTH]
        for one, verdict in zip(chosen, verdicts, strict=True)
    ]
    posted = [at for at, one in enumerate(chosen) if one.candidate.pair_seq is None]
    seqs: dict[str, int] = {}
    if posted:
        [dataset] = (await queues.datasets_of(session, [queue])).values()
        rows = [_row(chosen[at].candidate, names[at], verdicts[at]) for at in posted]
        await datasets.add_pairs(session, dataset, rows)
        await datasets.refresh_pair_count(session, dataset)
        seqs = await datasets.pair_seqs(session, dataset, [names[at] for at in posted])
    return [
        PairKey(
            seq=one.candidate.pair_seq or seqs[name],
            position=0,
            id=name,
            group=one.candidate.pair.prompt_hash,
            prompt_hash=one.candidate.pair.prompt_hash,
            content_hash=one.candidate.content_hash,
            swapped_hash=None,
            model_a=None,
            model_b=None,
            metadata={},
        )
        for one, name in zip(chosen, names, strict=True)
    ]


def _row(one: Candidate, name: str, position: int) -> dict[str, Any]:
    pair = one.pair
    return {
        "position": position,
        "id": name,
        "content": json.dumps(pair_content(pair)),
        "content_hash": one.content_hash,
        "swapped_hash": pair.swapped().content_hash,
        "prompt_hash": pair.prompt_hash,
        "group_key": pair.prompt_hash,
        "model_a": pair.model_a,
        "model_b": pair.model_b,
        "metadata": json.dumps(dict(one.metadata)),
    }


def new_dataset(name: str, dataset_id: str, moment: datetime) -> Dataset:
    """Return an empty dataset for the posted pairs of a monitor."""
    return Dataset(
        id=dataset_id,
        name=name,
        dialect="canonical",
        content_hash=hashlib.sha256(dataset_id.encode()).hexdigest(),
        pairs=0,
        groups=0,
        labels=0,
        annotators=0,
        recorded_judges=[],
        rejected=[],
        rejected_count=0,
        created_at=moment,
    )
