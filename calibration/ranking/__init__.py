"""Ratings and ranks of models from pairwise comparisons."""

from __future__ import annotations

from calibration.ranking.bradley_terry import (
    DisconnectedComparisons,
    NoFiniteStrengths,
    Strengths,
    connected_components,
    fit_resamples,
    fit_strengths,
    information,
    strength_shares,
)
from calibration.ranking.comparisons import (
    Comparisons,
    PairLayout,
    PairTotals,
    Support,
    count_groups,
    count_records,
    with_baseline,
)
from calibration.ranking.criteria import Criterion, rank_by_criteria
from calibration.ranking.elo import EloOptions
from calibration.ranking.leaderboard import (
    Covariates,
    Intervals,
    Leaderboard,
    ModelRating,
    RankingOptions,
    rank_models,
)
from calibration.ranking.ranks import RankSets, Spread, rank_sets, ranks

__all__ = [
    "Comparisons",
    "Covariates",
    "Criterion",
    "DisconnectedComparisons",
    "EloOptions",
    "Intervals",
    "Leaderboard",
    "ModelRating",
    "NoFiniteStrengths",
    "PairLayout",
    "PairTotals",
    "RankSets",
    "RankingOptions",
    "Spread",
    "Strengths",
    "Support",
    "connected_components",
    "count_groups",
    "count_records",
    "fit_resamples",
    "fit_strengths",
    "information",
    "rank_by_criteria",
    "rank_models",
    "rank_sets",
    "ranks",
    "strength_shares",
    "with_baseline",
]
