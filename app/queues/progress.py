"""A queue as it is shown: how far it is, how people agree, and whose labels to look at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from sqlalchemy.ext.asyncio import AsyncSession

from app.bodies.queues import AnnotatorBody, PeopleBody, QueueBody
from app.core.db import rfc3339
from app.core.lists import Page, Paging, page_of
from app.core.models import Dataset, Queue
from app.core.pools import beside_if_many
from app.core.runtime import Runtime
from app.queues import queries
from app.queues.service import require
from app.queues.tallies import QueueTally, tallies
from calibration.agreement import krippendorffs_alpha, percent_agreement, quality_of_tallies


async def look(running: Runtime, ref: str) -> QueueBody:
    """Return a queue as it is now.

    Raises:
        NotFound: there is none of this id or name.
    """
    async with running.db.read() as session:
        queue = await require(session, ref)
        [dataset] = (await queries.datasets_by_seq(session, [queue.dataset_seq])).values()
        [body] = await _shown(session, [queue], {dataset.seq: dataset}, running)
        return body


async def waiting(running: Runtime, purpose: str | None = None) -> int:
    """Return how many pairs of all queues, or of those with a purpose, wait for a person."""
    async with running.db.read() as session:
        return await queries.count_waiting(session, running.now(), purpose)


async def list_queues(running: Runtime, paging: Paging) -> Page:
    """Return one page of queues."""
    async with running.db.read() as session:
        rows = await queries.page(session, paging)
        known = await queries.datasets_by_seq(session, {one.dataset_seq for one in rows})
        shown = await _shown(session, rows[: paging.limit], known, running)
    bodies = {body["id"]: body for body in shown}
    return page_of(rows, paging.limit, lambda one: dict(bodies[one.id]))


async def _shown(
    session: AsyncSession, queues: Sequence[Queue], known: Mapping[int, Dataset], running: Runtime
) -> list[QueueBody]:
    """Return queues as users see them; the statements are as many for all as for one."""
    counts = await queries.counts(session, queues, running.now())
    votes = await tallies(session, queues)
    return await beside_if_many(
        sum(len(one.skipped) + int(one.pairs.sum()) for one in votes.values()),
        lambda: [
            _show(one, known[one.dataset_seq], counts[one.seq], votes[one.seq]) for one in queues
        ],
    )


def _show(queue: Queue, dataset: Dataset, counts: dict[str, int], votes: QueueTally) -> QueueBody:
    options = queue.options
    return {
        "object": "queue",
        "id": queue.id,
        "name": queue.name,
        "dataset": dataset.id,
        "purpose": queue.purpose,  # type: ignore[typeddict-item]
        "status": "done" if counts["done"] == counts["pairs"] else "open",
        "votes_per_pair": queue.votes_per_pair,
        "adjudicate": options.get("adjudicate", False),
        "allow_tie": options.get("allow_tie", True),
        "criterion": options.get("criterion", "overall"),
        "guidelines": options.get("guidelines"),
        "calibration": options.get("calibration"),
        "leaderboard": options.get("leaderboard"),
        "seed": options.get("seed", 0),
        "pairs": counts["pairs"],
        "certified_pairs": options.get("certified_pairs", 0),
        "waiting": counts["waiting"],
        "claimed": counts["claimed"],
        "labelling": counts["labelling"],
        "done": counts["done"],
        "skipped": counts["skipped"],
        "votes": votes.answered,
        "spare": votes.spare,
        "annotators": _annotators(votes),
        "people": _people(votes),
        "created_at": rfc3339(queue.created_at),
    }


def _annotators(tally: QueueTally) -> list[AnnotatorBody]:
    names = sorted(tally.skipped)
    answering = [name for name in names if name in tally.people]
    found = quality_of_tallies([tally.people[name] for name in answering])
    by_name = dict(zip(answering, found, strict=True))
    empty = {"value": None, "low": None, "high": None, "confidence_level": 0.95, "n": 0}
    bodies: list[Any] = []
    for name in names:
        one = by_name.get(name)
        bodies.append({
            "annotator": name,
            "answered": one.votes if one else 0,
            "skipped": tally.skipped[name],
            "agreement": asdict(one.agreement) if one else empty,
            "left": asdict(one.left) if one else empty,
            "median_seconds": one.median_seconds if one else None,
            "weak": one.concerns if one else [],
        })  # fmt: skip
    return bodies


def _people(tally: QueueTally) -> PeopleBody:
    is_several = tally.ways.sum(axis=1) > 1
    ways, pairs = tally.ways[is_several], tally.pairs[is_several]
    several = np.repeat(ways, pairs, axis=0)
    groups = np.arange(len(several))
    found: Any = {
        "percent_agreement": asdict(percent_agreement(several, groups)),
        "krippendorff_alpha": asdict(krippendorffs_alpha(several, groups)),
        "disagreed": int(pairs[ways.max(axis=1, initial=0) < ways.sum(axis=1)].sum()),
    }
    people: PeopleBody = found
    return people
