"""Makes queues and hands their pairs out; `answering.py` takes the answers.

A claim holds a pair for one person until its lease expires; then others may be given it. A claim
is one transaction that has locked the queue, so that no pair goes to too many people.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import accumulate
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncSession
from typing_extensions import TypedDict

from app.bodies.queues import ClaimBody, ItemBody, Purpose
from app.calibrations import stored as calibrations
from app.calibrations.draws import drawn_votes
from app.core.db import rfc3339
from app.core.errors import Conflict, NotFound, Unprocessable
from app.core.lists import required
from app.core.models import OVERALL, Dataset, Leaderboard, Queue, new_id
from app.core.names import hint, shown
from app.core.runtime import Runtime
from app.datasets import service as datasets
from app.datasets.records import PairKey
from app.formats.label_studio import shown_text
from app.imports.exporting import texts_of
from app.queues import queries
from app.queues.filling import Drawn, Open, by_stratum, open_orders, uniformly
from app.queues.queries import Claimed
from app.queues.schemas import QueueIn
from judges.types import Pair

OTHER_SIDE: Final = {"a": "b", "b": "a"}
SIDES: Final = ("left", "right")
STATUSES: Final[Mapping[Purpose, tuple[str, ...]]] = {
    "audit": ("accepted",),
    "finish": ("abstained", "failed"),
}


async def require(session: AsyncSession, ref: str) -> Queue:
    """Return the queue of this id, else of this name.

    Raises:
        NotFound: there is none.
    """
    queue = await queries.queue_by_ref(session, ref)
    if queue is None:
        names = await queries.newest_names(session)
        see = "GET /v1/queues" if names else "tribunal queue create"
        raise NotFound(f"there is no queue {shown(ref)}{hint(ref, names, see=see)}")
    return queue


async def create(running: Runtime, request: QueueIn) -> Queue:
    """Make a queue of the pairs that a request asks for.

    Raises:
        NotFound: the dataset, the certificate or the leaderboard is unknown.
        Conflict: the name is taken.
        Unprocessable: there is no such pair, or none at all.
    """
    async with running.db.write() as session:
        return await create_within(session, request, running.now())


async def create_within(session: AsyncSession, request: QueueIn, moment: datetime) -> Queue:
    """Make a queue as `create` does, in a transaction that stores more than that."""
    dataset = await datasets.find_dataset(session, request.dataset)
    drawn = await _drawn(session, dataset, request)
    options = request.model_dump(
        mode="json", exclude={"name", "dataset", "purpose", "votes_per_pair", "pairs"}
    )
    if request.pairs is not None:
        options["of_named_pairs"] = True
    options["keeps_order"] = request.keeps_order
    certified = await queries.certified_pairs(session, dataset.seq)
    options["certified_pairs"] = sum(one.key.seq in certified for one in drawn)
    wanted = NewQueue(request.name, request.purpose, request.votes_per_pair, options)
    queue = await open_queue(session, dataset, wanted, moment)
    await add(session, queue, drawn)
    return queue


@dataclass(frozen=True, slots=True)
class NewQueue:
    """A queue to be made; `options` is what `QueueIn` has besides."""

    name: str
    purpose: Purpose
    votes_per_pair: int = 1
    options: Mapping[str, Any] | None = None


async def open_queue(
    session: AsyncSession, dataset: Dataset, wanted: NewQueue, moment: datetime
) -> Queue:
    """Store an empty queue.

    Raises:
        Conflict: the name is taken.
    """
    if await queries.queue_by_ref(session, wanted.name) is not None:
        raise Conflict(f"name: there is a queue {shown(wanted.name)} already")
    queue = Queue(
        id=new_id("queue"),
        name=wanted.name,
        dataset_seq=dataset.seq,
        purpose=wanted.purpose,
        votes_per_pair=wanted.votes_per_pair,
        options=dict(wanted.options or {}),
        created_at=moment,
    )
    session.add(queue)
    await session.flush()
    return queue


async def add(session: AsyncSession, queue: Queue, drawn: Sequence[Drawn]) -> list[str]:
    """Put pairs at the end of a queue; return the ids of their items."""
    first = await queries.last_position(session, queue) + 1
    rows = [
        {
            "id": new_id("item"),
            "queue_seq": queue.seq,
            "pair_seq": one.key.seq,
            "position": first + at,
            "probability": one.probability,
            "votes": 0,
            "wanted": queue.votes_per_pair,
            "is_open": True,
        }
        for at, one in enumerate(drawn)
    ]
    await queries.add_items(session, rows)
    return [str(row["id"]) for row in rows]


async def datasets_of(session: AsyncSession, known: Sequence[Queue]) -> dict[int, Dataset]:
    """Return the datasets of queues by number."""
    return await queries.datasets_by_seq(session, {queue.dataset_seq for queue in known})


async def _drawn(session: AsyncSession, dataset: Dataset, request: QueueIn) -> list[Drawn]:
    keys = await datasets.pair_keys(session, dataset, request.part)
    keys = [key for key in keys if key.content_hash is not None]
    if request.pairs is not None:
        keys = _named(keys, request.pairs)
    if request.unlabelled:
        done = await _labelled(session, dataset, request)
        keys = [key for key in keys if key.seq not in done]
    keys = await _of_verdicts(session, dataset, request, keys)
    if not keys:
        raise Unprocessable.field(["dataset"], "no pair with texts is left to be labelled")
    if request.purpose == "ranking":
        orders = await _open_orders(session, request.leaderboard)
        return by_stratum(keys, orders, request.seed, request.labels)
    return placed(keys, request)


def placed(keys: Sequence[PairKey], request: QueueIn) -> list[Drawn]:
    """Return pairs in the order in which a queue serves them.

    A dataset's own order is none that labels may come in: it may be sorted by anything, and its first
    pairs would stand for all of them. Whoever names pairs chooses an order, too.
    """
    if request.keeps_order:
        return [Drawn(key) for key in keys[: request.labels]]
    return uniformly(keys, request.seed, request.labels)


async def _labelled(session: AsyncSession, dataset: Dataset, request: QueueIn) -> Collection[int]:
    """Return the pairs that are labelled.

    What was labelled because of its verdict, in an audit or a finish, counts in no sample. Where it
    could not be drawn either, the pairs that are drawn would lack what judges abstain on.
    """
    is_drawn = request.purpose not in STATUSES and not request.keeps_order
    if is_drawn and request.criterion == OVERALL:
        return await drawn_votes(session, dataset, await datasets.votes(session, dataset))
    return await queries.labelled_pairs(session, dataset.seq, request.criterion)


def _named(keys: Sequence[PairKey], wanted: Sequence[str]) -> list[PairKey]:
    known = {key.id: key for key in keys}
    faults = [
        {"loc": ["body", "pairs", at], "msg": f"the dataset has no pair {shown(name)} with texts"}
        for at, name in enumerate(wanted)
        if name not in known
    ]
    if faults:
        raise Unprocessable(f"pairs: {faults[0]['msg']}", errors=faults[:100])
    return [known[name] for name in dict.fromkeys(wanted)]


async def _of_verdicts(
    session: AsyncSession, dataset: Dataset, request: QueueIn, keys: list[PairKey]
) -> list[PairKey]:
    """Keep the pairs whose last verdict under the certificate is of the kind that is asked for."""
    if request.calibration is None:
        return keys
    certificate = await calibrations.require(session, request.calibration)
    statuses = STATUSES.get(request.purpose)
    if statuses is None or request.pairs is not None:
        return keys
    last = await queries.last_verdicts(session, dataset.seq, certificate.seq)
    return [key for key in keys if last.get(key.seq) in statuses]


async def _open_orders(session: AsyncSession, leaderboard_id: str | None) -> list[Open]:
    if leaderboard_id is None:
        return []
    board = await required(session, Leaderboard, leaderboard_id, "leaderboard", "leaderboard")
    return open_orders(board.body["rows"])


async def claim(
    running: Runtime, ref: str | None, annotator: str, n: int, *, again: bool = False
) -> ClaimBody:
    """Give a person up to `n` pairs: of each queue those that are claimed already, then free ones.

    Args:
        running: Whose clock and lease count.
        ref: A queue; None for all of them, in the order of what matters most.
        annotator: Who asks.
        n: Pairs wanted.
        again: Give pairs, too, that this person skipped, when no others are left.
    """
    moment = running.now()
    lease_until = moment + timedelta(seconds=running.settings.label_lease_seconds)
    async with running.db.write() as session:
        if ref is None:
            queues = list(await queries.in_order_of_serving(session))
        else:
            queues = [await require(session, ref)]
        await queries.lock(session, queues)
        claims: list[tuple[Queue, Claimed]] = []
        for queue in queues:
            if len(claims) >= n:
                break
            found = await queries.own_claims(session, queue, annotator, moment, n - len(claims))
            claims += [(queue, one) for one in found]
            found = await queries.free_items(session, queue, annotator, moment, n - len(claims))
            claims += [(queue, one) for one in found]
        for queue in queues if again else ():
            found = await queries.skipped_items(session, queue, annotator, moment, n - len(claims))
            claims += [(queue, one) for one in found]
        claims = await _that_fit(session, claims, running.settings.max_page_bytes)
        for queue, one in claims:
            await _hold(session, queue, one, annotator, (moment, lease_until))
        left = await left_for(session, queues, annotator, moment, is_idle=not claims)
        answered = await queries.count_answered(session, queues, annotator)
        items = await item_bodies(session, claims, lease_until, annotator)
    return {"items": items, "answered": answered, **left}


async def _that_fit(
    session: AsyncSession, claims: Sequence[tuple[Queue, Claimed]], most: int
) -> list[tuple[Queue, Claimed]]:
    """Return as many claims as one answer may hold the texts of, but at least one."""
    lengths = await queries.text_lengths(session, {one.pair_seq for _, one in claims})
    totals = accumulate(lengths.get(one.pair_seq, 0) for _, one in claims)
    return list(claims[: max(1, sum(total <= most for total in totals))])


class Left(TypedDict):
    """What is left in queues for one person, beside own claims, and for others."""

    waiting: int
    skipped: int
    for_others: int


async def left_for(
    session: AsyncSession,
    queues: Sequence[Queue],
    annotator: str,
    moment: datetime,
    *,
    is_idle: bool,
) -> Left:
    """Count what is left.

    What was skipped is counted where nothing else waits, and what is for others where this person
    has nothing to do (`is_idle`): a claim in the middle of a long queue must not look through it.
    """
    skipped = for_others = 0
    waiting = await queries.count_free(session, queues, annotator, moment)
    if not waiting:
        skipped = await queries.count_skipped(session, queues, annotator, moment)
        for_others = await queries.count_open(session, queues) if is_idle else 0
    for_others = max(for_others - skipped, 0)
    return {"waiting": waiting, "skipped": skipped, "for_others": for_others}


async def _hold(
    session: AsyncSession,
    queue: Queue,
    one: Claimed,
    annotator: str,
    lease: tuple[datetime, datetime],
) -> None:
    claimed_at, lease_until = lease
    if one.vote_seq is not None:
        await queries.set_vote(
            session, one.vote_seq, state="claimed", claimed_at=claimed_at, lease_until=lease_until
        )
        return
    await queries.add_vote(
        session,
        item_seq=one.item_seq,
        annotator=annotator,
        left_is=_drawn_side(queue, one, annotator),
        state="claimed",
        said=None,
        details={},
        claimed_at=claimed_at,
        lease_until=lease_until,
        answered_at=None,
    )


def _drawn_side(queue: Queue, one: Claimed, annotator: str) -> str:
    return side_on_left(queue.options.get("seed", 0), one.item, annotator)


def side_on_left(seed: int, item: str, annotator: str = "") -> str:
    """Return which response a person is shown on the left, drawn from these alone.

    Example:
        >>> sorted({side_on_left(0, f"item_{n}", "ann") for n in range(9)})
        ['a', 'b']
    """
    drawn = hashlib.sha256(f"{seed}\n{item}\n{annotator}".encode("utf-8", "backslashreplace"))
    return "ab"[drawn.digest()[0] % 2]


async def item_bodies(
    session: AsyncSession,
    claims: Sequence[tuple[Queue, Claimed]],
    lease_until: datetime,
    annotator: str,
) -> list[ItemBody]:
    """Return claimed items as a person sees them."""
    texts = await pairs_by_seq(session, {one.pair_seq: one.dataset_seq for _, one in claims})
    bodies: list[ItemBody] = []
    for queue, one in claims:
        left_is = one.left_is or _drawn_side(queue, one, annotator)
        body: Any = {
            **blind(texts[one.pair_seq], left_is),
            "item": one.item,
            "queue": queue.id,
            "criterion": queue.options.get("criterion", "overall"),
            "allow_tie": queue.options.get("allow_tie", True),
            "guidelines": queue.options.get("guidelines"),
            "lease_expires_at": rfc3339(lease_until),
        }
        bodies.append(body)
    return bodies


def blind(pair: Pair, left_is: str) -> dict[str, Any]:
    """Return the texts of a pair with one response on the left; nothing names a model."""
    texts = texts_of(pair)
    shown_ones = {name: text for name, text in texts.items() if name in ("prompt", "messages")}
    return {
        **shown_ones,
        "left": shown_text(texts, left_is),
        "right": shown_text(texts, OTHER_SIDE[left_is]),
    }


async def pairs_by_seq(session: AsyncSession, wanted: Mapping[int, int]) -> dict[int, Pair]:
    """Return the pairs of these numbers, given with the numbers of their datasets."""
    known = await queries.datasets_by_seq(session, set(wanted.values()))
    found: dict[int, Pair] = {}
    for dataset_seq, dataset in known.items():
        seqs = [pair for pair, of in wanted.items() if of == dataset_seq]
        rows = await datasets.read_pairs(session, dataset, seqs=seqs)
        found |= {key.seq: pair for key, pair in rows}
    return found
