"""Takes the answers of people, which become labels of the dataset, and takes them back.

An answer that comes late counts as long as its pair lacks votes, and is kept beside them (`spare`)
if not. Each of these is one transaction that has locked the queue, so that no pair gets too many
votes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from app.bodies.queues import AnsweredBody, ItemBody
from app.core.errors import Conflict, NotFound, Unprocessable
from app.core.models import Dataset, Queue
from app.core.names import shown
from app.core.runtime import Runtime
from app.datasets import service as datasets
from app.labels import service as labels
from app.labels.service import NewLabel
from app.queues import queries
from app.queues.queries import Claimed
from app.queues.schemas import AnswerIn
from app.queues.service import OTHER_SIDE, SIDES, STATUSES, item_bodies, require


@dataclass(frozen=True, slots=True)
class Refused:
    """An answer that could not count, and why; `is_kept`: it is stored beside the votes."""

    index: int
    item: str
    why: str
    is_kept: bool


@dataclass(slots=True)
class Recount:
    """How many labels more some datasets have, by number; None: they are to be counted again."""

    of: dict[int, tuple[Dataset, int | None]] = field(default_factory=dict)

    def add(self, dataset: Dataset, more: int | None) -> None:
        """Note further labels."""
        before = self.of[dataset.seq][1] if dataset.seq in self.of else 0
        known = None if before is None or more is None else before + more
        self.of[dataset.seq] = (dataset, known)

    def include(self, other: Recount) -> None:
        """Note what another one has."""
        for dataset, more in other.of.values():
            self.add(dataset, more)

    async def store(self, session: AsyncSession) -> None:
        """Bring the counts of the datasets up to date."""
        for dataset, more in self.of.values():
            await datasets.count_labels(session, dataset, more)


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of the answers of one person."""

    answers: list[AnsweredBody]
    refused: list[Refused]
    recount: Recount


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
        await taken.recount.store(session)
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
    """Store answers inside a transaction; those that cannot count are returned with the reason.

    The caller counts the labels of the datasets with `Recount`, once for all persons.
    """
    ids = [one.item for one in answers]
    items = await queries.items_of(session, queue, ids, annotator)
    _check(queue, answers, items)
    known = await queries.datasets_by_seq(session, {one.dataset_seq for one in items.values()})
    await datasets.lock(session, known.values())
    await queries.lock(session, [queue])
    answering = _Answering(session, queue, annotator, moment)
    heard = await queries.answered_datasets(session, queue, annotator)
    done: list[AnsweredBody] = []
    refused: list[Refused] = []
    for index, one in enumerate(answers):
        # read again: an earlier answer of this request, or another transaction, may have changed it
        [item] = (await queries.items_of(session, queue, [one.item], annotator)).values()
        found = await answering.take(one, item)
        if isinstance(found, str):
            done.append({"item": one.item, "status": found})  # type: ignore[typeddict-item]
        else:
            refused.append(Refused(index, one.item, *found))
    await _ask_for_comments(session, queue, annotator, done)
    recount = Recount()
    for seq, more in answering.more_labels.items():
        recount.add(known[seq], more if seq in heard else None)
    return Taken(done, refused, recount)


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
        if one.said in SIDES
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
    """Takes the answers of one person in a transaction that has locked the queue.

    `more_labels` says how many labels each dataset, by number, has more now.
    """

    session: AsyncSession
    queue: Queue
    annotator: str
    moment: datetime
    more_labels: Counter[int] = field(default_factory=Counter)

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
        adjudicates = item.votes >= self.queue.votes_per_pair
        await self._label(one, item, adjudicates=adjudicates)
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
        criterion = self.queue.options.get("criterion", "overall")
        own = await self._own_details(item, criterion)
        await self._label(one, item, adjudicates="adjudicates" in own)
        return "replaced"

    async def _own_details(self, item: Claimed, criterion: str) -> Mapping[str, Any]:
        """Return what stands beside the last label that this person gave in this queue."""
        place = (self.session, item.pair_seq, self.annotator, criterion)
        last = await queries.newest_label_of(*place)
        if last is not None and last.details.get("queue") == self.queue.id:
            return last.details
        given = [one.details for one in await queries.labels_of(*place)]
        return next((one for one in given[::-1] if one.get("queue") == self.queue.id), {})

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

    async def _label(self, one: AnswerIn, item: Claimed, *, adjudicates: bool) -> None:
        assert item.left_is is not None
        details = {
            **_details(one),
            "first_shown": item.left_is,
            "queue": self.queue.id,
            **({"both": True} if one.label == "both" else {}),
            **({"adjudicates": True} if adjudicates else {}),
            **({"selected": self.queue.purpose} if self.queue.purpose in STATUSES else {}),
            **({} if item.probability is None else {"label_probability": item.probability}),
        }
        label = NewLabel(
            pair_seq=item.pair_seq,
            annotator=self.annotator,
            label=label_of(one.label, item.left_is),
            criterion=self.queue.options.get("criterion", "overall"),
            details=details,
        )
        changes = await labels.post_labels(self.session, [label], self.moment)
        self.more_labels[item.dataset_seq] += changes.stored - changes.replaced


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
    return left_is if said == "left" else OTHER_SIDE[left_is]


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
    # an answer that was undone in its own queue does not come back
    if before and await queries.stands(session, before[-1]):
        last = before[-1]
        again = NewLabel(last.pair_seq, annotator, last.label, criterion, last.details)
        await labels.insert_labels(session, [again], moment)
