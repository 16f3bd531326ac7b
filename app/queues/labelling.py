"""What one person who labels is shown of a queue; looking claims nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncSession

from app.bodies.queues import ItemBody
from app.core.lists import Page, Paging, page_of
from app.core.models import Queue
from app.core.runtime import Runtime
from app.queues import queries
from app.queues.answering import overriding
from app.queues.queries import Claimed
from app.queues.service import item_bodies, left_for, require

# answers that are looked through for one that needs a comment
_RECENT: Final = 200


@dataclass(frozen=True, slots=True)
class Desk:
    """A queue as one person works on it.

    Attributes:
        queue: The queue: its name, purpose and guidelines, and how far it is.
        item: The pair to label; None where the person has claimed none.
        answered: Pairs that the person has answered.
        left: Pairs that the person has claimed or may still be given, up to about a thousand.
        skipped: Where none is left, pairs that the person skipped and may still answer.
        for_others: Where none is left, further pairs that others hold or must answer.
        unexplained: A pair of an audit whose answer overrides the verdict and has no comment yet.
        said: What that answer is: left or right.
    """

    queue: dict[str, Any]
    item: ItemBody | None
    answered: int
    left: int
    skipped: int = 0
    for_others: int = 0
    unexplained: ItemBody | None = None
    said: str | None = None


async def desk(running: Runtime, ref: str, annotator: str) -> Desk:
    """Return a queue as this person works on it.

    Raises:
        NotFound: there is no queue of this id or name.
    """
    moment = running.now()
    async with running.db.read() as session:
        queue = await require(session, ref)
        own = await queries.own_claims(session, queue, annotator, moment, 1_000)
        left = await left_for(session, [queue], annotator, moment, is_idle=not own)
        recent: list[Claimed] = []
        if queue.purpose == "audit":
            recent = await queries.last_answered(session, queue, annotator, _RECENT)
        silent = (await overriding(session, queue, recent))[:1]
        claims = [(queue, one) for one in (*silent, *own[:1])]
        bodies = await item_bodies(session, claims, moment, annotator)
        return Desk(
            queue=await _brief(session, queue, running),
            item=bodies[len(silent)] if own else None,
            answered=await queries.count_answered(session, [queue], annotator),
            left=len(own) + left["waiting"],
            skipped=0 if own else left["skipped"],
            for_others=left["for_others"],
            unexplained=bodies[0] if silent else None,
            said=silent[0].said if silent else None,
        )


async def brief(running: Runtime, ref: str) -> dict[str, Any]:
    """Return what may be shown of a queue to everybody who labels in it.

    Raises:
        NotFound: there is no queue of this id or name.
    """
    async with running.db.read() as session:
        return await _brief(session, await require(session, ref), running)


async def list_briefly(running: Runtime, paging: Paging) -> Page:
    """Return one page of queues, without what people said in them."""
    async with running.db.read() as session:
        rows = await queries.page(session, paging)
        bodies = {one.seq: await _brief(session, one, running) for one in rows[: paging.limit]}
    return page_of(rows, paging.limit, lambda one: bodies[one.seq])


async def _brief(session: AsyncSession, queue: Queue, running: Runtime) -> dict[str, Any]:
    return {
        "id": queue.id,
        "name": queue.name,
        "purpose": queue.purpose,
        "guidelines": queue.options.get("guidelines"),
        "allow_tie": queue.options.get("allow_tie", True),
        "criterion": queue.options.get("criterion", "overall"),
        "created_at": queue.created_at,
        **(await queries.counts(session, [queue], running.now()))[queue.seq],
    }
