"""Ratings and ranks of models from pairwise comparisons."""

from __future__ import annotations

from calibration.ranking.bradley_terry import (
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
    Records,
    Support,
    count_groups,
    count_records,
    with_baseline,
)
from calibration.ranking.criteria import (
    CriteriaLeaderboard,
    Criterion,
    Meeting,
    rank_by_criteria,
    win_matrix,
)
from calibration.ranking.elo import (
    EloOptions,
    Intervals,
    Method,
    RankingOptions,
    TieRule,
    elo_ratings,
)
from calibration.ranking.leaderboard import Leaderboard, ModelRating, rank_models
from calibration.ranking.not_finite import DisconnectedComparisons, NoFiniteStrengths
from calibration.ranking.ranks import RankSets, Spread, rank_sets, ranks
from calibration.ranking.scores import Coefficient
from calibration.ranking.style import ControlledFit, Covariates, fit_controlled

__all__ = [
    "Coefficient",
    "Comparisons",
    "ControlledFit",
    "Covariates",
    "CriteriaLeaderboard",
    "Criterion",
    "DisconnectedComparisons",
    "EloOptions",
    "Intervals",
    "Leaderboard",
    "Meeting",
    "Method",
    "ModelRating",
    "NoFiniteStrengths",
    "PairLayout",
    "PairTotals",
    "RankSets",
    "RankingOptions",
    "Records",
    "Spread",
    "Strengths",
    "Support",
    "TieRule",
    "connected_components",
    "count_groups",
    "count_records",
    "elo_ratings",
    "fit_controlled",
    "fit_resamples",
    "fit_strengths",
    "information",
    "rank_by_criteria",
    "rank_models",
    "rank_sets",
    "ranks",
    "strength_shares",
    "win_matrix",
    "with_baseline",
]
