"""The tests that a certificate needs: by exact counts, by betting, by betting as labels arrive.

Losses of 0 and 1 on independent pairs are tested by exact binomial counts. Shares of annotators,
unequal label probabilities and groups of dependent pairs are tested by betting.
"""

from __future__ import annotations

from calibration.certify.evidence.betting import (
    ArrivingPairs,
    Betting,
    arrival_p_value,
    following_bets,
    log_evidence,
    mean_p_value,
    mixed_p_value,
)
from calibration.certify.evidence.exact import ExactCounts
from calibration.certify.evidence.path_tests import (
    Counts,
    Evidence,
    InEverySlice,
    PathTest,
    Strength,
    path_counts,
    shared_counts,
    shares_as_they_come,
)

__all__ = [
    "ArrivingPairs",
    "Betting",
    "Counts",
    "Evidence",
    "ExactCounts",
    "InEverySlice",
    "PathTest",
    "Strength",
    "arrival_p_value",
    "following_bets",
    "log_evidence",
    "mean_p_value",
    "mixed_p_value",
    "path_counts",
    "shared_counts",
    "shares_as_they_come",
]
