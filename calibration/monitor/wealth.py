"""Wealth of bets that a risk has risen, restarted regularly and kept in a few numbers.

Each bet stakes on "the risk has risen to r": an audit multiplies the stake by a factor f whose
expectation is at most 1 while the risk is at most alpha. New money enters every 25 audits, so that
a late rise finds a fresh bet. All starts of one alternative meet the same later factors, so their
sum S follows S_t = f_t S_{t-1} + v_t with v_t the money that enters: memory does not grow with
time. (Waudby-Smith and Ramdas 2024; Ville 1939; Shiryaev 1963 and Roberts 1966 for v_t = 1.)

Where answers come in another order than their audits were drawn, the last starts are kept apart,
each with the number of the draw after which it bets. A late answer multiplies the starts before its
draw alone: a bet on a later rise is not spoilt by answers from before it. Which starts an answer
multiplies is known before the answer, so that the bet stays fair in any order of coming.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from calibration.arrays import FloatArray, IntArray

RESTART_EVERY = 25

_RISES = np.array([0.15, 0.3, 0.5, 0.8, 1.2, 1.8, 2.6, 3.6, 5.0])
_LARGEST_ALTERNATIVE = 0.95
# Audits of unequal probability may cost a bet no more than three quarters of its stake.
_LARGEST_LOSS = 0.75
# sum 1 / (j (1 + ln j)^2) over all j >= 1 is 1.693: the weights never add up to 1.
_SERIES = 1.7
# Audits are taken in pieces, so that neither memory nor rounding grows with their number.
_PIECE = 128
# an answer that comes later than so many starts multiplies all the starts before them
MOST_STARTS = 100


@dataclass(frozen=True, slots=True, eq=False)
class Wealth:
    """Stakes of one stream of audits, or of many streams side by side.

    Attributes:
        log_stakes: Logarithm of the money on each alternative, shape (..., alternatives).
        cash: Money that has not entered yet; the same for all streams.
        audits: Number of audits seen.
    """

    log_stakes: FloatArray
    cash: float
    audits: int

    @property
    def log_total(self) -> FloatArray:
        """Logarithm of all the money, shape (...)."""
        return log_total(self.log_stakes, np.array(self.cash), -1)


def alternatives(target_risk: float) -> FloatArray:
    """Return the risks that are bet on, alpha (1 + {.15, .3, .5, .8, 1.2, ..., 5}) below .95."""
    risks: FloatArray = target_risk * (1.0 + _RISES)
    return risks[risks < _LARGEST_ALTERNATIVE]


def stakes_per_term(target_risk: float, min_audit_probability: float | None) -> FloatArray:
    """Return the bet b of each alternative in f = 1 + b (loss - alpha) / pi.

    Equal probabilities (pi = 1 in f): b = (r - alpha) / (alpha (1 - alpha)), which makes f the
    likelihood ratio r / alpha on a loss of 1 and (1 - r) / (1 - alpha) on a loss of 0. Unequal
    ones: the same times pi_min, and at most .75 pi_min / alpha, so that f >= .25.
    """
    risks = alternatives(target_risk)
    bets: FloatArray = (risks - target_risk) / (target_risk * (1.0 - target_risk))
    if min_audit_probability is None:
        return bets
    return min_audit_probability * np.minimum(bets, _LARGEST_LOSS / target_risk)


def restart_weights(number: FloatArray) -> FloatArray:
    """Return the share of the money of start 1, 2, ..: 1 / (1.7 j (1 + ln j)^2)."""
    return 1.0 / (_SERIES * number * (1.0 + np.log(number)) ** 2)


def opening_wealth(n_alternatives: int) -> Wealth:
    """Return money of 1, the first start's share of it spread evenly over the alternatives."""
    first = float(restart_weights(np.ones(1))[0])
    return Wealth(np.full(n_alternatives, np.log(first / n_alternatives)), 1.0 - first, 0)


def followed(
    wealth: Wealth, bets: FloatArray, terms: FloatArray
) -> Iterator[tuple[Wealth, FloatArray]]:
    """Follow the wealth through audits, piece by piece.

    Args:
        wealth: Before the audits.
        bets: Shape (alternatives,).
        terms: (loss - alpha) / pi of each audit, shape (..., audits).

    Yields:
        Wealth after a piece, and the logarithm of the total after each audit of it, shape
        (..., audits of the piece).
    """
    for piece in pieces(terms):
        numbers = np.arange(wealth.audits + 1, wealth.audits + 1 + piece.shape[-1])
        entering = _entering(numbers)
        cash = np.cumsum(np.append(wealth.cash, -entering))[1:]
        log_entering = np.full(numbers.size, -np.inf)
        np.log(entering / bets.size, out=log_entering, where=entering > 0)
        path = grown(wealth.log_stakes, log_factors(bets, piece), log_entering)
        wealth = Wealth(path[..., -1], float(cash[-1]), int(numbers[-1]))
        yield wealth, log_total(path, cash, -2)


