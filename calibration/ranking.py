"""Leaderboards: models in order, with an interval and a set of ranks for each.

The methods differ in the rating alone; win rates and counts come with every one. Intervals and
rank sets come from a cluster bootstrap, usually by prompt.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.bradley_terry import (
    DisconnectedComparisons,
    NoFiniteStrengths,
    strength_shares,
)
from calibration.comparisons import Comparisons
from calibration.elo import EloOptions
from calibration.errors import InvalidArgument
from calibration.estimate import Estimate
from calibration.model_scores import (
    Method,
    ModelScores,
    RankingOptions,
    Resampled,
    TieRule,
    score_models,
)
from calibration.rank_sets import RankSets, rank_sets, ranks, trivial_rank_sets
from calibration.resampling import (
    DEFAULT_CONFIDENCE_LEVEL,
    ClusterBootstrap,
    estimate_from_draws,
)

__all__ = [
    "Comparisons",
    "DisconnectedComparisons",
    "EloOptions",
    "Leaderboard",
    "Method",
    "ModelRating",
    "NoFiniteStrengths",
    "RankingOptions",
    "TieRule",
    "rank_models",
]

BoolArray = NDArray[np.bool_]
_SHARES = ("win_rate", "average_win_rate")


@dataclass(frozen=True, slots=True)
class ModelRating:
    """One row of a leaderboard.

    Attributes:
        model: Name of the model.
        rating: In the scale of the method; n is the number of comparisons of the model.
        strength: Bradley-Terry strength, summing to 1 over the models; None for other methods.
        win_rate: Points per comparison (against the baseline alone, if there is one).
        rank: 1 is the best; equal ratings share a rank.
        rank_low: Best rank the model may have. All sets hold together at the confidence level.
        rank_high: Worst rank the model may have.
        n: Number of comparisons of the model that were counted.
        wins: How many it won; a share above one half is a win.
        losses: How many it lost.
        ties: How many were tied.
    """

    model: str
    rating: Estimate
    strength: float | None
    win_rate: Estimate
    rank: int
    rank_low: int
    rank_high: int
    n: int
    wins: int
    losses: int
    ties: int


@dataclass(frozen=True, slots=True)
class Leaderboard:
    """Models by rank.

    Attributes:
        rows: Best first.
        method: The method of the ratings.
        n_comparisons: Number of comparisons that were counted.
        log_tie: Davidson's log nu (-inf without ties); None where ties are not modelled.
        n_resamples: Number of bootstrap resamples, 0 without a bootstrap.
        n_resamples_undefined: How many of them had no ratings, because some model was missing or
            the points won did not link all models. They are left out; beyond a fifth there are
            neither intervals nor rank sets.
    """

    rows: tuple[ModelRating, ...]
    method: Method
    n_comparisons: int
    log_tie: float | None
    n_resamples: int
    n_resamples_undefined: int


def rank_models(
    comparisons: Comparisons,
    options: RankingOptions | None = None,
    bootstrap: ClusterBootstrap | None = None,
) -> Leaderboard:
    """Rank models by their comparisons.

    Args:
        comparisons: The comparisons, in the order of play for Elo.
        options: Method, tie rule and constants; default Bradley-Terry with half-win ties.
        bootstrap: Resamples of the comparisons' groups; None for no intervals.

    Raises:
        DisconnectedComparisons: Bradley-Terry strengths are not finite.
        NoFiniteStrengths: Davidson's tie parameter is not finite.
        InvalidArgument: There is no comparison, the tie rule does not fit the method, or the
            baseline is not among the models.
    """
    chosen = RankingOptions() if options is None else options
    _check(comparisons, chosen)
    if chosen.ties == "exclude":
        bootstrap = None if bootstrap is None else bootstrap.take(~comparisons.is_tie)
        comparisons = comparisons.take(~comparisons.is_tie)
    if not comparisons.weight.any():
        raise InvalidArgument("no comparison to rank the models by")
    scores = score_models(comparisons, chosen, bootstrap)
    rows = _rows(comparisons, chosen, scores, bootstrap)
    has_tie_parameter = scores.strengths is not None and chosen.ties == "davidson"
    return Leaderboard(
        rows=rows,
        method=chosen.method,
        n_comparisons=len(comparisons),
        log_tie=float(scores.strengths.log_tie[0])
        if scores.strengths is not None and has_tie_parameter
        else None,
        n_resamples=0 if bootstrap is None else bootstrap.n_resamples,
        n_resamples_undefined=scores.rating.n_undefined,
    )


def _check(comparisons: Comparisons, options: RankingOptions) -> None:
    if options.ties == "davidson":
        if options.method != "bradley_terry":
            raise InvalidArgument("ties can follow Davidson only with the method bradley_terry")
        if not np.isin(comparisons.score, (0, 0.5, 1)).all():
            raise InvalidArgument("Davidson's model needs wins, ties and losses, not shares")
    if options.baseline is not None:
        if options.method != "win_rate":
            raise InvalidArgument("a baseline is for the method win_rate")
        if options.baseline not in comparisons.models:
            raise InvalidArgument(f"the baseline {options.baseline} is not among the models")


def _rows(
    comparisons: Comparisons,
    options: RankingOptions,
    scores: ModelScores,
    bootstrap: ClusterBootstrap | None,
) -> tuple[ModelRating, ...]:
    rank, sets = ranks(scores.rating.value), _rank_sets(scores.rating, bootstrap)
    strength = None
    if scores.strengths is not None:
        strength = strength_shares(scores.strengths.log_strength[0])
    made = []
    for model in np.argsort(rank, kind="stable").tolist():
        played = _played(comparisons, options, model)
        own = bootstrap if bootstrap is None else bootstrap.take(played)
        n, wins, ties = _record(comparisons.take(played), model)
        is_share = options.method in _SHARES
        made.append(
            ModelRating(
                model=comparisons.models[model],
                rating=_estimate(scores.rating, model, n, own if is_share else bootstrap, is_share),
                strength=None if strength is None else float(strength[model]),
                win_rate=_estimate(scores.win_rate, model, n, own, is_share=True),
                rank=int(rank[model]),
                rank_low=int(sets.low[model]),
                rank_high=int(sets.high[model]),
                n=n,
                wins=wins,
                losses=n - wins - ties,
                ties=ties,
            )
        )
    return tuple(made)


def _played(comparisons: Comparisons, options: RankingOptions, model: int) -> BoolArray:
    """Which comparisons are the model's own (with the baseline alone, if there is one)."""
    played = (comparisons.left == model) | (comparisons.right == model)
    if options.baseline is not None:
        baseline = comparisons.models.index(options.baseline)
        played &= (comparisons.left == baseline) | (comparisons.right == baseline)
    return np.asarray(played, dtype=np.bool_)


def _record(own: Comparisons, model: int) -> tuple[int, int, int]:
    """Number of comparisons, wins and ties of a model, from its own comparisons."""
    score = np.where(own.left == model, own.score, 1 - own.score)
    return len(own), int((score > 0.5).sum()), int((score == 0.5).sum())


def _estimate(
    scores: Resampled, model: int, n: int, bootstrap: ClusterBootstrap | None, is_share: bool
) -> Estimate:
    value = float(scores.value[model])
    if bootstrap is None or scores.draws is None:
        defined = value if np.isfinite(value) else None
        return Estimate(defined, None, None, DEFAULT_CONFIDENCE_LEVEL, n)
    return estimate_from_draws(value, scores.draws[:, model], n, bootstrap, is_share=is_share)


def _rank_sets(rating: Resampled, bootstrap: ClusterBootstrap | None) -> RankSets:
    if bootstrap is None or rating.draws is None:
        return trivial_rank_sets(len(rating.value))
    if not bootstrap.is_enough(bootstrap.n_resamples - rating.n_undefined):
        return trivial_rank_sets(len(rating.value))
    return rank_sets(
        rating.value, rating.draws, bootstrap.n_groups_present, bootstrap.confidence_level
    )
