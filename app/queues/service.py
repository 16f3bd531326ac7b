"""Makes queues, hands their pairs out, and takes answers, which become labels of the dataset.

A claim holds a pair for one person until its lease expires; then others may be given it. An answer
that comes late counts as long as its pair lacks votes, and is kept beside them (`spare`) if not.
Each of these is one transaction that has locked the queue, so that no pair gets too many votes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncSession

from app.bodies.queues import AnsweredBody, ClaimBody, ItemBody, Purpose
from app.calibrations import stored as calibrations
from app.core.db import rfc3339
from app.core.errors import Conflict, NotFound, Unprocessable
from app.core.lists import by_public_id
from app.core.models import Dataset, Leaderboard, Queue, new_id
from app.core.names import hint, shown
from app.core.runtime import Runtime
from app.datasets import service as datasets
from app.datasets.records import PairKey
from app.formats.label_studio import shown_text
from app.imports.exporting import texts_of
from app.labels import service as labels
from app.labels.service import NewLabel
from app.queues import queries
from app.queues.filling import Drawn, Open, by_stratum, open_orders, uniformly
from app.queues.queries import Claimed
from app.queues.schemas import AnswerIn, QueueIn
from judges.types import Pair

_OTHER: Final = {"a": "b", "b": "a"}
_SIDES: Final = ("left", "right")
_STATUSES: Final[Mapping[Purpose, tuple[str, ...]]] = {
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
        dataset = await datasets.find_dataset(session, request.dataset)
        drawn = await _drawn(session, dataset, request)
        options = request.model_dump(
            mode="json", exclude={"name", "dataset", "purpose", "votes_per_pair", "pairs"}
        )
        if request.pairs is not None:
            options["of_named_pairs"] = True
        wanted = NewQueue(request.name, request.purpose, request.votes_per_pair, options)
        queue = await open_queue(session, dataset, wanted, running.now())
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
        done = await queries.labelled_pairs(session, dataset.seq, request.criterion)
        keys = [key for key in keys if key.seq not in done]
    keys = await _of_verdicts(session, dataset, request, keys)
    if not keys:
        raise Unprocessable.field(["dataset"], "no pair with texts is left to be labelled")
    if request.purpose == "ranking":
        orders = await _open_orders(session, request.leaderboard)
        return by_stratum(keys, orders, request.seed, request.labels)
    if request.purpose == "asked":
        return [Drawn(key) for key in keys[: request.labels]]
    return uniformly(keys, request.seed, request.labels)


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
    statuses = _STATUSES.get(request.purpose)
    if statuses is None or request.pairs is not None:
        return keys
    last = await queries.last_verdicts(session, dataset.seq, certificate.seq)
    return [key for key in keys if last.get(key.seq) in statuses]


async def _open_orders(session: AsyncSession, leaderboard_id: str | None) -> list[Open]:
    if leaderboard_id is None:
        return []
    board = await by_public_id(session, Leaderboard, leaderboard_id)
    if board is None:
        raise NotFound.field(["leaderboard"], f"there is no leaderboard {shown(leaderboard_id)}")
    return open_orders(board.body["rows"])


async def claim(running: Runtime, ref: str | None, annotator: str, n: int) -> ClaimBody:
    """Give a person up to `n` pairs: of each queue those that are claimed already, then free ones.

    Args:
        running: Whose clock and lease count.
        ref: A queue; None for all of them, in the order of what matters most.
        annotator: Who asks.
        n: Pairs wanted.
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
            found = await queries.own_claims(session, queue, annotator, moment, n - len(claims))
            claims += [(queue, one) for one in found]
            found = await queries.free_items(session, queue, annotator, moment, n - len(claims))
            claims += [(queue, one) for one in found]
        for queue, one in claims:
            await _hold(session, queue, one, annotator, (moment, lease_until))
        waiting = 0
        for queue in queues:
            waiting += await queries.count_free(session, queue, annotator, moment)
        answered = await queries.count_answered(session, queues, annotator)
        items = await item_bodies(session, claims, lease_until, annotator)
    return {"items": items, "waiting": waiting, "answered": answered}


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
        "right": shown_text(texts, _OTHER[left_is]),
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


