"""Which annotators' labels should be looked at, told as the labels come.

Three signs, each with an interval: how often a person says what most of the others say, how often
a person chooses the left of two sides that were drawn at random, and how much faster than the
others a person is. Each is compared at the level alpha / number of people (Bonferroni), so that
among people of the same kind one is named with probability alpha at most for each sign.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

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


@dataclass(frozen=True, slots=True)
class AnnotatorTally:
    """What is counted of one annotator's votes.

    Attributes:
        votes: All of them.
        compared: Those on units where the others have a strict majority.
        agreeing: Those of `compared` that say what this majority says.
        sided: Those for either of two sides.
        left: Those of `sided` for the left one.
        seconds: Times of a vote, each once, ascending.
        timed: Votes that took each of these times.
    """

    votes: int
    compared: int = 0
    agreeing: int = 0
    sided: int = 0
    left: int = 0
    seconds: FloatArray = field(default_factory=lambda: np.zeros(0))
    timed: IntArray = field(default_factory=lambda: np.zeros(0, np.int64))


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
    _, codes = np.unique(units, return_inverse=True)
    counts = vote_counts(codes, said, int(codes.max()) + 1)
    agrees, compared = agrees_with_others(counts[codes], said)
    sided = np.isfinite(sides)
    tallies = []
    for code in range(int(who.max()) + 1):
        own = who == code
        known, timed = np.unique(times[own & np.isfinite(times)], return_counts=True)
        tallies.append(
            AnnotatorTally(
                votes=int(own.sum()),
                compared=int((own & compared).sum()),
                agreeing=int((own & compared & agrees).sum()),
                sided=int((own & sided).sum()),
                left=int(sides[own & sided].sum()),
                seconds=known,
                timed=timed,
            )
        )
    return quality_of_tallies(tallies, failure_probability=failure_probability)


def quality_of_tallies(
    tallies: Sequence[AnnotatorTally], *, failure_probability: float = 0.05
) -> list[AnnotatorQuality]:
    """Compare every annotator with the others, by what was counted of their votes.

    Args:
        tallies: One for each annotator.
        failure_probability: As in `annotator_quality`.

    Returns:
        One entry for each tally, in order.

    Example:
        >>> alike = [AnnotatorTally(votes=90, compared=90, agreeing=80)] * 2
        >>> found = quality_of_tallies([*alike, AnnotatorTally(votes=90, compared=90, agreeing=40)])
        >>> [one.disagrees for one in found]
        [False, False, True]
    """
    level = 1 - failure_probability / max(len(tallies), 1)
    agreeing = sum(one.agreeing for one in tallies)
    compared = sum(one.compared for one in tallies)
    everyone = _times_of(tallies)
    found = []
    for code, one in enumerate(tallies):
        others = (agreeing - one.agreeing, compared - one.compared)
        found.append(
            AnnotatorQuality(
                annotator=code,
                votes=one.votes,
                agreement=_share(one.agreeing, one.compared),
                left=_share(one.left, one.sided),
                median_seconds=_median(one.seconds, one.timed),
                disagrees=_is_lower((one.agreeing, one.compared), others, level),
                is_one_sided=_is_one_sided(one.left, one.sided, level),
                is_hasty=_is_hasty(one, everyone),
            )
        )
    return found


def agrees_with_others(counts: IntArray, said: IntArray) -> tuple[BoolArray, BoolArray]:
    """Return whether each vote says what the strict majority of the others on its unit says.

    Args:
        counts: All votes on the unit of each vote, by label, shape (votes, 3).
        said: Code of each vote, `MISSING` where there is none.

    Returns:
        Whether it does, and whether the others have such a majority.

    Example:
        >>> agrees_with_others(np.array([[2, 1, 0], [2, 1, 0]]), np.array([1, 0]))
        (array([False, False]), array([ True, False]))
    """
    others = counts.copy()
    known = np.flatnonzero(said != MISSING)
    others[known, said[known]] -= 1
    most = others.max(axis=1, initial=0)
    has_majority = (2 * most > others.sum(axis=1)) & (said != MISSING)
    return (others.argmax(axis=1) == said) & has_majority, has_majority


def _share(hits: int, n: int) -> Estimate:
    if not n:
        return Estimate(None, None, None, _LEVEL, 0)
    low, high = wilson_interval(hits, n, _LEVEL)
    return Estimate(hits / n, float(low), float(high), _LEVEL, n)


def _is_lower(own: tuple[int, int], others: tuple[int, int], level: float) -> bool:
    """Return whether the interval of the difference of two shares lies below 0 (Newcombe 1998)."""
    if not own[1] or not others[1]:
        return False
    one, other = own[0] / own[1], others[0] / others[1]
    # one-sided: only a person who agrees less than the others is looked for
    level = 1 - 2 * (1 - level)
    _, high = wilson_interval(*own, level)
    low, _ = wilson_interval(*others, level)
    return one - other + float(np.hypot(high - one, other - low)) < 0


def _is_one_sided(left: int, n: int, level: float) -> bool:
    if not n:
        return False
    low, high = wilson_interval(left, n, level)
    return not bool(low <= 0.5 <= high)


def _times_of(tallies: Sequence[AnnotatorTally]) -> tuple[FloatArray, IntArray]:
    """Return the times of all votes, each once, and how many votes took each."""
    seconds = np.concatenate([np.zeros(0), *(one.seconds for one in tallies)])
    timed = np.concatenate([np.zeros(0, np.int64), *(one.timed for one in tallies)])
    known, places = np.unique(seconds, return_inverse=True)
    return known, np.bincount(places, weights=timed, minlength=len(known)).astype(np.int64)


def _median(seconds: FloatArray, timed: IntArray) -> float | None:
    n = int(timed.sum())
    if not n:
        return None
    middle = np.searchsorted(np.cumsum(timed), [(n - 1) // 2, n // 2], side="right")
    return float(seconds[middle].mean())


def _is_hasty(own: AnnotatorTally, everyone: tuple[FloatArray, IntArray]) -> bool:
    seconds, timed = everyone
    others = timed.copy()
    others[np.searchsorted(seconds, own.seconds)] -= own.timed
    if min(int(own.timed.sum()), int(others.sum())) < _FEWEST_TIMES:
        return False
    mine, theirs = _median(own.seconds, own.timed), _median(seconds, others)
    return mine is not None and theirs is not None and mine < HASTE * theirs
