"""Everything an agreement report is computed from, as arrays over the n pairs in scope."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from app.datasets.records import PairKey, Vote
from app.reports.correlations import Rated
from app.scores.table import ScoreTable
from calibration.agreement import confusion
from calibration.arrays import BoolArray, FloatArray, IntArray
from calibration.labels import (
    MISSING,
    TIE,
    A,
    B,
    mean_sign,
    plurality,
    vote_counts,
)
from calibration.preference import preference

Counts = dict[str, dict[str, int]]

LABELS: Final = ("a", "b", "tie")
_CODES = {"a": A, "b": B, "tie": TIE}
_DECIMALS = 12


@dataclass(frozen=True, slots=True, eq=False)
class People:
    """The votes of people: `counts` (n, 3) of a, b, tie, and the votes one by one.

    `vote_row`, `vote_by`, `vote_code` hold pair, annotator and label of each vote of a known
    annotator; `annotators` names them.
    """

    counts: IntArray
    vote_row: IntArray
    vote_by: IntArray
    vote_code: IntArray
    annotators: tuple[str, ...]

    @property
    def decided(self) -> IntArray:
        """The plurality where it is a or b, else `MISSING`."""
        label = plurality(self.counts)
        return np.where(label == TIE, MISSING, label)

    @property
    def three_way(self) -> IntArray:
        """The plurality, a tie where votes have none, `MISSING` without votes."""
        return np.where(self.has_no_plurality, TIE, plurality(self.counts))

    @property
    def has_no_plurality(self) -> BoolArray:
        """The pairs with votes of which no label is the most frequent."""
        is_open: BoolArray = (plurality(self.counts) == MISSING) & (self.counts.sum(axis=1) > 0)
        return is_open

    @property
    def side(self) -> IntArray:
        """The sign of the mean vote."""
        return mean_sign(self.counts)

    @property
    def mean_vote(self) -> FloatArray:
        """The mean vote: 1 for a, one half for a tie, NaN without votes."""
        total = self.counts.sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray((self.counts[:, A] + self.counts[:, TIE] / 2) / total)

    def last_votes(self) -> Votes:
        """Return the last label of each known annotator on each pair."""
        key = self.vote_by * len(self.counts) + self.vote_row
        _, from_end = np.unique(key[::-1], return_index=True)
        last = len(key) - 1 - from_end
        return Votes(self.vote_by[last], self.vote_row[last], self.vote_code[last])

    def take(self, members: BoolArray) -> People:
        """Return some of the pairs."""
        kept = members[self.vote_row]
        return replace(
            self,
            counts=self.counts[members],
            vote_row=(np.cumsum(members) - 1)[self.vote_row[kept]],
            vote_by=self.vote_by[kept],
            vote_code=self.vote_code[kept],
        )


@dataclass(frozen=True, slots=True, eq=False)
class Votes:
    """One label of each annotator on each pair: `by`, then `row`, in order, and the codes."""

    by: IntArray
    row: IntArray
    code: IntArray

    def of(self, annotator: int) -> tuple[IntArray, IntArray]:
        """Return the pairs that an annotator labelled, in order, and the labels."""
        first, end = np.searchsorted(self.by, [annotator, annotator + 1])
        return self.row[first:end], self.code[first:end]


@dataclass(frozen=True, slots=True, eq=False)
class Judged:
    """The verdicts of k judges, label codes of shape (n, k), `MISSING` where there is no verdict.

    `first` and `second` are the labels by the order shown, mapped to the pair as posted.
    `confidence` is that of a or b, .5 where neither is preferred. `is_flagged` marks records that
    say no more than that the two orders disagreed; `was_trained` pairs whose prompt the judge
    knows from its training. `failure` numbers the kind among `FailureKind`; `cost` is in USD, NaN
    where unknown; `own_side` is the response that the judge's own model wrote, `A` or `B`,
    `MISSING` where it wrote neither or both.
    """

    names: tuple[str, ...]
    label: IntArray
    first: IntArray
    second: IntArray
    confidence: FloatArray
    prefers_a: BoolArray
    has_preference: BoolArray
    has_failed: BoolArray
    is_flagged: BoolArray
    was_trained: BoolArray
    failure: npt.NDArray[np.int8]
    cost: FloatArray
    own_side: IntArray

    def take(self, members: BoolArray) -> Judged:
        """Return some of the pairs."""
        return replace(self, **{f.name: getattr(self, f.name)[members] for f in fields(self)[1:]})


@dataclass(frozen=True, slots=True, eq=False)
class Cascade:
    """The verdict of a certificate's cascade on each pair.

    `answered_by` is -1 where it abstained; `label` a code where it answered; `is_excluded` marks
    pairs that the certificate was made from, or that share a group or a prompt with them.
    `last_cost` is what asking the last judge cost, NaN where unknown.
    """

    names: tuple[str, ...]
    answered_by: IntArray
    label: IntArray
    is_missing: BoolArray
    is_excluded: BoolArray
    cost: FloatArray
    last_cost: FloatArray

    def take(self, members: BoolArray) -> Cascade:
        """Return some of the pairs."""
        return replace(self, **{f.name: getattr(self, f.name)[members] for f in fields(self)[1:]})


@dataclass(frozen=True, slots=True, eq=False)
class Texts:
    """Counts over the two responses; NaN for a battle, which has no texts.

    `longer` is the length of a minus that of b in characters, `marked` the same of their marks of
    layout (headings, list items, bold words, code blocks). `length_ratio` is the shorter length
    over the longer one, `overlap` the share of words in common; both lie in [0, 1]. `is_same` marks
    pairs of equal responses.
    """

    longer: FloatArray
    marked: FloatArray
    length_ratio: FloatArray
    overlap: FloatArray
    is_same: BoolArray

    def take(self, members: BoolArray) -> Texts:
        """Return some of the pairs."""
        return Texts(*(getattr(self, f.name)[members] for f in fields(self)))


@dataclass(frozen=True, slots=True, eq=False)
class Panel:
    """The pairs in scope with all that was said of them; `slices` names each pair's slice."""

    groups: npt.NDArray[np.str_]
    people: People
    judged: Judged
    cascade: Cascade | None
    slices: npt.NDArray[Any] | None = None
    texts: Texts | None = None
    rated: Rated | None = None

    def __len__(self) -> int:
        """Return the number of pairs."""
        return len(self.groups)

    @property
    def is_same(self) -> BoolArray:
        """The pairs of equal responses; none where the texts are not known."""
        return np.zeros(len(self), np.bool_) if self.texts is None else self.texts.is_same

    def take(self, members: BoolArray) -> Panel:
        """Return some of the pairs, no longer sliced."""
        return Panel(
            self.groups[members],
            self.people.take(members),
            self.judged.take(members),
            None if self.cascade is None else self.cascade.take(members),
            texts=None if self.texts is None else self.texts.take(members),
            rated=None if self.rated is None else self.rated.take(members),
        )


