"""Labelled pairs, and the columns of a sample: the judge and the kind of confidence of each.

A sample has one column a judge where judges are heard one at a time. With stacked evidence it has
one column a tier, and one more with the raw confidence of the last judge. A path has finite
thresholds in columns of one kind only, so a certificate needs no more than that kind and one
threshold a judge.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calibration.arrays import BoolArray, FloatArray, IntArray
from calibration.cascade import ABSTAINED, CascadeCost, asked, cascade_cost, decide
from calibration.errors import InvalidArgument
from calibration.labels import A
from calibration.preference import preference
from calibration.stack import (
    Columns,
    said_together,
    stacked_preference,
    weighted_preference,
)


@dataclass(frozen=True, slots=True)
class Rule:
    """Thresholds, one a judge, and the kind of confidence that they are compared with."""

    columns: Columns
    thresholds: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """What the columns of a sample are.

    Attributes:
        judge: Shape (c,), the judge of each column.
        kind: Shape (c,), the kind of each column.
        n_judges: Number of judges, k.
        has_pooled_tier: The last column is no judge but pooled evidence, which costs nothing and is
            heard after every judge.
    """

    judge: IntArray
    kind: tuple[Columns, ...]
    n_judges: int
    has_pooled_tier: bool = False

    @classmethod
    def raw(cls, n_judges: int, *, has_pooled_tier: bool = False) -> Layout:
        """Return the layout of judges that are heard one at a time."""
        kind = _of_kind("raw", n_judges)
        return cls(np.arange(n_judges), kind, n_judges, has_pooled_tier)

    @classmethod
    def stacked(cls, n_judges: int) -> Layout:
        """Return the layout of stacked tiers, followed by the last judge by itself."""
        judge = np.append(np.arange(n_judges), n_judges - 1)
        return cls(judge, (*_of_kind("stacked", n_judges), "raw"), n_judges)

    @classmethod
    def learned(cls, n_judges: int) -> Layout:
        """Return the layout of one column that weighs the answers of all judges."""
        return cls(np.array([n_judges - 1]), ("learned",), n_judges)

    @property
    def main(self) -> Columns:
        """The kind of the columns that share a threshold."""
        return self.kind[0]

    def of(self, kind: Columns) -> BoolArray:
        """Mark the columns of a kind, shape (c,)."""
        return np.array([one == kind for one in self.kind])

    def rule(self, wide: FloatArray) -> Rule:
        """Return the rule of thresholds that have one entry a column, shape (c,)."""
        finite = np.flatnonzero(np.isfinite(wide))
        kind = self.kind[finite[0]] if finite.size else self.main
        return Rule(kind, self._narrow(wide, self.of(kind)))

    def _narrow(self, wide: FloatArray, columns: BoolArray) -> FloatArray:
        thresholds = np.full(self.n_judges, np.inf)
        thresholds[self.judge[columns]] = wide[columns]
        return thresholds

    def widened(self, margins: FloatArray) -> FloatArray:
        """Return margins of the tiers, shape (k,), as one for each column; 0 for raw ones; (c,)."""
        return np.where(self.of("stacked"), margins[self.judge], 0.0)

    def decided(self, confidence: FloatArray, rule: Rule) -> tuple[IntArray, IntArray]:
        """Return the judge that answers each pair, and its column; -1 where none does.

        Args:
            confidence: Shape (n, c).
            rule: The thresholds in force.
        """
        columns = np.flatnonzero(self.of(rule.columns))
        found = decide(confidence[:, columns], rule.thresholds[self.judge[columns]])
        is_answered = found != ABSTAINED
        column = np.where(is_answered, columns[found], ABSTAINED)
        return np.where(is_answered, self.judge[column], ABSTAINED), column

    def cost(
        self, answered_by: IntArray, rule: Rule, costs: FloatArray, weights: FloatArray | None
    ) -> CascadeCost:
        """Return what it costs to give these answers."""
        if not self.has_pooled_tier:
            return cascade_cost(answered_by, heard(rule), costs, weights)
        is_heard = np.isfinite(rule.thresholds[-1])
        limits = np.where(is_heard & ~np.isfinite(rule.thresholds), 1.0, rule.thresholds)
        cost = cascade_cost(answered_by, limits, costs, weights)
        dearest = float(costs[-2])
        return replace(cost, relative=cost.per_pair / dearest if dearest > 0 else None)


def _of_kind(kind: Columns, n: int) -> tuple[Columns, ...]:
    return (kind,) * n


def heard(rule: Rule) -> FloatArray:
    """Return finite thresholds for every judge that is heard, +inf for the others; shape (k,).

    A raw confidence needs its own judge only. Evidence that adds up needs every judge up to the
    last that may answer, also those whose own tier is closed.
    """
    is_open = np.isfinite(rule.thresholds)
    if rule.columns == "raw" or not is_open.any():
        return rule.thresholds
    last = int(np.flatnonzero(is_open)[-1])
    is_heard = np.arange(is_open.size) <= last
    return np.where(is_heard, np.where(is_open, rule.thresholds, 1.0), np.inf)


def asked_by(answered_by: IntArray, rule: Rule) -> BoolArray:
    """Mark the judges that have to be asked about each pair, shape (n, k)."""
    return asked(answered_by, heard(rule))


@dataclass(frozen=True, slots=True, eq=False)
class Decisions:
    """What a certificate says of n pairs.

    Attributes:
        answered_by: Shape (n,), the judge that answers, -1 where the cascade abstains.
        label: Shape (n,), 1 for a, 0 for b, -1 where it abstains.
        confidence: Shape (n,), that of the verdict; nan where it abstains.
        asked: Shape (n, k), the judges that have to be asked.
    """

    answered_by: IntArray
    label: IntArray
    confidence: FloatArray
    asked: BoolArray

    @classmethod
    def none(cls, n: int, n_judges: int) -> Decisions:
        """Return decisions that ask no judge and give no verdict."""
        return cls(
            np.full(n, ABSTAINED, dtype=np.int64),
            np.full(n, -1, dtype=np.int64),
            np.full(n, np.nan),
            np.zeros((n, n_judges), dtype=np.bool_),
        )

    def put(self, rows: IntArray, part: Decisions) -> None:
        """Write the decisions on some rows."""
        self.answered_by[rows], self.label[rows] = part.answered_by, part.label
        self.confidence[rows], self.asked[rows] = part.confidence, part.asked


@dataclass(frozen=True, slots=True, eq=False)
class Heard:
    """How the preferences of k judges are heard.

    Attributes:
        columns: One judge at a time, stacked, or weighed by what was learned.
        n_judges: Number of judges, k.
        weights: Shape (k, 2), only for a learned stack.
    """

    columns: Columns
    n_judges: int
    weights: FloatArray | None = None

    @property
    def layout(self) -> Layout:
        """What the columns are."""
        if self.columns == "stacked":
            return Layout.stacked(self.n_judges)
        return (Layout.learned if self.columns == "learned" else Layout.raw)(self.n_judges)

    def said(
        self, p_a: ArrayLike, p_tie: ArrayLike | None, evidence: FloatArray | None = None
    ) -> tuple[IntArray, FloatArray]:
        """Return label codes and confidences, shape (n, c), one column for each of the layout.

        Args:
            p_a: Shape (n, k).
            p_tie: Shape (n, k).
            evidence: `summed_evidence` of these where it is known already.
        """
        if self.columns == "learned":
            assert self.weights is not None
            said = weighted_preference(p_a, self.weights, p_tie)
            return said.label, said.confidence
        raw = preference(p_a, p_tie)
        if self.columns == "raw":
            return raw.label, raw.confidence
        if evidence is None:
            stacked = stacked_preference(p_a, p_tie)
        else:
            stacked = said_together(evidence, np.asarray(p_a, dtype=np.float64))
        return (
            np.column_stack([stacked.label, raw.label[:, -1]]),
            np.column_stack([stacked.confidence, raw.confidence[:, -1]]),
        )

    def decisions(
        self, p_a: ArrayLike, p_tie: ArrayLike | None, thresholds: FloatArray
    ) -> Decisions:
        """Return the decisions of thresholds, one a judge."""
        rule = Rule(self.columns, thresholds)
        label, confidence = self.said(p_a, p_tie)
        judge, column = self.layout.decided(confidence, rule)
        is_answered = judge != ABSTAINED
        at = np.arange(len(judge)), np.maximum(column, 0)
        return Decisions(
            judge,
            np.where(is_answered, np.where(label[at] == A, 1, 0), -1),
            np.where(is_answered, confidence[at], np.nan),
            asked_by(judge, rule),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Labelled pairs by the agreement that either verdict would meet.

    Attributes:
        p_a: Shape (n, k).
        agreement: Shape (n, 2), in [0, 1]: how far people agree with the verdict a, and with b.
        p_tie: Shape (n, k); None where no judge calls ties.
        groups: Shape (n,); None where every pair is one.
        weights: Shape (n,), 1 / probability of having been labelled.
        slices: Shape (n,).
        exposure: Shape (n,), as for `CertifyOptions`, like what follows.
        density_ratio: Shape (n,).
        features: Shape (n, f).
        votes: Shape (n, v), as `label` of a promise about a panel; `agreement` is then not read.
    """

    p_a: FloatArray
    agreement: FloatArray
    p_tie: FloatArray | None = None
    groups: NDArray[np.generic] | None = None
    weights: FloatArray | None = None
    slices: NDArray[np.generic] | None = None
    exposure: FloatArray | None = None
    density_ratio: FloatArray | None = None
    features: FloatArray | None = None
    votes: FloatArray | None = None

    @classmethod
    def of(cls, *columns: ArrayLike | None) -> Self:
        """Return pairs of these columns, in the order of the attributes.

        Raises:
            InvalidArgument: A column has another length than the first.
        """
        arrays = [None if column is None else np.asarray(column) for column in columns]
        assert arrays[0] is not None
        for field, array in zip(fields(cls), arrays, strict=False):
            if array is not None and array.shape[:1] != arrays[0].shape[:1]:
                raise InvalidArgument(
                    f"{field.name} must have {len(arrays[0])} rows, not shape {array.shape}"
                )
        return cls(*arrays)  # type: ignore[arg-type]

    def rows(self, chosen: BoolArray | IntArray) -> Pairs:
        """Return some of the pairs."""
        if chosen.dtype == np.bool_ and chosen.all():
            return self
        columns = [getattr(self, field.name) for field in fields(self)]
        return Pairs.of(*[None if column is None else column[chosen] for column in columns])
