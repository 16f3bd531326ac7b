"""The promise on what most people would say of a pair, from two or three votes on each.

A vote differs from the panel's opinion, what most of all annotators would say, with a probability h
of at most 1/2 that depends on the pair. Let e = 1 where the verdict is not the panel's, and r = E[e]
over the answered pairs: r < target is what is promised.

*Two votes.* Pairs on which the two votes differ say nothing and are left out. Of the others let rho
be the share on which both votes contradict the verdict. For votes that are independent given the pair

    P(both contradict) - t P(both the same) = (r - t)(1 - 2 E[h]) + (1 - 2t) E[h^2] - 2 Cov(e, h),

so rho < t shows r < t for every t below 1/2, as long as Cov(e, h) <= (1/2 - t) E[h^2]: people may be
only a little noisier where the verdict is wrong. The counts on those pairs are still binomial, so
every test by counts applies unchanged. Votes that err together on a pair, or annotators that
differ in how often they err, only make rho larger.

*Three votes* need no such assumption. Let p be the probability that a vote contradicts the verdict: h,
or 1 - h where e = 1, so that e = 1 means p >= 1/2. For every cubic g with g >= 0 on [0, 1] and
g >= 1 on [1/2, 1], r <= E[g(p)], and the coefficients of g in Bernstein's basis make an unbiased
estimate: E[g(p)] = E[b_W] for the number W of three votes that contradict the verdict. Three votes
show only the first three moments of p, for which such cubics are the sharpest bounds (Markov and
Chebyshev; Karlin and Studden 1966). "E[b_W] >= target" is refuted by betting along the walk that
certified, the wealth spread over a few cubics, in a test of its own at the same failure probability.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import comb
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from calibration.arrays import BoolArray, FloatArray, IntArray
from calibration.binomial import occurs_more_often
from calibration.certify.evidence import mixed_p_value
from calibration.certify.paths import Path, break_points, scores
from calibration.labels import MISSING, A
from calibration.sample import checked_confidence, one_row_a_group

Assumption = Literal["assumed", "tested"]

_TOUCHES: Final = (0.02, 0.06, 0.12, 0.2)
# fewer third votes than the first number refute nothing; more than the second take seconds and add little
_LEAST_THIRD, _MOST_THIRD = 30, 2_000
_LEVEL_OF_CHOICE = 0.01


@dataclass(frozen=True, slots=True)
class Panel:
    """The votes behind a promise about a panel.

    Attributes:
        two_votes: Pairs whose first two votes both name a better response; those that set where the
            test starts, or teach, are among them.
        split: Those of them on which the two differ.
        one_vote: Pairs with one vote only, left out.
        tied: Pairs left out because one of the first two votes is a tie.
        three_votes: Pairs whose third vote may show the promise without the assumption; 0 where
            third votes were asked for because of what the first two said.
        assumption: "tested": third votes show the promise without assuming anything of the noise.
            "assumed": it rests on people being no noisier where the verdicts are wrong.
    """

    two_votes: int
    split: int
    one_vote: int
    tied: int
    three_votes: int
    assumption: Assumption = "assumed"


@dataclass(frozen=True, slots=True, eq=False)
class ThirdVotes:
    """Pairs with three votes, one a group, in the order of betting.

    Attributes:
        confidence: Shape (m, c), as in a sample.
        against: Shape (m, c), how many of the three votes contradict each column's verdict.
        is_open: Shape (m,), the third vote is a tie: it may count either way.
        slice: Shape (m,), the slice of each pair as text; None where all are one.
    """

    confidence: FloatArray
    against: IntArray
    is_open: BoolArray
    slice: NDArray[np.str_] | None = None

    def rows(self, chosen: BoolArray | IntArray) -> ThirdVotes:
        """Return some of the pairs."""
        part = None if self.slice is None else self.slice[chosen]
        return ThirdVotes(self.confidence[chosen], self.against[chosen], self.is_open[chosen], part)


@dataclass(frozen=True, slots=True, eq=False)
class PanelVotes:
    """What a request for a promise about a panel carries beside its sample."""

    figures: Panel
    third: ThirdVotes | None

    def of_slice(self, name: str) -> PanelVotes:
        """Return the third votes of one slice."""
        third = self.third
        if third is None or third.slice is None:
            return replace(self, third=None)
        return replace(self, third=third.rows(third.slice == name))


@dataclass(frozen=True, slots=True, eq=False)
class FirstVotes:
    """The first three votes on each pair, and what the first two say.

    Attributes:
        votes: Shape (n, 3): 1 for a, 0 for b, .5 for a tie, nan where there is none.
        is_usable: Shape (n,): the first two both name a better response.
        is_split: Shape (n,): they differ.
        has_third: Shape (n,): there is a third vote beside two usable ones.
    """

    votes: FloatArray
    is_usable: BoolArray
    is_split: BoolArray
    has_third: BoolArray

    @classmethod
    def of(cls, votes: FloatArray) -> FirstVotes:
        """Read votes in the order in which they came, shape (n, v); nan where there is none.

        Example:
            >>> read = FirstVotes.of(np.array([[1, np.nan, 1, 0], [0, 1, 1, 1], [0, 0.5, 0, 0]]))
            >>> read.is_usable, read.is_split, read.has_third
            (array([ True,  True, False]), array([False,  True, False]), array([ True,  True, False]))
        """
        order = np.argsort(np.isnan(votes), axis=1, kind="stable")
        first = np.full((len(votes), 3), np.nan)
        kept = min(votes.shape[1], 3)
        first[:, :kept] = np.take_along_axis(votes, order, axis=1)[:, :kept]
        named = (first == 0.0) | (first == 1.0)
        is_usable = np.asarray(named[:, :2].all(axis=1))
        is_split = np.asarray(is_usable & (first[:, 0] != first[:, 1]))
        return cls(first, is_usable, is_split, np.asarray(is_usable & ~np.isnan(first[:, 2])))

    @property
    def figures(self) -> Panel:
        """Count the pairs."""
        is_tied = (self.votes[:, :2] == 0.5).any(axis=1)
        is_single = ~is_tied & ~np.isnan(self.votes[:, 0]) & np.isnan(self.votes[:, 1])
        third = int(self.has_third.sum()) if self.third_is_blind else 0
        return Panel(
            int(self.is_usable.sum()),
            int(self.is_split.sum()),
            int(is_single.sum()),
            int(is_tied.sum()),
            third,
        )

    @property
    def third_is_blind(self) -> bool:
        """Whether third votes were asked for whatever the first two said, as far as it shows.

        A third vote is often asked for where two differ. Such pairs are no sample of all pairs.
        """
        three = self.has_third
        two = self.is_usable & ~three
        counts = [(int(self.is_split[rows].sum()), int(rows.sum())) for rows in (three, two)]
        if counts[0][1] < _LEAST_THIRD:
            return False
        level = _LEVEL_OF_CHOICE / 2
        more = occurs_more_often(*counts[0], *counts[1], level)
        return not more and not occurs_more_often(*counts[1], *counts[0], level)

    @property
    def agreement(self) -> FloatArray:
        """How far the first two votes agree with the verdict a, and with b; shape (n, 2)."""
        for_a = self.votes[:, :2].mean(axis=1)
        return np.column_stack([for_a, 1.0 - for_a])


def third_votes(
    said: tuple[IntArray, FloatArray],
    votes: FloatArray,
    group: IntArray,
    part: NDArray[np.str_] | None,
    rng: np.random.Generator,
) -> ThirdVotes:
    """Put pairs with three votes in the form in which they are bet on, one drawn from each group.

    Args:
        said: Label codes and confidences of each column's verdict, shape (m, c) each.
        votes: Shape (m, 3), the third may be .5.
        group: Shape (m,).
        part: Shape (m,), slices, or None.
        rng: Draws a pair of each group and the order of the bets.
    """
    label, confidence = said
    verdict = np.where(label == MISSING, np.nan, (label == A).astype(np.float64))
    is_open = votes[:, 2] == 0.5
    counted = votes.copy()
    counted[is_open, 2] = np.nan
    against = np.zeros(label.shape, dtype=np.int64)
    for one in counted.T:
        against += (one[:, None] != verdict) & ~np.isnan(one)[:, None]
    chosen = rng.permutation(one_row_a_group(group, rng))[:_MOST_THIRD]
    checked = checked_confidence("confidence", confidence)
    return ThirdVotes(checked, against, np.asarray(is_open), part).rows(chosen)


def cubic_losses(touches: float) -> FloatArray:
    """Return the loss of 0, 1, 2 and 3 of three votes against a verdict, shape (4,).

    They are the Bernstein coefficients of ((p - t) / (1/2 - t))^2 (1 + s (p - 1/2)) with
    s = 2 ((1/2 - t)^2 / (1 - t)^2 - 1), so that the cubic is 1 at 1/2 and at 1. It rises from 1/2
    and falls back, so it is at least 1 in between; its third root lies above 1.

    Args:
        touches: t, where the cubic touches 0, in [0, 1/2): the noise at which it loses least.

    Example:
        Three votes against a verdict count once, two of three nearly three times, and a single one
        counts in its favour.

        >>> cubic_losses(0.1).round(2)
        array([ 0.11, -0.67,  2.97,  1.  ])
    """
    square = np.polynomial.Polynomial([-touches, 1.0]) ** 2 / (0.5 - touches) ** 2
    slope = 2.0 * ((0.5 - touches) ** 2 / (1.0 - touches) ** 2 - 1.0)
    power = (square * np.polynomial.Polynomial([1.0 - slope / 2.0, slope])).coef
    return np.array(
        [sum(comb(k, i) / comb(3, i) * power[i] for i in range(k + 1)) for k in range(4)]
    )


_LOSSES: Final = np.array([cubic_losses(touches) for touches in _TOUCHES])


def needs_no_assumption(
    third: ThirdVotes, path: Path, place: int, target_risk: float, level: float
) -> bool:
    """Return whether third votes show the promise of a node without any assumption on the noise.

    The walk that certified the node is repeated with the losses of three votes, from the same
    starts through every break point of these pairs, so that the first threshold that breaks the
    promise is fixed although the nodes are not.

    Args:
        third: The pairs, none of which taught the path or set where it starts.
        path: A path whose judges share one threshold.
        place: The node on it.
        target_risk: Risk to be refuted.
        level: Level that belongs to the whole path.
    """
    if path.thresholds.shape[1] > 1 or not len(third.confidence):
        return False
    columns = path.is_on_path
    margins = None if path.margins is None else path.margins[columns]
    shared = scores(third.confidence[:, columns], margins)
    against = third.against[:, columns]
    nodes = path.thresholds[:, 0]
    inner = break_points(shared, np.zeros_like(shared)).threshold
    for start in np.flatnonzero(path.entry_weights[: place + 1] > 0).tolist():
        within = inner[(inner < nodes[start]) & (inner >= nodes[place])]
        walked = np.unique(np.append(within, nodes[start]))[::-1]
        entry = level * float(path.entry_weights[start])
        if all(_p_value(third, shared, against, at, target_risk) <= entry for at in walked):
            return True
    return False


def _p_value(
    third: ThirdVotes, shared: FloatArray, against: IntArray, threshold: float, target_risk: float
) -> float:
    reached = shared >= threshold
    is_answered = reached.any(axis=1)
    count = against[np.arange(len(against)), reached.argmax(axis=1)]
    # a tie as the third vote counts as the vote that speaks more for the null hypothesis
    losses = np.maximum(_LOSSES[:, count], _LOSSES[:, count + third.is_open])
    terms = np.where(is_answered, losses - target_risk, 0.0)
    return mixed_p_value(terms, _LOSSES.max(axis=1) - target_risk)
