"""Stores labels: which one replaces which; the SQL of labels is here too.

A person's label replaces that person's earlier one on the same pair and criterion. A label without
an annotator replaces nothing and nothing replaces it: it may be any person's.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Row, String, Text, column, select, table, update
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.bulk import insert_rows
from app.core.db import UtcTime
from app.core.lists import Paging, length_of, rows_within
from app.core.models import Dataset, Label, PairRow
from app.core.pools import beside_if_many

IN_CHUNK = 500
# JSON that is text already stays text
_LABELS = table(
    "labels",
    column("pair_seq", BigInteger),
    *(column(name, String) for name in ("annotator", "label", "criterion")),
    column("details", Text),
    *(column(name, UtcTime) for name in ("created_at", "replaced_at")),
)


async def current_on(session: AsyncSession, pair_seqs: Sequence[int]) -> list[Row[Any]]:
    """Return the current labels on these pairs, in the order they came."""
    rows: list[Row[Any]] = []
    for start in range(0, len(pair_seqs), IN_CHUNK):
        query = (
            select(
                Label.seq,
                Label.pair_seq,
                Label.annotator,
                Label.label,
                Label.criterion,
                Label.details,
            )
            .where(
                Label.pair_seq.in_(pair_seqs[start : start + IN_CHUNK]),
                Label.replaced_at.is_(None),
            )
            .order_by(Label.seq)
        )
        rows += (await session.execute(query)).all()
    return rows


async def pair_ids(session: AsyncSession, pair_seqs: Sequence[int]) -> dict[int, str]:
    """Return the ids of a few pairs."""
    query = select(PairRow.seq, PairRow.id).where(PairRow.seq.in_(pair_seqs))
    return {row.seq: row.id for row in await session.execute(query)}


async def insert_label_rows(session: AsyncSession, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert labels."""
    await insert_rows(session, _LABELS, await beside_if_many(len(rows), _as_texts, rows))


