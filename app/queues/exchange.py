"""Queues for people who label in another tool: Label Studio or Argilla.

Exported tasks are blind: they hold texts, the id of the item, and which response was put first, so
that reading the answers undoes it. Nothing in them names a model or a judge.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncSession

from app.bodies.queues import QueueImportBody
from app.core.models import Queue
from app.core.names import shown
from app.core.pools import in_thread
from app.core.runtime import Runtime
from app.formats import argilla, label_studio
from app.formats.base import RowInvalid, read_trimmed_name
from app.formats.columns.verdicts import Heard
from app.formats.joining import first_side, side_read
from app.formats.writing import Given, Loss, Options
from app.imports.body import rows_of
from app.imports.exporting import texts_of
from app.imports.upload import UploadedFile
from app.queues import answering, queries, service
from app.queues.answering import Recount
from app.queues.queries import Claimed
from app.queues.schemas import LONGEST_SECONDS, MOST_ANSWERS, AnswerIn, Tool

_ITEM: Final = "item"
_MOST_REJECTED: Final = 1_000
_MOST_PERSONS: Final = 100


@dataclass(frozen=True, slots=True)
class _Format:
    """What a queue needs of a tool's format."""

    place: str
    """The field of a task that holds what its readers do not see."""
    first_is: str
    """The name in `place` of the response that stands first."""
    matches: Callable[[Mapping[str, Any]], bool]
    prepared: Callable[[Mapping[str, Any], Heard], Sequence[Mapping[str, Any]]]
    convert: Callable[[Mapping[str, Any], int], Mapping[str, Any]]
    rows: Callable[[Given, Options, Loss], Iterator[dict[str, Any]]]
    notes: Callable[[Mapping[str, Any]], Mapping[str, int]]


_FORMATS: Final[Mapping[Tool, _Format]] = {
    "label_studio": _Format(
        place="data",
        first_is=label_studio.LEFT_IS,
        matches=label_studio.matches,
        prepared=label_studio.prepared,
        convert=label_studio.convert,
        rows=label_studio.rows,
        notes=label_studio.notes,
    ),
    "argilla": _Format(
        place="metadata",
        first_is=argilla.RESPONSE1_IS,
        matches=argilla.matches,
        prepared=argilla.prepared,
        convert=argilla.convert,
        rows=argilla.rows,
        notes=lambda task: {},  # counted while a record is prepared
    ),
}


async def export(running: Runtime, ref: str, tool: Tool) -> tuple[str, str]:
    """Return what is left to label as tasks of a tool, and their media type."""
    async with running.pools.exports.turn(), running.db.read() as session:
        queue = await service.require(session, ref)
        items = await queries.items_in_order(session, queue)
        seqs = {row.pair_seq: row.dataset_seq for row in items}
        texts = await service.pairs_by_seq(session, seqs)
    seed = queue.options.get("seed", 0)
    return await in_thread(_written, items, texts, tool, seed), "application/json"


def _written(items: Sequence[Any], texts: Mapping[int, Any], tool: Tool, seed: int) -> str:
    options, loss, form = Options(seed=seed), Loss(), _FORMATS[tool]
    tasks = []
    for row in items:
        pair = {"id": row.id, **texts_of(texts[row.pair_seq]), "human": [], "judges": {}}
        given = Given({**pair, "metadata": {}}, {}, frozenset())
        [task] = form.rows(given, options, loss)
        task[form.place][_ITEM] = row.id
        tasks.append(task)
    return json.dumps(tasks, indent=1) + "\n"


@dataclass(frozen=True, slots=True)
class Vote:
    """One answer of a file; `left_is` is the response that stood first there."""

    line: int
    item: str
    annotator: str
    label: str
    left_is: str
    details: Mapping[str, Any]


@dataclass(slots=True)
class _Read:
    """What a file says: its votes, the rows that cannot be read, and what is told of the rest."""

    by_person: defaultdict[str, list[Vote]]
    notes: Counter[str]
    rejected: list[dict[str, Any]] = field(default_factory=list)
    rejected_count: int = 0

    def reject(self, line: int, reason: str) -> None:
        self.rejected_count += 1
        if len(self.rejected) < _MOST_REJECTED:
            self.rejected.append({"line": line, "reason": reason})

    def warnings(self) -> list[str]:
        told = [f"{n} {what}" for what, n in sorted(self.notes.items())]
        unnamed = self.rejected_count - len(self.rejected)
        more = f"{unnamed} more rows are rejected than are listed" if unnamed else ""
        return [*told, more] if more else told


async def import_answers(running: Runtime, ref: str, file: UploadedFile) -> QueueImportBody:
    """Store the answers of a file; those of items that have their votes are kept beside them.

    Raises:
        BadRequest: the file cannot be read.
        NotFound: the queue is unknown.
    """
    pool = running.pools.imports
    with pool.admitted():
        async with running.db.read() as session:
            queue = await service.require(session, ref)
        read = await pool.run_for_client(_votes, file, queue.options.get("seed", 0))
    counts: Counter[str] = Counter()
    # a file is stored in parts, so that others may write meanwhile: to send it again changes nothing
    for part in _parts(read.by_person):
        async with running.db.write() as session:
            queue = await service.require(session, ref)
            found = await take_votes(session, queue, part, running.now())
        counts.update(found.counts)
        for one in found.rejected:
            read.reject(one["line"], one["reason"])
    rejected = sorted(read.rejected, key=lambda one: one["line"])
    return {
        "stored": counts["stored"],
        "unchanged": counts["unchanged"],
        "replaced": counts["replaced"],
        "spare": counts["spare"],
        "rejected": rejected,  # type: ignore[typeddict-item]
        "warnings": read.warnings(),
    }


