"""One shard of a batch: its pairs through the cascade, then everything in one transaction."""

from __future__ import annotations

from collections import Counter
from typing import Any

from app.batches import service as batches
from app.datasets import service as datasets
from app.datasets.service import PairKey
from app.jobs import leases
from app.judgments import queries as verdicts
from app.judgments.judging import Judged, Subject, judge_all, show
from app.judgments.promise import Attendance
from app.judgments.service import promise_of, verdict_row
from app.models import Shard
from app.reports.batch_reports import keep_if_completed
from app.runtime import Runtime
from app.scoring import store_scores


async def judge_shard(running: Runtime, shard: Shard, worker: str) -> None:
    """Judge a shard's pairs and store scores, verdicts and completion together.

    Raises:
        LeaseLost: the shard is not this worker's any more; nothing is stored.
    """
    async with running.db.read() as session:
        work = await batches.work_of(session, running.registry, shard.batch_seq)
        stored = await datasets.read_pairs(
            session, work.dataset, positions=(shard.first, shard.last)
        )
    items = [(key, pair) for key, pair in stored if work.holds(key)]
    judged = await judge_all(
        running, work.authority, [Subject(pair, key.metadata) for key, pair in items]
    )
    promise = promise_of(work.authority, None)
    shown = [show(one, work.authority, promise, is_settled=False) for one in judged]
    rows = [
        _row(running, work, key, one, body)
        for (key, _), one, body in zip(items, judged, shown, strict=True)
    ]
    async with running.db.write() as session:
        await batches.lock(session, shard.batch_seq)
        await store_scores(session, [score for one in judged for score in one.fresh], running.now())
        await verdicts.add(session, rows)
        await leases.finish(session, shard, worker, _counts(shown))
        await batches.finalise_if_done(session, shard.batch_seq, running.now())
    running.start(keep_if_completed(running, shard.batch_seq), f"report of {work.batch.id}")


def _row(
    running: Runtime, work: batches.Work, key: PairKey, judged: Judged, body: dict[str, Any]
) -> dict[str, Any]:
    return {
        **verdict_row(running, work.authority, judged, body),
        "dataset_seq": work.dataset.seq,
        "pair_seq": key.seq,
        "batch_seq": work.batch.seq,
        "position": key.position,
    }


def _counts(shown: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what a shard contributes to its batch."""
    costs = [body["cost_usd"] for body in shown]
    return {
        "statuses": Counter(body["status"] for body in shown),
        "cost_usd": None if None in costs else sum(costs),
        "attendance": Attendance.of(body["tiers"] for body in shown).as_json(),
    }
