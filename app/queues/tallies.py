"""The votes of queues, counted by the database.

A list of queues shows how people agree, and a queue may have very many votes. So votes are counted
where they lie: the rows read are as many as people times ways in which a pair can be voted on.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sqlalchemy import (
    ColumnElement,
    Float,
    Row,
    Select,
    Subquery,
    and_,
    case,
    cast,
    func,
    literal_column,
    or_,
    select,
)
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.models import Queue, QueueItem, QueueVote
from app.queues.schemas import LONGEST_SECONDS
from calibration.agreement import AnnotatorTally, agrees_with_others
from calibration.arrays import IntArray

# the label that an answer is, with the drawn side undone; see `label_of`
_LABEL: ColumnElement[int] = case(
    (QueueVote.said.in_(("tie", "both")), 2),
    (
        or_(
            and_(QueueVote.said == "left", QueueVote.left_is == "a"),
            and_(QueueVote.said == "right", QueueVote.left_is == "b"),
        ),
        0,
    ),
    else_=1,
)
_SIDE: ColumnElement[int] = case(
    (QueueVote.said == "left", 1), (QueueVote.said == "right", 0), else_=-1
)
_TENTHS = 10


@dataclass(slots=True)
class QueueTally:
    """What is counted of the votes of one queue.

    Attributes:
        answered: Votes that count.
        spare: Answers that came too late to count.
        skipped: How often each person skipped a pair, for everybody who did anything.
        people: What is counted of those who answered.
        ways: Votes for a, b and a tie of each way in which pairs were voted on, shape (ways, 3).
        pairs: How many pairs were voted on in each way.
    """

    answered: int = 0
    spare: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    people: dict[str, AnnotatorTally] = field(default_factory=dict)
    ways: IntArray = field(default_factory=lambda: np.zeros((0, 3), np.int64))
    pairs: IntArray = field(default_factory=lambda: np.zeros(0, np.int64))


async def tallies(session: AsyncSession, queues: Collection[Queue]) -> dict[int, QueueTally]:
    """Return what is counted of the votes of queues, by number, in four statements for all."""
    numbers = [one.seq for one in queues]
    found = {number: QueueTally() for number in numbers}
    for number, annotator, state, count in await session.execute(_by_state(numbers)):
        one = found[number]
        one.answered += count if state == "answered" else 0
        one.spare += count if state == "spare" else 0
        one.skipped.setdefault(annotator, 0)
        one.skipped[annotator] += count if state == "skipped" else 0
    pairs = _pairs(numbers)
    for number, rows in _grouped(await session.execute(_by_way(pairs))).items():
        table = np.array([tuple(row)[1:] for row in rows], dtype=np.int64)
        found[number].ways, found[number].pairs = table[:, :3], table[:, 3]
    times = await session.execute(_by_time(numbers, is_sqlite=_is_sqlite(session)))
    seconds: dict[tuple[int, str], list[tuple[float, int]]] = defaultdict(list)
    for number, annotator, tenths, count in times:
        seconds[number, annotator].append((tenths / _TENTHS, count))
    for number, rows in _grouped(await session.execute(_by_vote(pairs))).items():
        found[number].people = _people(rows, number, seconds)
    return found


def _is_sqlite(session: AsyncSession) -> bool:
    return session.get_bind().dialect.name == "sqlite"


def _grouped(rows: Any) -> dict[int, list[Row[Any]]]:
    found: defaultdict[int, list[Row[Any]]] = defaultdict(list)
    for row in rows:
        found[row[0]].append(row)
    return found


def _by_state(numbers: Sequence[int]) -> Select[Any]:
    columns: tuple[ColumnElement[Any], ...] = (
        QueueItem.__table__.c.queue_seq,
        QueueVote.__table__.c.annotator,
        QueueVote.__table__.c.state,
    )
    return (
        select(*columns, func.count())
        .join(QueueItem, QueueItem.seq == QueueVote.item_seq)
        .where(QueueItem.queue_seq.in_(numbers), QueueVote.state != "claimed")
        .group_by(*columns)
    )


def _pairs(numbers: Sequence[int]) -> Subquery:
    """Return the query of the pairs with a vote, and the votes that they have for each label."""
    votes = [
        func.sum(case((_LABEL.in_([code]), 1), else_=0)).label(name)
        for code, name in enumerate(("a", "b", "tie"))
    ]
    return (
        select(QueueItem.queue_seq, QueueVote.item_seq, *votes)
        .join(QueueItem, QueueItem.seq == QueueVote.item_seq)
        .where(QueueItem.queue_seq.in_(numbers), QueueVote.state == "answered")
        .group_by(QueueItem.queue_seq, QueueVote.item_seq)
        .subquery()
    )


def _by_way(pairs: Subquery) -> Select[Any]:
    columns = (pairs.c.queue_seq, pairs.c.a, pairs.c.b, pairs.c.tie)
    return select(*columns, func.count()).group_by(*columns).order_by(*columns)


def _by_vote(pairs: Subquery) -> Select[Any]:
    each = (
        select(
            pairs.c.queue_seq,
            QueueVote.annotator,
            _LABEL.label("label"),
            _SIDE.label("side"),
            pairs.c.a,
            pairs.c.b,
            pairs.c.tie,
        )
        .join(pairs, pairs.c.item_seq == QueueVote.item_seq)
        .where(QueueVote.state == "answered")
        .subquery()
    )
    return select(*each.c, func.count()).group_by(*each.c)


def _by_time(numbers: Sequence[int], *, is_sqlite: bool) -> Select[Any]:
    """Return the query of the times of votes, to a tenth of a second."""
    seconds: ColumnElement[Any]
    if is_sqlite:
        seconds = func.json_extract(QueueVote.details, "$.seconds")
    else:
        # PostgreSQL reads no JSON whose texts hold NUL; within a text the quotes have backslashes
        pattern: ColumnElement[str] = literal_column("'\"seconds\": ?([-+.0-9eE]+)'")
        seconds = cast(func.substring(QueueVote.details, pattern), Float)
    # what was stored before there was a limit would overflow
    told = case((seconds > LONGEST_SECONDS, LONGEST_SECONDS), else_=seconds)
    tenths = func.round(told * _TENTHS).label("tenths")
    each = (
        select(QueueItem.queue_seq, QueueVote.annotator, tenths)
        .join(QueueItem, QueueItem.seq == QueueVote.item_seq)
        .where(
            QueueItem.queue_seq.in_(numbers), QueueVote.state == "answered", seconds.is_not(None)
        )
        .subquery()
    )
    return select(*each.c, func.count()).group_by(*each.c).order_by(*each.c)


def _people(
    rows: Sequence[Row[Any]], number: int, seconds: dict[tuple[int, str], list[tuple[float, int]]]
) -> dict[str, AnnotatorTally]:
    """Return what is counted of each person, by rows of votes that are alike."""
    said, side = (np.array([tuple(row)[at] for row in rows], dtype=np.int64) for at in (2, 3))
    counts = np.array([tuple(row)[4:7] for row in rows], dtype=np.int64)
    votes = np.array([tuple(row)[7] for row in rows], dtype=np.int64)
    agrees, compared = agrees_with_others(counts, said)
    places: defaultdict[str, list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        places[tuple(row)[1]].append(place)
    people = {}
    for name, own in places.items():
        timed = np.array(seconds.get((number, name), ()), dtype=np.float64).reshape(-1, 2)
        people[name] = AnnotatorTally(
            votes=int(votes[own].sum()),
            compared=int((votes * compared)[own].sum()),
            agreeing=int((votes * (compared & agrees))[own].sum()),
            sided=int((votes * (side >= 0))[own].sum()),
            left=int((votes * (side == 1))[own].sum()),
            seconds=timed[:, 0],
            timed=timed[:, 1].astype(np.int64),
        )
    return people