@dataclass(frozen=True, slots=True)
class Refused:
    """An answer that could not count, and why; `is_kept`: it is stored beside the votes."""

    index: int
    item: str
    why: str
    is_kept: bool


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of the answers of one person."""

    answers: list[AnsweredBody]
    refused: list[Refused]


async def answer(
    running: Runtime, ref: str, annotator: str, answers: Sequence[AnswerIn]
) -> list[AnsweredBody]:
    """Store a person's answers, each as a label; the same answer again changes nothing.

    Raises:
        NotFound: an item is not of this queue; nothing is stored.
        Unprocessable: a tie was not to be given; nothing is stored.
        Conflict: an item was never claimed by this person, or has its votes already; all other
            answers are stored, and those that came too late are kept beside the votes.
    """
    async with running.db.write() as session:
        queue = await require(session, ref)
        taken = await take(session, queue, annotator, answers, running.now())
    if taken.refused:
        errors = [
            {"loc": ["body", "answers", one.index, "item"], "msg": one.why} for one in taken.refused
        ]
        more = f" and {len(errors) - 1} more" if len(errors) > 1 else ""
        raise Conflict(
            f"answers.{taken.refused[0].index}: {taken.refused[0].why}{more}",
            errors=errors,
            extra={"stored": [one["item"] for one in taken.answers]},
        )
    return taken.answers


async def take(
    session: AsyncSession,
    queue: Queue,
    annotator: str,
    answers: Sequence[AnswerIn],
    moment: datetime,
) -> Taken:
    """Store answers inside a transaction; those that cannot count are returned with the reason."""
    ids = [one.item for one in answers]
    items = await queries.items_of(session, queue, ids, annotator)
    _check(queue, answers, items)
    known = await queries.datasets_by_seq(session, {one.dataset_seq for one in items.values()})
    await datasets.lock(session, known.values())
    await queries.lock(session, [queue])
    done: list[AnsweredBody] = []
    refused: list[Refused] = []
    for index, one in enumerate(answers):
        # read again: an earlier answer of this request, or another transaction, may have changed it
        [item] = (await queries.items_of(session, queue, [one.item], annotator)).values()
        found = await _Answering(session, queue, annotator, moment).take(one, item)
        if isinstance(found, str):
            done.append({"item": one.item, "status": found})  # type: ignore[typeddict-item]
        else:
            refused.append(Refused(index, one.item, *found))
    for dataset in known.values():
        await datasets.refresh_label_counts(session, dataset)
    await _ask_for_comments(session, queue, annotator, done)
    return Taken(done, refused)


async def _ask_for_comments(
    session: AsyncSession, queue: Queue, annotator: str, done: Sequence[AnsweredBody]
) -> None:
    """Mark the answers that prefer the other response than the verdict they audit, without a comment."""
    if queue.purpose != "audit":
        return
    items = await queries.items_of(session, queue, [one["item"] for one in done], annotator)
    unexplained = await overriding(session, queue, list(items.values()))
    names = {one.item for one in unexplained}
    for one in done:
        if one["item"] in names:
            one["comment_wanted"] = True


async def overriding(
    session: AsyncSession, queue: Queue, items: Sequence[Claimed]
) -> list[Claimed]:
    """Return the answered items that prefer the other response than their verdict, and say no reason."""
    silent = [
        one
        for one in items
        if one.state == "answered" and not ((one.details or {}).get("comment") or "").strip()
    ]
    verdicts = await queries.audited(session, queue, silent)
    return [
        one
        for one in silent
        if one.said in _SIDES
        and one.item in verdicts
        and label_of(one.said, one.left_is or "a") != verdicts[one.item]
    ]


def _check(queue: Queue, answers: Sequence[AnswerIn], items: Mapping[str, Claimed]) -> None:
    for index, one in enumerate(answers):
        if one.item not in items:
            raise NotFound.field(
                ["answers", index, "item"], f"the queue has no item {shown(one.item)}"
            )
        if one.label in ("tie", "both") and not queue.options.get("allow_tie", True):
            raise Unprocessable.field(
                ["answers", index, "label"], "this queue takes no ties: say left, right or skip"
            )


@dataclass(frozen=True, slots=True)
class _Answering:
    """Takes the answers of one person in a transaction that has locked the queue."""

    session: AsyncSession
    queue: Queue
    annotator: str
    moment: datetime

    async def take(self, one: AnswerIn, item: Claimed) -> str | tuple[str, bool]:
        """Return what became of an answer, or why it cannot count and whether it is kept."""
        if item.vote_seq is None or item.left_is is None:
            return f"{one.item} was never claimed by {shown(self.annotator)}: claim it first", False
        if one.label == "skip":
            return await self._skip(item)
        if item.state == "answered":
            return await self._again(one, item)
        if item.votes >= item.wanted:
            await self._store(one, item, "spare")
            why = f"{one.item} has its {item.wanted} votes already; your answer is kept beside them"
            return why, True
        await self._store(one, item, "answered")
        await self._label(one, item)
        await recount(self.session, self.queue, item, item.votes + 1)
        return "stored"

    async def _skip(self, item: Claimed) -> str | tuple[str, bool]:
        if item.state == "answered":
            return f"{item.item} is answered already: undo that first", False
        assert item.vote_seq is not None
        if item.state == "claimed":
            await queries.set_vote(
                self.session, item.vote_seq, state="skipped", answered_at=self.moment
            )
        return "skipped"

    async def _again(self, one: AnswerIn, item: Claimed) -> str:
        """Take another answer to an item that this person has answered."""
        if item.said == one.label and (item.details or {}).get("comment") == one.comment:
            return "unchanged"
        await self._store(one, item, "answered")
        await self._label(one, item)
        return "replaced"

    async def _store(self, one: AnswerIn, item: Claimed, state: str) -> None:
        assert item.vote_seq is not None
        await queries.set_vote(
            self.session,
            item.vote_seq,
            state=state,
            said=one.label,
            details=_details(one),
            answered_at=self.moment,
        )

    async def _label(self, one: AnswerIn, item: Claimed) -> None:
        assert item.left_is is not None
        details = {
            **_details(one),
            "first_shown": item.left_is,
            "queue": self.queue.id,
            **({"both": True} if one.label == "both" else {}),
            **({"selected": self.queue.purpose} if self.queue.purpose in _STATUSES else {}),
            **({} if item.probability is None else {"label_probability": item.probability}),
        }
        label = NewLabel(
            pair_seq=item.pair_seq,
            annotator=self.annotator,
            label=label_of(one.label, item.left_is),
            criterion=self.queue.options.get("criterion", "overall"),
            details=details,
        )
        await labels.post_labels(self.session, [label], self.moment)


def _details(one: AnswerIn) -> dict[str, Any]:
    return one.model_dump(include={"comment", "seconds"}, exclude_none=True)


def label_of(said: str, left_is: str) -> str:
    """Return the label that an answer is, with the drawn side undone.

    Example:
        >>> label_of("left", "b"), label_of("right", "b"), label_of("both", "b")
        ('b', 'a', 'tie')
    """
    if said in ("tie", "both"):
        return "tie"
    return left_is if said == "left" else _OTHER[left_is]


async def recount(session: AsyncSession, queue: Queue, item: Claimed, votes: int) -> None:
    """Store how many votes an item has, and needs: one more where those there are differ."""
    wanted = queue.votes_per_pair
    if queue.options.get("adjudicate") and votes >= wanted:
        said = [
            label_of(row.said or "", row.left_is)
            for row in await queries.answers_on(session, item.item_seq)
        ]
        wanted += not _has_majority(said[:wanted])
    await queries.set_item(
        session, item.item_seq, votes=votes, wanted=wanted, is_open=votes < wanted
    )


def _has_majority(said: Collection[str]) -> bool:
    most = max((list(said).count(one) for one in set(said)), default=0)
    return 2 * most > len(said)


async def undo(running: Runtime, ref: str, annotator: str, item_id: str) -> ItemBody:
    """Take an answer back; the item is this person's again, and its label goes into history.

    A label that the answer had replaced stands again.

    Raises:
        NotFound: the item is not of this queue, or this person did nothing with it.
    """
    moment = running.now()
    lease_until = moment + timedelta(seconds=running.settings.label_lease_seconds)
    async with running.db.write() as session:
        queue = await require(session, ref)
        found = await queries.items_of(session, queue, [item_id], annotator)
        if item_id not in found or found[item_id].vote_seq is None:
            raise NotFound.field(
                ["item"], f"{shown(annotator)} did nothing with an item {shown(item_id)}"
            )
        known = await queries.datasets_by_seq(session, {found[item_id].dataset_seq})
        await datasets.lock(session, known.values())
        await queries.lock(session, [queue])
        [item] = (await queries.items_of(session, queue, [item_id], annotator)).values()
        if item.state == "answered":
            await _take_label_back(session, queue, item, annotator, moment)
            await queries.set_vote(session, item.vote_seq or 0, state="claimed", said=None)
            await recount(session, queue, item, item.votes - 1)
        await queries.set_vote(
            session,
            item.vote_seq or 0,
            state="claimed",
            said=None,
            details={},
            lease_until=lease_until,
            answered_at=None,
        )
        for dataset in known.values():
            await datasets.refresh_label_counts(session, dataset)
        [body] = await item_bodies(session, [(queue, item)], lease_until, annotator)
    return body


async def _take_label_back(
    session: AsyncSession, queue: Queue, item: Claimed, annotator: str, moment: datetime
) -> None:
    criterion = queue.options.get("criterion", "overall")
    history = await queries.labels_of(session, item.pair_seq, annotator, criterion)
    own = [
        one.seq
        for one in history
        if one.replaced_at is None and one.details.get("queue") == queue.id
    ]
    if not own:
        # the person has said something else since, elsewhere: that stands
        return
    await labels.mark_replaced(session, own, moment)
    before = [
        one
        for one in history
        if one.details.get("queue") != queue.id
        and one.replaced_at is not None
        and item.claimed_at is not None
        and one.replaced_at >= item.claimed_at
    ]
    if before:
        last = before[-1]
        again = NewLabel(last.pair_seq, annotator, last.label, criterion, last.details)
        await labels.insert_labels(session, [again], moment)
