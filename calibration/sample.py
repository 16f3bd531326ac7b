"""Labelled pairs as a certification reads them: checked, rounded, in exchangeable groups."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calibration.arrays import BoolArray, FloatArray, IntArray
from calibration.cascade import rounded
from calibration.errors import InvalidArgument

# what wrong verdicts are a share of: the verdicts given, or all pairs, those without a verdict, too
Scope = Literal["answered", "dataset"]

_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """Calibration pairs.

    Attributes:
        confidence: Shape (n, k), rounded; -inf where the judge failed, so that it never answers.
        loss: Disagreement with people, shape (n, k), in [0, 1]; 0 where the judge failed.
        group: Shape (n,), 0 .. number of groups - 1; pairs of one group may depend on each other.
        weight: Shape (n,), 1 / probability of having been labelled; None where all are known to be
            equal.
        is_soft: Some loss lies strictly between 0 and 1.
        exposure: Shape (n,), share of each pair that the promise is about, in (0, 1]; None where all
            of every pair is.
        slice: Shape (n,), number of the slice that each pair belongs to; None where all are one.
        evidence: Shape (n, k), summed log-odds that a is better after each judge; None where judges
            are heard one at a time.
        stakes: How much each pair's loss counts, shape (n,): exposure times weight; None where all
            count the same.
        n: Number of pairs.
        n_judges: Number of judges.
        n_groups: Number of groups.
    """

    confidence: FloatArray
    loss: FloatArray
    group: IntArray
    weight: FloatArray | None
    is_soft: bool
    exposure: FloatArray | None = None
    slice: IntArray | None = None
    evidence: FloatArray | None = None
    stakes: FloatArray | None = field(init=False)
    n: int = field(init=False)
    n_judges: int = field(init=False)
    n_groups: int = field(init=False)

    def __post_init__(self) -> None:
        """Compute once what the tests read again and again."""
        stakes = self.weight if self.exposure is None else self.exposure
        if self.exposure is not None and self.weight is not None:
            stakes = self.exposure * self.weight
        n, n_judges = self.confidence.shape
        object.__setattr__(self, "stakes", stakes)
        object.__setattr__(self, "n", n)
        object.__setattr__(self, "n_judges", n_judges)
        object.__setattr__(self, "n_groups", int(self.group.max()) + 1 if n else 0)

    def columns(self, chosen: BoolArray) -> Sample:
        """Return the same pairs with some of their columns."""
        if chosen.all():
            return self
        return replace(self, confidence=self.confidence[:, chosen], loss=self.loss[:, chosen])

    def rows(self, chosen: IntArray | BoolArray) -> Sample:
        """Return the sample of some rows; its groups are numbered from 0 again."""
        if chosen.dtype == np.bool_:
            chosen = np.flatnonzero(chosen)
        if chosen.size == self.n and np.array_equal(chosen, np.arange(self.n)):
            return self
        weight = None if self.weight is None else self.weight[chosen]
        return replace(
            self,
            confidence=self.confidence[chosen],
            loss=self.loss[chosen],
            group=numbered(self.group[chosen]),
            weight=weight,
            exposure=None if self.exposure is None else self.exposure[chosen],
            slice=None if self.slice is None else self.slice[chosen],
            evidence=None if self.evidence is None else self.evidence[chosen],
        )


def checked_sample(
    confidence: ArrayLike,
    correct: ArrayLike,
    groups: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    exposure: ArrayLike | None = None,
) -> Sample:
    """Check the arrays of a certification and put them in the form that the tests read.

    Raises:
        InvalidArgument: Shapes do not match; a confidence is outside [0, 1]; a correctness is
            missing or outside [0, 1] where there is a confidence; a weight is below 1; an exposure
            is outside (0, 1].
    """
    scores = checked_confidence("confidence", confidence)
    agreement = np.asarray(correct, dtype=np.float64)
    if agreement.shape != scores.shape:
        raise InvalidArgument(f"correct must have shape {scores.shape}, not {agreement.shape}")
    is_scored = scores > -np.inf
    judged = agreement[is_scored]
    if np.isnan(judged).any():
        raise InvalidArgument("correct is nan where confidence is not: leave unlabelled pairs out")
    if not np.all((judged >= 0) & (judged <= 1)):
        raise InvalidArgument("correct must lie in [0, 1]")
    loss = np.where(is_scored, 1.0 - agreement, 0.0)
    is_soft = bool(np.any((judged > 0) & (judged < 1)))
    return Sample(
        scores,
        loss,
        checked_groups(groups, len(scores)),
        _checked_weights(weights, len(scores)),
        is_soft,
        _checked_exposure(exposure, len(scores)),
    )


def with_pooled_tier(
    confidence: ArrayLike, correct: ArrayLike, pooled_evidence: ArrayLike | None
) -> tuple[ArrayLike, ArrayLike]:
    """Return confidence and correctness with those of a pooled tier as one more judge, if any.

    Raises:
        InvalidArgument: `pooled_evidence` has another shape than (n, 2), or the others differ.
    """
    if pooled_evidence is None:
        return confidence, correct
    scores, agreement = np.asarray(confidence, np.float64), np.asarray(correct, np.float64)
    pooled = np.asarray(pooled_evidence, np.float64)
    if scores.ndim != 2 or agreement.shape != scores.shape or pooled.shape != (len(scores), 2):
        raise InvalidArgument(
            f"pooled_evidence must have shape ({len(scores)}, 2), confidence and correct one shape "
            f"of (pairs, judges); they have {pooled.shape}, {scores.shape} and {agreement.shape}"
        )
    return np.column_stack([scores, pooled[:, 0]]), np.column_stack([agreement, pooled[:, 1]])


def checked_confidence(name: str, confidence: ArrayLike, n_judges: int | None = None) -> FloatArray:
    """Round confidences and set failures (nan) to -inf.

    Raises:
        InvalidArgument: Not of shape (n, k) with k >= 1, or a value outside [0, 1].
    """
    scores = rounded(confidence)
    if scores.ndim != 2 or scores.shape[1] == 0:
        raise InvalidArgument(f"{name} must have shape (pairs, judges), not {scores.shape}")
    if n_judges is not None and scores.shape[1] != n_judges:
        raise InvalidArgument(f"{name} must have {n_judges} columns, not {scores.shape[1]}")
    if np.any((scores < 0) | (scores > 1)):
        raise InvalidArgument(f"{name} must lie in [0, 1], nan where the judge failed")
    return np.where(np.isnan(scores), -np.inf, scores)


def numbered(values: NDArray[np.generic]) -> IntArray:
    """Number the distinct values 0, 1, .. and return each row's number."""
    # most samples have one pair a group, in order
    if values.dtype.kind in "iuf" and np.all(np.diff(values.astype(np.float64)) > 0):
        return np.arange(values.size)
    _, number = np.unique(values, return_inverse=True)
    return np.asarray(number, dtype=np.int64).reshape(-1)