@dataclass(frozen=True, slots=True, eq=False)
class Starts:
    """Stakes of one stream whose last starts are kept apart.

    Attributes:
        log_stakes: Logarithm of the money of all older starts, shape (alternatives,).
        after: Number of the draw after which each later start bets, increasing, shape (starts,).
        log_later: Logarithm of their money, shape (starts, alternatives).
        cash: Money that has not entered yet.
        drawn: Largest number of a draw that was answered; starts up to it have entered.
    """

    log_stakes: FloatArray
    after: IntArray
    log_later: FloatArray
    cash: float
    drawn: int

    def up_to(self, number: int) -> Starts:
        """Let the money of all starts up to a later draw enter; the oldest starts are put together."""
        first, last = self.drawn // RESTART_EVERY + 1, number // RESTART_EVERY
        if last < first:
            return replace(self, drawn=number)
        new = np.arange(first, last + 1)
        entering = restart_weights(new.astype(np.float64) + 1.0)
        opened = np.repeat(
            np.log(entering / self.log_stakes.size)[:, None], self.log_stakes.size, 1
        )
        later = np.concatenate([self.log_later, opened])
        old = np.concatenate([self.log_stakes[None], later[:-MOST_STARTS]])
        return Starts(
            np.logaddexp.reduce(old, axis=0),
            np.concatenate([self.after, new * RESTART_EVERY])[-MOST_STARTS:],
            later[-MOST_STARTS:],
            self.cash - float(entering.sum()),
            number,
        )


def followed_by_number(
    starts: Starts, bets: FloatArray, terms: FloatArray, numbers: IntArray
) -> tuple[Starts, FloatArray]:
    """Follow the wealth of one stream through audits as their answers come.

    Args:
        starts: Before the audits.
        bets: Shape (alternatives,).
        terms: (loss - alpha) / pi of each audit, shape (audits,).
        numbers: Number of each audit in the order of drawing, from 1 on, shape (audits,).

    Returns:
        The starts after the audits, and the logarithm of the total after each, shape (audits,).
    """
    path = np.empty(terms.size)
    for at, number in enumerate(numbers.tolist()):
        if number > starts.drawn:
            starts = starts.up_to(number)
        factor = log_factors(bets, terms[at : at + 1])[:, 0]
        later = starts.log_later + np.where((starts.after < number)[:, None], factor, 0.0)
        starts = replace(starts, log_stakes=starts.log_stakes + factor, log_later=later)
        stakes = np.append(starts.log_stakes, later)
        path[at] = np.logaddexp(np.logaddexp.reduce(stakes), np.log(starts.cash))
    return starts, path


def with_warnings(
    log_stakes: FloatArray, bets: FloatArray, terms: FloatArray, threshold: float
) -> tuple[FloatArray, list[int]]:
    """Follow one stream's Shiryaev-Roberts statistic M_t = (M_{t-1} + 1) f_t, the mean over bets.

    Args:
        log_stakes: Logarithm of M + 1 for each bet, shape (alternatives,).
        bets: Shape (alternatives,).
        terms: Shape (audits,).
        threshold: Where the mean of M reaches it, a warning is given and M starts again at 0.

    Returns:
        The stakes after the audits, and the audits that gave a warning, counted from 1.
    """
    level = np.log1p(threshold) + np.log(bets.size)
    seen, warned = 0, []
    for piece in pieces(terms):
        factors = log_factors(bets, piece)
        while factors.shape[-1]:
            path = grown(log_stakes, factors, np.zeros(factors.shape[-1]))
            reached = np.flatnonzero(np.logaddexp.reduce(path, axis=0) >= level)
            taken = int(reached[0]) + 1 if reached.size else factors.shape[-1]
            log_stakes, factors, seen = path[:, taken - 1], factors[:, taken:], seen + taken
            if reached.size:
                log_stakes = np.zeros(bets.size)
                warned.append(seen)
    return log_stakes, warned


def pieces(terms: FloatArray) -> Iterator[FloatArray]:
    """Cut the last axis into short stretches; none where it is empty."""
    for start in range(0, terms.shape[-1], _PIECE):
        yield terms[..., start : start + _PIECE]


def log_factors(bets: FloatArray, terms: FloatArray) -> FloatArray:
    """Return log(1 + b Z), shape (..., alternatives, audits), of terms (..., audits)."""
    factors: FloatArray = np.log1p(bets[:, None] * terms[..., None, :])
    return factors


def grown(log_stakes: FloatArray, factors: FloatArray, log_entering: FloatArray) -> FloatArray:
    """Return the logarithm of S_t for S_t = f_t S_{t-1} + v_t.

    With F_t = f_1 .. f_t it is S_t = F_t (S_0 + sum over i <= t of v_i / F_i), taken in logarithms.

    Args:
        log_stakes: log S_0, shape (..., alternatives).
        factors: log f, shape (..., alternatives, audits).
        log_entering: log v, shape (audits,), -inf where nothing enters.
    """
    growth = np.cumsum(factors, axis=-1)
    discounted = np.concatenate([log_stakes[..., None], log_entering - growth], axis=-1)
    path: FloatArray = growth + np.logaddexp.accumulate(discounted, axis=-1)[..., 1:]
    return path


def log_total(log_stakes: FloatArray, cash: FloatArray, axis: int) -> FloatArray:
    """Return the logarithm of the cash and the stakes added up along an axis."""
    total: FloatArray = np.logaddexp(np.logaddexp.reduce(log_stakes, axis=axis), np.log(cash))
    return total


def _entering(numbers: IntArray) -> FloatArray:
    starts = (numbers // RESTART_EVERY + 1).astype(np.float64)
    return np.where(numbers % RESTART_EVERY == 0, restart_weights(starts), 0.0)