def _as_texts(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [{**row, "details": json.dumps(row["details"], separators=(",", ":"))} for row in rows]


async def mark_replaced(session: AsyncSession, seqs: Sequence[int], moment: datetime) -> None:
    """Move labels into history."""
    for start in range(0, len(seqs), IN_CHUNK):
        await session.execute(
            update(Label)
            .where(Label.seq.in_(seqs[start : start + IN_CHUNK]))
            .values(replaced_at=moment)
            .execution_options(synchronize_session=False)
        )


async def page_rows(
    session: AsyncSession,
    *,
    dataset_seq: int | None,
    paging: Paging,
    after: int | None,
    with_history: bool,
) -> Sequence[Row[Label, str, str]]:
    """Return the labels of a page, and one more, with the ids of their pair and dataset."""
    query = (
        select(Label, PairRow.id.label("pair"), Dataset.id.label("dataset"))
        .join(PairRow, PairRow.seq == Label.pair_seq)
        .join(Dataset, Dataset.seq == PairRow.dataset_seq)
    )
    if dataset_seq is not None:
        query = query.where(PairRow.dataset_seq == dataset_seq)
    if not with_history:
        query = query.where(Label.replaced_at.is_(None))
    page = paging.of(query, Label.seq, after)
    return await rows_within(session, page, [length_of(Label.details)], paging.most_bytes)


_Answers = tuple[int, str | None, str]


@dataclass(frozen=True, slots=True)
class NewLabel:
    """A label to store on a pair.

    `is_turned`: who said it saw the two responses the other way round; the label is of the pair.
    """

    pair_seq: int
    annotator: str | None
    label: str
    criterion: str
    details: Mapping[str, Any] = field(default_factory=dict)
    is_turned: bool = False

    @property
    def answers(self) -> _Answers:
        """Return the question that it answers: pair, criterion and annotator."""
        return (self.pair_seq, self.annotator, self.criterion)

    @property
    def said(self) -> str:
        """Return its answer, for comparison with other labels of the same person."""
        return f"{self.label} {json.dumps(self.details, sort_keys=True)}"


@dataclass(frozen=True, slots=True)
class _Standing:
    """A current label: stored already (`seq`), or about to be (`row`)."""

    said: str
    seq: int | None = None
    row: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LabelChanges:
    """The fate of new labels: stored, moved into history, or already there.

    `contradicted` counts pairs on which one person says two things at once; the last one counts.
    """

    stored: int
    replaced: int
    unchanged: int
    contradicted: int = 0


def contradicted(labels: Sequence[NewLabel]) -> int:
    """Return how many pairs have labels of one person that differ."""
    said: defaultdict[_Answers, set[str]] = defaultdict(set)
    for label in labels:
        if label.annotator is not None:
            said[label.answers].add(label.label)
    return sum(len(labels) > 1 for labels in said.values())


async def insert_labels(
    session: AsyncSession, labels: Sequence[NewLabel], moment: datetime
) -> None:
    """Store labels on pairs that have none yet."""
    await insert_label_rows(session, [_values(label, moment) for label in labels])


async def import_labels(
    session: AsyncSession, labels: Sequence[NewLabel], moment: datetime
) -> LabelChanges:
    """Store the labels of an import; votes that are stored already stay untouched.

    All votes of one person on one pair belong together: where the import says the same, nothing
    changes; where it says anything else, its votes replace the earlier ones. Of unknown persons
    only further votes are added.
    """
    current = await _current(session, {label.pair_seq for label in labels})
    incoming: defaultdict[_Answers, list[NewLabel]] = defaultdict(list)
    for label in labels:
        incoming[label.answers].append(label)
    fresh: list[NewLabel] = []
    outdated: list[int] = []
    for answers, new in incoming.items():
        old = current[answers]
        if answers[1] is None:
            fresh += _further(new, old)
        elif sorted(label.said for label in new) != sorted(label.said for _, label in old):
            fresh += new
            outdated += [seq for seq, _ in old]
    await mark_replaced(session, outdated, moment)
    await insert_labels(session, fresh, moment)
    return LabelChanges(len(fresh), len(outdated), len(labels) - len(fresh))


async def post_labels(
    session: AsyncSession, labels: Sequence[NewLabel], moment: datetime
) -> LabelChanges:
    """Store labels in the order given; each replaces what its annotator said before.

    A label that repeats what its annotator says already changes nothing, nor do labels of one
    annotator on one pair of which the last stands already: posted again, they change nothing.
    """
    current = await _current(session, {label.pair_seq for label in labels})
    posted = await beside_if_many(len(labels), _posted, labels, current, moment)
    stored = [each.seq for each in posted.outdated if each.seq is not None]
    await mark_replaced(session, stored, moment)
    await insert_label_rows(session, posted.rows)
    stored_count, outdated_count = len(posted.rows), len(posted.outdated)
    unchanged = len(labels) - stored_count
    return LabelChanges(stored_count, outdated_count, unchanged, posted.contradicted)


@dataclass(frozen=True, slots=True)
class _Posted:
    """What posted labels make of those that stand: rows to store, and what goes into history."""

    rows: list[dict[str, Any]]
    outdated: list[_Standing]
    contradicted: int


def _posted(
    labels: Sequence[NewLabel],
    current: Mapping[_Answers, Sequence[tuple[int, NewLabel]]],
    moment: datetime,
) -> _Posted:
    sayings: defaultdict[_Answers, list[NewLabel]] = defaultdict(list)
    for label in labels:
        if label.annotator is not None:
            sayings[label.answers].append(label)
    standing: defaultdict[_Answers, list[_Standing]] = defaultdict(list)
    for answers, known in current.items():
        standing[answers] = [_Standing(label.said, seq=seq) for seq, label in known]
    settled = {
        answers
        for answers, new in sayings.items()
        if [known.said for known in standing[answers]] == [new[-1].said]
    }
    rows: list[dict[str, Any]] = []
    outdated: list[_Standing] = []
    for label in labels:
        before = standing[label.answers] if label.annotator is not None else []
        if label.answers in settled or [known.said for known in before] == [label.said]:
            continue
        outdated += before
        rows.append(_values(label, moment))
        standing[label.answers] = [_Standing(label.said, row=rows[-1])]
    for replaced in outdated:
        replaced.row["replaced_at"] = moment
    return _Posted(rows, outdated, contradicted(labels))


async def _current(
    session: AsyncSession, pair_seqs: set[int]
) -> defaultdict[_Answers, list[tuple[int, NewLabel]]]:
    rows = await current_on(session, sorted(pair_seqs))
    return await beside_if_many(len(rows), _by_answers, rows)


def _by_answers(rows: Sequence[Row[Any]]) -> defaultdict[_Answers, list[tuple[int, NewLabel]]]:
    found: defaultdict[_Answers, list[tuple[int, NewLabel]]] = defaultdict(list)
    for row in rows:
        label = NewLabel(row.pair_seq, row.annotator, row.label, row.criterion, row.details)
        found[label.answers].append((row.seq, label))
    return found


def _further(new: Sequence[NewLabel], old: Sequence[tuple[int, NewLabel]]) -> list[NewLabel]:
    """Return the new votes beyond those that are stored already."""
    there = Counter(label.said for _, label in old)
    further = []
    for label in new:
        if there[label.said]:
            there[label.said] -= 1
        else:
            further.append(label)
    return further


def _values(label: NewLabel, moment: datetime) -> dict[str, Any]:
    return {
        "pair_seq": label.pair_seq,
        "annotator": label.annotator,
        "label": label.label,
        "criterion": label.criterion,
        "details": dict(label.details),
        "created_at": moment,
        "replaced_at": None,
    }
