"""Whether a judge looks at what should not matter: order, length, or its own answers.

Labels are codes of `calibration.labels` (a, b, tie, missing), always mapped to the pair as posted,
whatever order the judge was shown. Length and self-preference are measured against people on the
same pairs: they may have good reasons to prefer the longer answer, too.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calibration.agreement import agreement_rate
from calibration.estimate import Estimate
from calibration.labels import MISSING, TIE, A, B, coded
from calibration.resampling import ClusterBootstrap, estimate_ratio, estimate_share

IntArray = NDArray[np.int64]
BoolArray = NDArray[np.bool_]


def position_consistency(
    original: ArrayLike, swapped: ArrayLike, bootstrap: ClusterBootstrap | None = None
) -> Estimate:
    """Share of pairs that get the same label in both orders, where both were parsed.

    Args:
        original: Label with response a shown first, shape (pairs,).
        swapped: Label with response b shown first, mapped back to the pair as posted.
        bootstrap: Resamples of the pairs.
    """
    return agreement_rate(original, swapped, bootstrap)


def position_lean(
    original: ArrayLike, swapped: ArrayLike, bootstrap: ClusterBootstrap | None = None
) -> Estimate:
    """Share of verdicts for the first response shown minus that for the second, in [-1, 1].

    Only pairs with a label in both orders count, so that quality cancels out: 0 is no lean, +1
    always the first. Ties stay in the denominator. n is the number of verdicts, two a pair.
    """
    one, other = coded(original, TIE + 1), coded(swapped, TIE + 1)
    counted = (one != MISSING) & (other != MISSING)
    for_first = (one == A).astype(np.float64) + (other == B)
    for_second = (one == B).astype(np.float64) + (other == A)
    return estimate_ratio((for_first - for_second) * counted, 2.0 * counted, bootstrap)


def lean_towards(
    judge: ArrayLike, favoured: ArrayLike, bootstrap: ClusterBootstrap | None = None
) -> Estimate:
    """Share of decided verdicts that go to the favoured side.

    Args:
        judge: Label of each pair.
        favoured: The side in question, `A` or `B`; `MISSING` where neither is.
        bootstrap: Resamples of the pairs.
    """
    labels, side = coded(judge, TIE + 1), coded(favoured, TIE + 1)
    return estimate_share(labels == side, _is_decided(labels, side), bootstrap)


def excess_lean(
    judge: ArrayLike,
    human: ArrayLike,
    favoured: ArrayLike,
    bootstrap: ClusterBootstrap | None = None,
) -> Estimate:
    """How much more often a judge than people choose the favoured side, in [-1, 1].

    The difference of the two shares over pairs on which both decided; n is their number.
    """
    labels, people, side = (coded(codes, TIE + 1) for codes in (judge, human, favoured))
    counted = _is_decided(labels, side) & _is_decided(people, side)
    difference = (labels == side).astype(np.float64) - (people == side)
    return estimate_ratio(difference * counted, counted, bootstrap)


def length_lean(
    judge: ArrayLike,
    human: ArrayLike,
    length_difference: ArrayLike,
    bootstrap: ClusterBootstrap | None = None,
) -> Estimate:
    """How much more often a judge than people choose the longer response.

    Args:
        judge: Label of each pair by the judge.
        human: Label by people.
        length_difference: Length of response a minus that of response b, in any unit; pairs of
            equal lengths are left out.
        bootstrap: Resamples of the pairs.
    """
    return excess_lean(judge, human, longer_side(length_difference), bootstrap)


def self_preference(
    judge: ArrayLike,
    human: ArrayLike,
    own_side: ArrayLike,
    bootstrap: ClusterBootstrap | None = None,
) -> Estimate:
    """How much more often a judge than people choose the response that the judge wrote itself.

    `own_side` is `A` or `B`, `MISSING` where the judge wrote neither response or both.
    """
    return excess_lean(judge, human, own_side, bootstrap)


def longer_side(length_difference: ArrayLike) -> IntArray:
    """The side of the longer response, `MISSING` where both are equally long."""
    difference = np.asarray(length_difference, dtype=np.float64)
    return np.where(difference > 0, A, np.where(difference < 0, B, MISSING))


def _is_decided(labels: IntArray, side: IntArray) -> BoolArray:
    return np.asarray(np.isin(labels, (A, B)) & np.isin(side, (A, B)), dtype=np.bool_)