def one_row_a_group(group: IntArray, rng: np.random.Generator) -> IntArray:
    """Draw one row of each group, each row of a group equally likely; rows in increasing order."""
    shuffled = rng.permutation(group.size)
    _, first = np.unique(group[shuffled], return_index=True)
    return np.sort(shuffled[first])


def first_row_a_group(group: IntArray) -> IntArray:
    """Return the row of each group that comes first; rows in increasing order."""
    _, first = np.unique(group, return_index=True)
    return np.sort(first)


def rows_of_drawn_groups(
    group: IntArray, n_groups_drawn: int, rng: np.random.Generator
) -> BoolArray:
    """Mark the rows of that many groups, drawn at random."""
    n_groups = int(group.max()) + 1 if group.size else 0
    is_drawn = np.zeros(n_groups, dtype=np.bool_)
    is_drawn[rng.permutation(n_groups)[:n_groups_drawn]] = True
    return is_drawn[group]


def checked_groups(groups: ArrayLike | None, n: int) -> IntArray:
    """Number the groups of n pairs; each pair is its own where none are given.

    Raises:
        InvalidArgument: Another shape.
    """
    if groups is None:
        return np.arange(n)
    values = np.asarray(groups)
    if values.shape != (n,):
        raise InvalidArgument(f"groups must have shape ({n},), not {values.shape}")
    return numbered(values)


def _checked_weights(weights: ArrayLike | None, n: int) -> FloatArray | None:
    if weights is None:
        return None
    values = np.asarray(weights, dtype=np.float64)
    if values.shape != (n,):
        raise InvalidArgument(f"weights must have shape ({n},), not {values.shape}")
    if not np.all(np.isfinite(values) & (values >= 1.0 - _TOLERANCE)):
        raise InvalidArgument("weights must be 1 / probability of being labelled, so at least 1")
    return values if n else None


def _checked_exposure(exposure: ArrayLike | None, n: int) -> FloatArray | None:
    if exposure is None:
        return None
    values = np.asarray(exposure, dtype=np.float64)
    if values.shape != (n,):
        raise InvalidArgument(f"exposure must have shape ({n},), not {values.shape}")
    if not np.all((values > 0) & (values <= 1)):
        raise InvalidArgument("exposure must lie in (0, 1]")
    return None if np.all(values == 1.0) else values