@dataclass(slots=True)
class Outcome:
    """What became of votes that were given elsewhere."""

    counts: Counter[str]
    rejected: list[dict[str, Any]]


def _parts(by_person: Mapping[str, Sequence[Vote]]) -> Iterator[dict[str, Sequence[Vote]]]:
    """Yield the votes of all persons by name, about as many at a time as one request brings."""
    part: dict[str, Sequence[Vote]] = {}
    for annotator, votes in sorted(by_person.items()):
        for start in range(0, len(votes), MOST_ANSWERS):
            part[annotator] = votes[start : start + MOST_ANSWERS]
            if sum(map(len, part.values())) >= MOST_ANSWERS or len(part) >= _MOST_PERSONS:
                yield part
                part = {}
    if part:
        yield part


async def take_votes(
    session: AsyncSession, queue: Queue, by_person: Mapping[str, Sequence[Vote]], moment: datetime
) -> Outcome:
    """Store the answers of some persons, as if each item had been claimed as it stood elsewhere."""
    outcome, recount = Outcome(Counter(), []), Recount()
    for annotator, votes in sorted(by_person.items()):
        recount.include(await _take_one(session, queue, annotator, votes, (moment, outcome)))
    await recount.store(session)
    return outcome


async def _take_one(
    session: AsyncSession,
    queue: Queue,
    annotator: str,
    votes: Sequence[Vote],
    noted: tuple[datetime, Outcome],
) -> Recount:
    """Store the answers of one person, and note what became of them."""
    moment, outcome = noted
    known = await queries.items_of(session, queue, [vote.item for vote in votes], annotator)
    answers, lines = [], []
    for vote in votes:
        item = known.get(vote.item)
        if item is None:
            why = f"the queue has no item {shown(vote.item)}"
            outcome.rejected.append({"line": vote.line, "reason": why})
            continue
        left_is = await _held(session, item, vote, moment)
        answers.append(_answer(vote, left_is, has_ties=queue.options.get("allow_tie", True)))
        lines.append(vote.line)
    if not answers:
        return Recount()
    taken = await answering.take(session, queue, annotator, answers, moment)
    outcome.counts.update(done["status"] for done in taken.answers)
    for one in taken.refused:
        outcome.counts["spare"] += one.is_kept
        if not one.is_kept:
            outcome.rejected.append({"line": lines[one.index], "reason": one.why})
    return taken.recount


async def _held(session: AsyncSession, item: Claimed, vote: Vote, moment: datetime) -> str:
    """Note what stood on the left in the tool; return what the answer is to be told by."""
    if item.vote_seq is None:
        await queries.add_vote(
            session,
            item_seq=item.item_seq,
            annotator=vote.annotator,
            left_is=vote.left_is,
            state="claimed",
            said=None,
            details={},
            claimed_at=moment,
            lease_until=moment,
            answered_at=None,
        )
        return vote.left_is
    if item.state == "claimed":
        await queries.set_vote(session, item.vote_seq, left_is=vote.left_is)
        return vote.left_is
    return item.left_is or vote.left_is


def _answer(vote: Vote, left_is: str, *, has_ties: bool) -> AnswerIn:
    said: Any = "left" if vote.label == left_is else "right"
    if vote.label == "tie":
        # a tie that the queue does not take is a skip, as it would be here
        said = "tie" if has_ties else "skip"
    details = {name: vote.details[name] for name in ("comment",) if vote.details.get(name)}
    seconds = vote.details.get("lead_time")
    # a number that is no time is left out: the answer counts all the same
    if isinstance(seconds, int | float) and 0 <= seconds <= LONGEST_SECONDS:
        details["seconds"] = float(seconds)
    return AnswerIn(item=vote.item, label=said, **details)


def _votes(file: UploadedFile, seed: int) -> _Read:
    heard = Heard()
    read = _Read(defaultdict(list), heard.notes)
    for row in rows_of([file]):
        try:
            if row.reason is not None:
                raise RowInvalid(row.reason)
            for vote in _votes_of(row.line, row.value, seed, heard):
                read.by_person[vote.annotator].append(vote)
        except (RowInvalid, ValueError, ValidationError) as error:
            read.reject(row.line, str(error))
    return read


def _votes_of(line: int, row: Any, seed: int, heard: Heard) -> Iterator[Vote]:
    if not isinstance(row, dict):
        raise RowInvalid("is no object")
    form = next((one for one in _FORMATS.values() if one.matches(row)), None)
    if form is None:
        raise RowInvalid("is neither a task of Label Studio nor a record of Argilla")
    heard.line = line
    item = _item_of(row, form.place)
    for one in form.prepared(row, heard):
        # a tool may drop the field; the side follows from seed and item
        fields = {form.first_is: first_side(seed, item), **one[form.place]}
        first, task = side_read(fields, form.first_is), {**one, form.place: fields}
        heard.notes.update(form.notes(task))
        for vote in form.convert(task, line)["human"]:
            if vote.get("annotator") is None:
                raise RowInvalid("an answer names no annotator")
            who = read_trimmed_name(str(vote["annotator"]))
            yield Vote(line, item, who, vote["label"], first, vote)


def _item_of(row: Mapping[str, Any], place: str) -> str:
    for fields in (row.get(place), row):
        if isinstance(fields, dict) and isinstance(fields.get(_ITEM), str):
            return str(fields[_ITEM])
    raise RowInvalid(f"{place}.{_ITEM}: names no item of a queue; was the task exported from one?")