def people_of(keys: Sequence[PairKey], votes: Mapping[int, Sequence[Vote]]) -> People:
    """Lay out the votes on these pairs."""
    cast = [(row, vote) for row, key in enumerate(keys) for vote in votes.get(key.seq, ())]
    named = [(row, vote.annotator, vote.label) for row, vote in cast if vote.annotator is not None]
    annotators = tuple(sorted({name for _, name, _ in named}))
    number = {name: i for i, name in enumerate(annotators)}
    return People(
        counts=vote_counts(
            [row for row, _ in cast], [_CODES[vote.label] for _, vote in cast], len(keys)
        ),
        vote_row=np.array([row for row, _, _ in named], dtype=np.int64),
        vote_by=np.array([number[name] for _, name, _ in named], dtype=np.int64),
        vote_code=np.array([_CODES[label] for _, _, label in named], dtype=np.int64),
        annotators=annotators,
    )


def judged_of(
    table: ScoreTable, is_flagged: BoolArray, was_trained: BoolArray, own_side: IntArray
) -> Judged:
    """Turn scores into labels: the most probable of a, b and tie, a tie where a equals b."""
    said = preference(table.p_a, table.p_tie, ties="class")
    between = preference(table.p_a, table.p_tie, ties="exclude")
    return Judged(
        names=table.judges,
        label=said.label_or_tie,
        first=_order_labels(table.shown_first, table.p_tie),
        second=_order_labels(table.shown_second, table.p_tie),
        confidence=np.where(between.has_no_preference, 0.5, between.confidence),
        prefers_a=between.label == A,
        has_preference=~between.is_failed & ~between.has_no_preference,
        has_failed=table.has_failed,
        is_flagged=is_flagged,
        was_trained=was_trained,
        failure=table.failure,
        cost=table.cost_usd,
        own_side=own_side,
    )


def confusion_of(human: IntArray, label: IntArray, lost: Mapping[str, BoolArray]) -> Counts:
    """Count pairs by what people said (outer) and what a judge or a cascade said (inner).

    Args:
        human: Codes of people's labels, shape (n,).
        label: Codes of the other's.
        lost: Why there is no label, each with its mask of pairs.
    """
    table = confusion(human, label)
    return {
        name: {
            **dict(zip(LABELS, map(int, row), strict=True)),
            **{why: int((mask & (human == code)).sum()) for why, mask in lost.items()},
        }
        for code, (name, row) in enumerate(zip(LABELS, table, strict=True))
    }


def said_without_plurality(
    people: People, label: IntArray, lost: Mapping[str, BoolArray]
) -> dict[str, int]:
    """Count what was said of the pairs whose votes have no plurality; arguments as above."""
    return confusion_of(np.where(people.has_no_plurality, TIE, MISSING), label, lost)["tie"]


def _order_labels(shown: FloatArray, p_tie: FloatArray) -> IntArray:
    """Labels of one order; what a tie takes from both sides is known for the mean order alone."""
    lead = np.round(2 * shown + np.nan_to_num(p_tie) - 1, _DECIMALS)
    label = np.where(lead > 0, A, np.where(lead < 0, B, TIE))
    return np.where(np.isnan(shown), MISSING, label)
