"""Is the new one preferred to the old one? Yes, no, or too little evidence to say.

A cascade abstains where pairs are hard, so abstentions are not missing at random (Manski 1990): for
"yes" every abstained pair counts as lost, for "no" as won. Both answers are one-sided tests by
exact binomial bounds (Clopper and Pearson 1934), on as many independent trials as dependent pairs
are worth (Korn and Graubard 1998), so that each is wrong with a probability of at most `alpha`.

Verdicts are not people. Where a certificate bounds the share of given verdicts that people disagree
with, each answered pair can be charged that share, and the answer is then about people.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy
from numpy.typing import ArrayLike

from calibration.arrays import FloatArray
from calibration.binomial import lower_bound, upper_bound
from calibration.errors import InvalidArgument
from calibration.intervals import Groups, effective_trials

Outcome = Literal["passed", "failed", "not_enough_evidence"]
_MOST_NEEDED = 10_000_000


@dataclass(frozen=True, slots=True)
class PreferenceEvidence:
    """The evidence of verdicts on pairs of two models' outputs.

    Attributes:
        outcome: `passed`: the win rate is at least `min_win`; `failed`: it is below;
            `not_enough_evidence`: these pairs tell neither.
        win_rate: Share won of the pairs with a verdict, a tie being half; None without verdicts.
        low: One-sided lower bound on the win rate, every abstained pair lost.
        high: One-sided upper bound on the win rate, every abstained pair won.
        pairs: Number of pairs.
        groups: Number of groups, which are independent of each other.
        wins: Pairs on which the new one was preferred.
        losses: Pairs on which the old one was.
        ties: Pairs on which neither was.
        abstained: Pairs without a verdict.
        pairs_needed: How many pairs such as these would have passed; None where no number would.
    """

    outcome: Outcome
    win_rate: float | None
    low: float
    high: float
    pairs: int
    groups: int
    wins: int
    losses: int
    ties: int
    abstained: int
    pairs_needed: int | None


def weigh_preference(
    score: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    min_win: float = 0.5,
    alpha: float = 0.1,
    error_share: float = 0.0,
) -> PreferenceEvidence:
    """Decide whether a win rate is at least `min_win`.

    With s the error share, a given verdict w in [0, 1] is worth w - s at least and w + s at most,
    an abstention 0 and 1. The answer is `passed` where the lower bound on the mean of the former
    reaches `min_win`, `failed` where the upper bound on the mean of the latter stays below it.

    Args:
        score: What the new one got on each pair, shape (n,): 1, 0, or a share between, such as .5
            for a tie; nan where there is no verdict.
        groups: Shape (n,); pairs of one group may depend on each other. Each is its own by default.
        min_win: The win rate asked for, inside (0, 1).
        alpha: Largest probability of a wrong `passed`, and of a wrong `failed`, inside (0, 0.5).
        error_share: Largest share of given verdicts that people disagree with, in [0, 1).

    Raises:
        InvalidArgument: There is no pair, or a number is out of its range.

    Example:
        The new one wins 40 pairs, loses 15, and 5 have no verdict.

        >>> score = [1.0] * 40 + [0.0] * 15 + [np.nan] * 5
        >>> found = weigh_preference(score)
        >>> found.outcome, round(found.low, 3), round(found.high, 3)
        ('passed', 0.577, 0.823)
    """
    won = np.asarray(score, dtype=np.float64)
    _check(won, {"min_win": (min_win, 1.0), "alpha": (alpha, 0.5)}, error_share)
    known = Groups.of(np.arange(won.size) if groups is None else groups, 1.0 - 2.0 * alpha)
    if len(known) != won.size:
        raise InvalidArgument(f"groups must have shape ({won.size},), not ({len(known)},)")
    is_given = ~np.isnan(won)
    # both worths moved into [0, 1], where an abstention is worth s, and 1 - s
    least = np.where(is_given, won, error_share)
    most = np.where(is_given, won, 1.0 - error_share)
    low = max(_bound(least, known, alpha, is_upper=False) - error_share, 0.0)
    high = min(_bound(most, known, alpha, is_upper=True) + error_share, 1.0)
    return PreferenceEvidence(
        outcome=_outcome(low, high, min_win),
        win_rate=float(won[is_given].mean()) if is_given.any() else None,
        low=low,
        high=high,
        pairs=won.size,
        groups=known.n_groups,
        wins=int((won > 0.5).sum()),
        losses=int((won < 0.5).sum()),
        ties=int((won == 0.5).sum()),
        abstained=int((~is_given).sum()),
        pairs_needed=_needed(least, known, min_win + error_share, alpha),
    )


def _bound(worth: FloatArray, groups: Groups, alpha: float, *, is_upper: bool) -> float:
    trials = effective_trials(worth, groups, alpha)
    hits = min(float(worth.mean()) * trials, trials)
    bound = upper_bound if is_upper else lower_bound
    return float(bound(hits, trials, alpha))


def _outcome(low: float, high: float, min_win: float) -> Outcome:
    if low >= min_win:
        return "passed"
    return "failed" if high < min_win else "not_enough_evidence"


def _needed(worth: FloatArray, groups: Groups, least: float, alpha: float) -> int | None:
    """Estimate how many pairs like these would raise the lower bound to `least`.

    n = z^2 p (1 - p) / (p - least)^2 independent trials, plus one half for the discreteness of
    counts over the distance, times the pairs that make one such trial here.
    """
    mean = float(worth.mean())
    if mean <= least:
        return None
    z = float(scipy.special.ndtri(1.0 - alpha))
    distance = mean - least
    normal = z**2 * max(mean * (1.0 - mean), 1e-12) / distance**2 + 0.5 / distance
    exact_of_all_won = np.log(alpha) / np.log(least)
    trials = max(normal, float(exact_of_all_won))
    pairs = trials * worth.size / effective_trials(worth, groups, alpha)
    return int(np.ceil(min(pairs, _MOST_NEEDED)))


def _check(won: FloatArray, numbers: dict[str, tuple[float, float]], error_share: float) -> None:
    if won.ndim != 1 or not won.size:
        raise InvalidArgument("score must be a vector of at least one pair")
    given = won[~np.isnan(won)]
    if not ((given >= 0) & (given <= 1)).all():
        raise InvalidArgument("score must lie in [0, 1], nan where there is no verdict")
    for name, (value, most) in numbers.items():
        if not 0.0 < value < most:
            raise InvalidArgument(f"{name} must lie inside (0, {most:g}), not {value}")
    if not 0.0 <= error_share < 1.0:
        raise InvalidArgument(f"error_share must lie in [0, 1), not {error_share}")
