"""Which annotators' labels should be looked at, told as the labels come.

Three signs, each with an interval: how often a person says what most of the others say, how often
a person chooses the left of two sides that were drawn at random, and how much faster than the
others a person is. Each is compared at the level alpha / number of people (Bonferroni), so that
among people of the same kind one is named with probability alpha at most for each sign.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from calibration.arrays import BoolArray, FloatArray, IntArray
from calibration.binomial import wilson_interval
from calibration.errors import InvalidArgument
from calibration.estimate import Estimate
from calibration.labels import MISSING, N_LABELS, coded, vote_counts

# someone who takes less than this share of the others' median time does not read as they do
HASTE = 1 / 3
_FEWEST_TIMES = 10
_LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class AnnotatorQuality:
    """What one annotator's votes look like beside those of the others.

    Attributes:
        annotator: Code of the annotator.
        votes: Number of votes.
        agreement: Share of votes that say what the strict majority of the others on the unit says;
            n counts the votes on units where the others have one.
        left: Share of left among the votes for either side.
        median_seconds: Median time of a vote; None where no time is known.
        disagrees: The agreement is certainly lower than that of the others.
        is_one_sided: The share of left is certainly not one half.
        is_hasty: The median time is less than a third of the others'.
    """

    annotator: int
    votes: int
    agreement: Estimate
    left: Estimate
    median_seconds: float | None
    disagrees: bool
    is_one_sided: bool
    is_hasty: bool

    @property
    def concerns(self) -> list[str]:
        """Return in words why the labels should be looked at; empty where nothing was found.

        >>> share = Estimate(0.5, 0.4, 0.6, 0.95, 80)
        >>> AnnotatorQuality(0, 80, share, share, 2.0, True, False, False).concerns
        ['agrees with the others on 50% of 80 units, less than they do with one another']
        """
        said = []
        if self.disagrees and self.agreement.value is not None:
            said.append(
                f"agrees with the others on {self.agreement.value:.0%} of {self.agreement.n} units, "
                "less than they do with one another"
            )
        if self.is_one_sided and self.left.value is not None:
            said.append(
                f"chose the left side on {self.left.value:.0%} of {self.left.n} units, although "
                "sides were drawn at random"
            )
        if self.is_hasty and self.median_seconds is not None:
            said.append(
                f"takes {self.median_seconds:.1f} s for a unit, less than a third of the others' time"
            )
        return said


def annotator_quality(  # noqa: PLR0913 - a column of votes each
    unit: ArrayLike,
    annotator: ArrayLike,
    label: ArrayLike,
    is_left: ArrayLike,
    seconds: ArrayLike,
    *,
    failure_probability: float = 0.05,
) -> list[AnnotatorQuality]:
    """Compare every annotator with the others.

    Args:
        unit: Index of the unit of each vote, shape (votes,).
        annotator: Code of the annotator of each vote, 0, 1, ...
        label: What was said, 0 for a, 1 for b, 2 for a tie.
        is_left: 1 where the left side was chosen, 0 the right one, nan where neither was.
        seconds: Time taken, nan where it is not known.
        failure_probability: Probability, for each sign, that anybody is named among people of the
            same kind.

    Returns:
        One entry for each code up to the largest, in order.

    Raises:
        InvalidArgument: Lengths differ, or a code is out of its range.

    Example:
        >>> units, people = np.divmod(np.arange(120), 3)
        >>> labels = np.where(people == 2, units % 2, 0)
        >>> found = annotator_quality(units, people, labels, np.full(120, np.nan), np.ones(120))
        >>> [one.disagrees for one in found], found[2].agreement.value
        ([False, False, True], 0.5)
    """
    who = np.asarray(annotator, dtype=np.int64)
    said = coded(label, N_LABELS, "label")
    sides, times = np.asarray(is_left, np.float64), np.asarray(seconds, np.float64)
    units = np.asarray(unit, dtype=np.int64)
    if not len(units) == len(who) == len(said) == len(sides) == len(times):
        raise InvalidArgument("unit, annotator, label, is_left and seconds must have one length")
    if not len(who):
        return []
    agrees, counted = _leave_one_out(units, said)
    n_people = int(who.max()) + 1
    level = 1 - failure_probability / n_people
    found = []
    for code in range(n_people):
        own = who == code
        others = counted & ~own
        own_counted = counted & own
        lowered = _is_lower(agrees, own_counted, others, level)
        chosen = own & np.isfinite(sides)
        found.append(
            AnnotatorQuality(
                annotator=code,
                votes=int(own.sum()),
                agreement=_share(agrees[own_counted]),
                left=_share(sides[chosen]),
                median_seconds=_median(times[own]),
                disagrees=lowered,
                is_one_sided=_is_one_sided(sides[chosen], level),
                is_hasty=_is_hasty(times[own], times[~own]),
            )
        )
    return found


def _leave_one_out(units: IntArray, said: IntArray) -> tuple[FloatArray, BoolArray]:
    """Return whether each vote says what the strict majority of the others says, and where there is one."""
    _, codes = np.unique(units, return_inverse=True)
    counts = vote_counts(codes, said, int(codes.max()) + 1)
    others = counts[codes].copy()
    known = np.flatnonzero(said != MISSING)
    others[known, said[known]] -= 1
    most = others.max(axis=1)
    has_majority = (2 * most > others.sum(axis=1)) & (said != MISSING)
    return (others.argmax(axis=1) == said).astype(np.float64), has_majority


def _share(hits: FloatArray) -> Estimate:
    n = len(hits)
    if not n:
        return Estimate(None, None, None, _LEVEL, 0)
    low, high = wilson_interval(hits.sum(), n, _LEVEL)
    return Estimate(float(hits.mean()), float(low), float(high), _LEVEL, n)


def _is_lower(agrees: FloatArray, own: BoolArray, others: BoolArray, level: float) -> bool:
    """Return whether the interval of the difference of two shares lies below 0 (Newcombe 1998)."""
    if not own.any() or not others.any():
        return False
    one, other = float(agrees[own].mean()), float(agrees[others].mean())
    # one-sided: only a person who agrees less than the others is looked for
    level = 1 - 2 * (1 - level)
    _, high = wilson_interval(agrees[own].sum(), own.sum(), level)
    low, _ = wilson_interval(agrees[others].sum(), others.sum(), level)
    return one - other + float(np.hypot(high - one, other - low)) < 0


def _is_one_sided(sides: FloatArray, level: float) -> bool:
    if not len(sides):
        return False
    low, high = wilson_interval(sides.sum(), len(sides), level)
    return not bool(low <= 0.5 <= high)


def _median(times: FloatArray) -> float | None:
    known = times[np.isfinite(times)]
    return float(np.median(known)) if known.size else None


def _is_hasty(own: FloatArray, others: FloatArray) -> bool:
    mine, theirs = own[np.isfinite(own)], others[np.isfinite(others)]
    if min(mine.size, theirs.size) < _FEWEST_TIMES:
        return False
    return bool(np.median(mine) < HASTE * np.median(theirs))
