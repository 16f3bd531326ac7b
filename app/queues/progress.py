"""A queue as it is shown: how far it is, how people agree, and whose labels to look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncSession

from app.bodies.queues import AnnotatorBody, PeopleBody, QueueBody
from app.core.db import rfc3339
from app.core.lists import Page, Paging, page_of
from app.core.models import Dataset, Queue
from app.core.runtime import Runtime
from app.queues import queries
from app.queues.answering import label_of
from app.queues.service import require
from calibration.agreement import annotator_quality, krippendorffs_alpha, percent_agreement
from calibration.labels import vote_counts

_CODES = {"a": 0, "b": 1, "tie": 2}
_LEFT = {"left": 1.0, "right": 0.0}


async def look(running: Runtime, ref: str) -> QueueBody:
    """Return a queue as it is now.

    Raises:
        NotFound: there is none of this id or name.
    """
    async with running.db.read() as session:
        queue = await require(session, ref)
        [dataset] = (await queries.datasets_by_seq(session, [queue.dataset_seq])).values()
        return await show(session, queue, dataset, running)


async def waiting(running: Runtime, purpose: str | None = None) -> int:
    """Return how many pairs of all queues, or of those with a purpose, wait for a person."""
    async with running.db.read() as session:
        return await queries.count_waiting(session, running.now(), purpose)


async def list_queues(running: Runtime, paging: Paging) -> Page:
    """Return one page of queues."""
    async with running.db.read() as session:
        rows = await queries.page(session, paging)
        known = await queries.datasets_by_seq(session, {one.dataset_seq for one in rows})
        bodies = {
            one.seq: await show(session, one, known[one.dataset_seq], running)
            for one in rows[: paging.limit]
        }
    return page_of(rows, paging.limit, lambda one: dict(bodies[one.seq]))


async def show(
    session: AsyncSession, queue: Queue, dataset: Dataset, running: Runtime
) -> QueueBody:
    """Return a queue as users see it."""
    counts = await queries.counts(session, queue, running.now())
    votes = await queries.every_vote(session, queue)
    answered = [vote for vote in votes if vote.state == "answered"]
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
        "waiting": counts["waiting"],
        "claimed": counts["claimed"],
        "done": counts["done"],
        "skipped": counts["skipped"],
        "votes": len(answered),
        "spare": sum(vote.state == "spare" for vote in votes),
        "annotators": _annotators(votes, answered),
        "people": _people(answered),
        "created_at": rfc3339(queue.created_at),
    }


def _coded(answered: Sequence[Row[Any]]) -> tuple[Any, Any]:
    """Return the unit and the label code of every vote."""
    units = np.unique([vote.item_seq for vote in answered], return_inverse=True)[1]
    said = [_CODES[label_of(vote.said, vote.left_is)] for vote in answered]
    return units, np.array(said, dtype=np.int64)


def _annotators(votes: Sequence[Row[Any]], answered: Sequence[Row[Any]]) -> list[AnnotatorBody]:
    names = sorted({vote.annotator for vote in votes})
    numbers = {name: number for number, name in enumerate(names)}
    skipped = dict.fromkeys(names, 0)
    for vote in votes:
        skipped[vote.annotator] += vote.state == "skipped"
    units, said = _coded(answered)
    found = annotator_quality(
        units,
        [numbers[vote.annotator] for vote in answered],
        said,
        [_LEFT.get(vote.said, np.nan) for vote in answered],
        [vote.details.get("seconds", np.nan) for vote in answered],
    )
    by_code = {one.annotator: one for one in found}
    empty = {"value": None, "low": None, "high": None, "confidence_level": 0.95, "n": 0}
    bodies: list[Any] = []
    for name in names:
        one = by_code.get(numbers[name])
        bodies.append({
            "annotator": name,
            "answered": one.votes if one else 0,
            "skipped": skipped[name],
            "agreement": asdict(one.agreement) if one else empty,
            "left": asdict(one.left) if one else empty,
            "median_seconds": one.median_seconds if one else None,
            "weak": one.concerns if one else [],
        })  # fmt: skip
    return bodies


def _people(answered: Sequence[Row[Any]]) -> PeopleBody:
    units, said = _coded(answered)
    counts = vote_counts(units, said, int(units.max()) + 1 if len(units) else 0)
    several = counts[counts.sum(axis=1) > 1]
    groups = np.arange(len(several))
    found: Any = {
        "percent_agreement": asdict(percent_agreement(several, groups)),
        "krippendorff_alpha": asdict(krippendorffs_alpha(several, groups)),
        "disagreed": int((several.max(axis=1) < several.sum(axis=1)).sum()) if len(several) else 0,
    }
    people: PeopleBody = found
    return people
