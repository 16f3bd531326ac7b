"""Biases of a judge: towards a position, a length, or its own answers.

Labels are codes of `calibration.labels` (a, b, tie, missing), always mapped to the pair as posted,
whatever order the judge was shown. Length and self-preference are measured against people on the
same pairs, who may have good reasons to prefer the longer answer.

All intervals are score intervals for the effective number of pairs (`calibration.intervals`);
without `groups`, pairs count as independent. All functions raise `InvalidArgument` for labels that
are not codes and for columns or groups of different numbers of pairs; a share of no pairs at all
has no value.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from calibration.arrays import BoolArray, IntArray
from calibration.errors import InvalidArgument
from calibration.estimate import Estimate
from calibration.intervals import (
    GroupsLike,
    estimate_paired_difference,
    estimate_share,
    estimate_share_difference,
)
from calibration.labels import MISSING, TIE, A, B, coded


@dataclass(frozen=True, slots=True)
class Flips:
    """Changes of verdicts when the two responses change places.

    Attributes:
        to_first: Share of pairs on which the judge takes whichever response is shown first.
        to_second: Share on which it takes whichever is shown second.
        through_tie: Share on which it decides in one order and calls a tie in the other.
        first_among_flips: Share of `to_first` among the first two; one half is no lean. n counts
            those pairs alone.
    """

    to_first: Estimate
    to_second: Estimate
    through_tie: Estimate
    first_among_flips: Estimate


def position_consistency(
    original: ArrayLike, swapped: ArrayLike, groups: GroupsLike = None
) -> Estimate:
    """Estimate the share of pairs that get the same label in both orders.

    Args:
        original: Label with response a shown first, shape (pairs,).
        swapped: Label with response b shown first, mapped back to the pair as posted.
        groups: Groups of the pairs; None takes pairs as independent.

    >>> position_consistency([A, A, B, TIE], [A, B, B, TIE]).value
    0.75
    """
    one, other = _labels(original, swapped)
    return estimate_share(one == other, _are_known(one, other), groups)


def position_flips(original: ArrayLike, swapped: ArrayLike, groups: GroupsLike = None) -> Flips:
    """Split the inconsistent pairs by where they lean; with the consistent share they add to 1.

    Arguments are those of `position_consistency`.

    >>> flips = position_flips([A, A, B, A], [A, B, B, TIE])
    >>> flips.to_first.value, flips.to_second.value, flips.through_tie.value
    (0.25, 0.0, 0.25)
    """
    one, other = _labels(original, swapped)
    known = _are_known(one, other)
    to_first, to_second = (one == A) & (other == B), (one == B) & (other == A)
    through_tie = (one != other) & ~to_first & ~to_second
    return Flips(
        estimate_share(to_first, known, groups),
        estimate_share(to_second, known, groups),
        estimate_share(through_tie, known, groups),
        estimate_share(to_first, known & (to_first | to_second), groups),
    )


def position_lean(original: ArrayLike, swapped: ArrayLike, groups: GroupsLike = None) -> Estimate:
    """Estimate the share of verdicts for the first response shown minus that for the second.

    Only pairs with a label in both orders count, so that quality cancels out: 0 is no lean, 1 is
    always the first and -1 always the second. Ties stay in the denominator. n is the number of
    verdicts, two a pair.

    >>> position_lean([A, A, B, A], [B, B, B, A]).value
    0.5
    """
    one, other = _labels(original, swapped)
    for_first = (one == A).astype(np.float64) + (other == B)
    for_second = (one == B).astype(np.float64) + (other == A)
    found = estimate_paired_difference((for_first - for_second) / 2, _are_known(one, other), groups)
    return replace(found, n=2 * found.n)


def lean_towards(judge: ArrayLike, favoured: ArrayLike, groups: GroupsLike = None) -> Estimate:
    """Estimate the share of decided verdicts that go to the favoured side.

    Args:
        judge: Label of each pair.
        favoured: The side in question, `A` or `B`; `MISSING` where neither is.
        groups: Groups of the pairs; None takes pairs as independent.

    >>> lean_towards([A, A, B, TIE], favoured=[A, A, A, A]).n
    3
    """
    labels, side = _labels(judge, favoured)
    return estimate_share(labels == side, _is_decided(labels, side), groups)


def excess_lean(
    judge: ArrayLike,
    human: ArrayLike,
    favoured: ArrayLike,
    groups: GroupsLike = None,
) -> Estimate:
    """Estimate how much more often a judge than people choose the favoured side, in [-1, 1].

    The difference of the two shares over pairs on which both decided; n is their number.

    >>> excess_lean([A, A, B, A], human=[A, B, B, B], favoured=[A, A, A, A]).value
    0.5
    """
    labels, people, side = _labels(judge, human, favoured)
    counted = _is_decided(labels, side) & _is_decided(people, side)
    difference = (labels == side).astype(np.float64) - (people == side)
    return estimate_paired_difference(difference, counted, groups)


def lean_given_quality(
    judge: ArrayLike,
    human: ArrayLike,
    favoured: ArrayLike,
    groups: GroupsLike = None,
) -> Estimate:
    """Estimate how much better a judge agrees where people choose the favoured side.

    P(judge = people | people chose the favoured side) - P(judge = people | they chose the other),
    over pairs on which both decided: equal opportunity of the two sides, given which one people
    found better (Wataoka, Takahashi, Ri 2024); in [-1, 1]. A judge that errs equally often on both
    sides has 0, however often people prefer the favoured side; `excess_lean` of such a judge need
    not be 0. n is the number of pairs; None where people chose one side only.

    >>> lean_given_quality([A, A, A, B], human=[A, A, B, B], favoured=[A, A, A, A]).value
    0.5
    """
    labels, people, side = _labels(judge, human, favoured)
    counted = _is_decided(labels, side) & _is_decided(people, side)
    is_for_it = people == side
    return estimate_share_difference(
        labels == people, counted & is_for_it, counted & ~is_for_it, groups
    )


def length_lean(
    judge: ArrayLike,
    human: ArrayLike,
    length_difference: ArrayLike,
    groups: GroupsLike = None,
) -> Estimate:
    """Estimate how much more often a judge than people choose the longer response.

    Args:
        judge: Label of each pair by the judge.
        human: Label by people.
        length_difference: Length of response a minus that of response b, in any unit; pairs of
            equal or unknown (nan) lengths are left out.
        groups: Groups of the pairs; None takes pairs as independent.
    """
    return excess_lean(judge, human, longer_side(length_difference), groups)


def length_lean_given_quality(
    judge: ArrayLike,
    human: ArrayLike,
    length_difference: ArrayLike,
    groups: GroupsLike = None,
) -> Estimate:
    """Estimate how much better a judge agrees where people choose the longer response.

    Arguments are those of `length_lean`, the figure that of `lean_given_quality`.
    """
    return lean_given_quality(judge, human, longer_side(length_difference), groups)


def self_preference(
    judge: ArrayLike,
    human: ArrayLike,
    own_side: ArrayLike,
    groups: GroupsLike = None,
) -> Estimate:
    """Estimate how much more often a judge than people choose the judge's own response.

    `own_side` is `A` or `B`, `MISSING` where the judge wrote neither response or both.
    """
    return excess_lean(judge, human, own_side, groups)


def self_preference_given_quality(
    judge: ArrayLike,
    human: ArrayLike,
    own_side: ArrayLike,
    groups: GroupsLike = None,
) -> Estimate:
    """Estimate how much better a judge agrees where people choose the judge's own response.

    Arguments are those of `self_preference`, the figure that of `lean_given_quality`.
    """
    return lean_given_quality(judge, human, own_side, groups)


def longer_side(length_difference: ArrayLike) -> IntArray:
    """Return the side of the longer response, `MISSING` where lengths are equal or unknown.

    >>> longer_side([12, -3, 0, np.nan]).tolist()
    [0, 1, -1, -1]
    """
    difference = np.asarray(length_difference, dtype=np.float64)
    return np.where(difference > 0, A, np.where(difference < 0, B, MISSING))


def _labels(*columns: ArrayLike) -> list[IntArray]:
    labels = [coded(column, TIE + 1) for column in columns]
    if any(column.shape != labels[0].shape for column in labels):
        raise InvalidArgument("all labels must be of the same pairs")
    return labels


def _are_known(one: IntArray, other: IntArray) -> BoolArray:
    return np.asarray((one != MISSING) & (other != MISSING), dtype=np.bool_)


def _is_decided(labels: IntArray, side: IntArray) -> BoolArray:
    return np.asarray(np.isin(labels, (A, B)) & np.isin(side, (A, B)), dtype=np.bool_)
