"""Decides which labels are a random sample of a dataset's pairs, so that they can carry a promise.

Whoever chooses the pairs chooses what the labels say of all others. Pairs that were labelled because
of what judges said of them, and votes that were asked for because people disagree, are left out here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncSession

from app.calibrations import queries
from app.calibrations.schemas import CalibrationIn
from app.core.errors import Unprocessable
from app.core.models import Dataset
from app.core.names import shown
from app.datasets import service as datasets
from app.datasets.records import PairKey, Vote, vote_from_row
from app.datasets.splits import group_number

Votes = dict[int, list[Vote]]
Replaced = Mapping[tuple[int, str], Sequence[Mapping[str, Any]]]
PROBABILITY: Final = "label_probability"
SELECTED: Final = "selected"
ADJUDICATES: Final = "adjudicates"
_OF_A_DRAW: Final = ("queue", PROBABILITY, SELECTED, ADJUDICATES)


async def labels_that_count(
    session: AsyncSession, request: CalibrationIn, dataset: Dataset, keys: Sequence[PairKey]
) -> tuple[Sequence[PairKey], Votes]:
    """Return the pairs and votes that a request may certify on; for `sequential` in their order.

    Args:
        session: A transaction.
        request: What is certified.
        dataset: Whose labels.
        keys: The pairs that may be labelled.

    Raises:
        Unprocessable: the labels are no sample of the pairs: nobody knows how probable each was, they
            came in the order of a list, or contested pairs wait for votes.
    """
    queues = await _queues_named(session, request, dataset)
    if request.method == "sequential":
        keys, votes = await in_order_of_labels(session, dataset, keys, queues)
        refuse_given_order(
            votes.values(), await queries.queues_in_given_order(session, dataset.seq)
        )
    else:
        votes = await drawn_votes(session, dataset, await datasets.votes(session, dataset), queues)
    if request.label_rule == "random_annotator":
        votes = without_adjudication(votes, await queries.adjudicated(session, dataset.seq))
    elif request.label_rule == "majority" and request.method != "sequential":
        waiting = await queries.waiting_for_votes(session, dataset.seq)
        refuse_waiting({key.seq: votes[key.seq] for key in keys if key.seq in votes}, waiting)
    refuse_mixed_draws(votes.values(), await queries.queues_of_named_pairs(session, dataset.seq))
    drawing = {
        str(one.details.get("queue")) for one, *_ in votes.values() if PROBABILITY in one.details
    }
    if drawing:
        refuse_labels_since_a_draw(votes, await queries.labelled_since(session, drawing))
    return keys, votes


async def drawn_votes(
    session: AsyncSession, dataset: Dataset, votes: Votes, queues: Collection[str] | None = None
) -> Votes:
    """Return the votes on pairs that were drawn to be labelled, people in the order of their first.

    `fairly_drawn` says which ones.
    """
    replaced: dict[tuple[int, str], list[Mapping[str, Any]]] = {}
    people: dict[int, list[str | None]] = {}
    for row in await queries.labels_of_corrected(session, dataset.seq):
        people.setdefault(row.pair_seq, []).append(row.annotator)
        if row.replaced_at is not None and row.annotator is not None:
            replaced.setdefault((row.pair_seq, row.annotator), []).append(row.details)
    placed = {seq: in_first_places(votes[seq], who) for seq, who in people.items() if seq in votes}
    return fairly_drawn({**votes, **placed}, replaced, queues)


def in_first_places(votes: Sequence[Vote], people: Sequence[str | None]) -> list[Vote]:
    """Return the votes on a pair in the order in which people first voted.

    A correction is stored last: in the order of what is current its person would lose the place.

    Args:
        votes: The current ones.
        people: Who gave each label on the pair, replaced ones included, in the order they came. An
            unknown person replaces nothing.

    Example:
        >>> said = [Vote("bob", "a", {}), Vote("ann", "b", {})]
        >>> [vote.annotator for vote in in_first_places(said, ["ann", "bob", "ann"])]
        ['ann', 'bob']
    """
    own: dict[str | None, list[Vote]] = {}
    for vote in votes:
        own.setdefault(vote.annotator, []).append(vote)
    placed: list[Vote] = []
    for who in people:
        placed += own.pop(who, []) if who is not None else own.get(None, [])[:1]
        own[None] = own.get(None, [])[who is None :]
    return placed + [vote for left in own.values() for vote in left]


def fairly_drawn(votes: Votes, replaced: Replaced, queues: Collection[str] | None = None) -> Votes:
    """Leave out votes on pairs that were chosen, and not drawn, to be labelled.

    Pairs of audits and those that were abstained on are chosen by their verdicts: they are no sample
    of the pairs, however they were drawn among those verdicts. What a person said first decides: a
    second answer of the same person, in an audit or to correct the first, takes no pair out of the
    sample, adds none to it, and keeps the probability with which the pair was drawn.

    Args:
        votes: By pair.
        replaced: What the labels that were replaced since say besides, by pair and annotator.
        queues: Only labels that these queues asked for; None for all.
    """
    kept: dict[int, list[Vote]] = {}
    for seq, said in votes.items():
        for vote in said:
            before = () if vote.annotator is None else replaced.get((seq, vote.annotator), ())
            origin = _fair_draw([*before, vote.details], queues)
            if origin is not None:
                kept.setdefault(seq, []).append(_drawn_as(vote, origin))
    return kept


def _fair_draw(
    said: Sequence[Mapping[str, Any]], queues: Collection[str] | None
) -> Mapping[str, Any] | None:
    """Return the first of one person's labels on a pair that was asked for fairly; None if none was.

    A label that no queue asked for corrects the one before it.
    """
    for place, details in enumerate(said):
        if _is_fair(details, queues, is_first=place == 0):
            return details
    return None


def _is_fair(details: Mapping[str, Any], queues: Collection[str] | None, *, is_first: bool) -> bool:
    is_asked_for = is_first or "queue" in details
    is_of_queues = queues is None or details.get("queue") in queues
    return is_asked_for and is_of_queues and SELECTED not in details


def _drawn_as(vote: Vote, origin: Mapping[str, Any]) -> Vote:
    """Return a vote that says how its pair was drawn for the label that it took the place of."""
    own = {name: value for name, value in vote.details.items() if name not in _OF_A_DRAW}
    details = {**own, **{name: origin[name] for name in _OF_A_DRAW if name in origin}}
    return vote if details == vote.details else replace(vote, details=details)


async def in_order_of_labels(
    session: AsyncSession,
    dataset: Dataset,
    keys: Sequence[PairKey],
    queues: Collection[str] | None,
) -> tuple[list[PairKey], dict[int, list[Vote]]]:
    """Return labelled pairs in the order in which they were first labelled, with those first votes.

    Labels on pairs that were chosen by their verdicts do not count: the pair's place is that of the
    first one that was drawn, so that no pair leaves because of what judges said of it.

    A test that is repeated while labels arrive must find every pair in its old place, with the votes
    that it read before: later votes neither move a pair nor change its label. Pairs that were
    labelled at the same moment are ordered by a hash of their group, never by their place in a
    file, which may be sorted by anything.
    """
    moments: dict[int, datetime] = {}
    votes: dict[int, list[Vote]] = {}
    begun: dict[tuple[int, str], datetime] = {}
    for row in await queries.labels_ever(session, dataset.seq):
        moment, who = row.created_at, row.annotator
        is_first = who is None or begun.setdefault((row.pair_seq, who), moment) == moment
        if _is_fair(row.details, queues, is_first=is_first) and (
            moments.setdefault(row.pair_seq, moment) == moment
        ):
            votes.setdefault(row.pair_seq, []).append(vote_from_row(row))
    labelled = [key for key in keys if key.seq in moments]

    def place(key: PairKey) -> tuple[datetime, float, float]:
        of_pair = group_number(0, f"{key.group}\n{key.id}")
        return moments[key.seq], group_number(0, key.group), of_pair

    return sorted(labelled, key=place), votes


def without_adjudication(votes: Votes, asked_of_all: Mapping[str, int]) -> Votes:
    """Leave out votes that were asked for because the votes before differ.

    Among the votes of all pairs they favour the side of most people, so that one annotator drawn from
    them agrees with it more often than one drawn from people.

    Args:
        votes: By pair, in the order they came.
        asked_of_all: Votes on every pair before others are asked for, by queue.
    """
    kept: Votes = {}
    for seq, said in votes.items():
        of_queue: Counter[object] = Counter()
        for vote in said:
            queue = vote.details.get("queue")
            of_queue[queue] += 1
            most = asked_of_all.get(str(queue), of_queue[queue])
            if ADJUDICATES not in vote.details and of_queue[queue] <= most:
                kept.setdefault(seq, []).append(vote)
    return kept


async def _queues_named(
    session: AsyncSession, request: CalibrationIn, dataset: Dataset
) -> Collection[str] | None:
    """Return the ids of the queues whose labels a request names; None where it names none."""
    if request.queues is None:
        return None
    queues = await queries.queue_ids(session, dataset.seq, request.queues)
    if unknown := [one for one in request.queues if one not in queues]:
        raise Unprocessable.field(["queues"], f"the dataset has no queue {shown(unknown[0])}")
    return set(queues.values())


async def drawing_queues(session: AsyncSession, dataset: Dataset) -> list[str]:
    """Return the ids of the queues of a dataset whose pairs were drawn uniformly from all."""
    return await queries.drawing_queues(session, dataset.seq)


def refuse_mixed_draws(votes: Iterable[Sequence[Vote]], named: Collection[str]) -> None:
    """Refuse labels of several queues of which one draws pairs with probabilities of their own.

    A later queue draws among what an earlier one left, so that the probability of a label in all of
    them together is none that it carries. Queues of `named` pairs are left alone: whoever names
    pairs can keep them apart.
    """
    by_queue: dict[object, bool] = {}
    for said in votes:
        for vote in said:
            queue = vote.details.get("queue")
            if queue is not None and queue not in named:
                by_queue[queue] = by_queue.get(queue, False) or PROBABILITY in vote.details
    if len(by_queue) > 1 and any(by_queue.values()):
        raise Unprocessable.field(
            ["queues"],
            f"{len(by_queue)} queues asked for these labels, and at least one draws some pairs rather "
            "than others: how probable a pair was in all of them is not known. Name one of them",
        )


def refuse_labels_since_a_draw(votes: Mapping[int, Sequence[Vote]], since: Collection[int]) -> None:
    """Refuse labels that no queue asked for beside those of a queue with probabilities of its own.

    Pairs that had a label before the queue drew were not among those that it could draw. Labels on
    others, given since, make pairs more probable than the queue says.

    Args:
        votes: By pair.
        since: Pairs that were first labelled after the queue was made.
    """
    others = [seq for seq in since if seq in votes and "queue" not in votes[seq][0].details]
    if others:
        raise Unprocessable.field(
            ["queues"],
            f"a queue draws some pairs rather than others, and {len(others)} pairs that it could have "
            "drawn were labelled otherwise since: how probable each pair was is not known. Name the "
            "queue",
        )


def refuse_given_order(votes: Iterable[Sequence[Vote]], in_order: Mapping[str, str]) -> None:
    """Refuse labels that came in an order which was not drawn, for a test that reads them in turn.

    Args:
        votes: Of each pair.
        in_order: The names of queues that serve pairs as somebody named them, by id.
    """
    asked_by = {str(vote.details.get("queue")) for said in votes for vote in said}
    names = [name for queue, name in in_order.items() if queue in asked_by]
    if names:
        raise Unprocessable.field(
            ["method"],
            f"sequential reads pairs in the order of their labels, which has to be drawn, and queue "
            f"{shown(names[0])} follows a list. Name other queues, or take another method",
        )


def refuse_waiting(votes: Mapping[int, Sequence[Vote]], waiting: Mapping[int, str]) -> None:
    """Refuse labels of which some have no majority yet, while a queue asks for more votes on them.

    Such pairs would be left out because people differ on them. They are the hard ones, and count as
    soon as the last vote is there.

    Args:
        votes: By pair.
        waiting: By pair that waits for votes, the name of the queue.
    """
    undecided = [seq for seq in waiting if seq in votes and not _has_majority(votes[seq])]
    if undecided:
        raise Unprocessable.field(
            ["label_rule"],
            f"{len(undecided)} pairs have no majority yet, and queue {shown(waiting[undecided[0]])} "
            "waits for more votes on them: without them the labels would be those of easier pairs. "
            "Let people label them first, or take the label rule random_annotator or panel",
        )


def _has_majority(votes: Sequence[Vote]) -> bool:
    counts = [n for _, n in Counter(vote.label for vote in votes).most_common(2)]
    return len(counts) == 1 or counts[0] > counts[1]


def with_probability(key: PairKey, votes: Sequence[Vote]) -> PairKey:
    """Return a pair with the probability with which a queue drew it, unless it says its own.

    The first vote decides: a pair that had a label before was in the sample already.
    """
    drawn = votes[0].details.get(PROBABILITY)
    if drawn is None or PROBABILITY in key.metadata:
        return key
    return key._replace(metadata={**key.metadata, PROBABILITY: drawn})
