"""Confidence intervals that respect groups: bootstrap, analytic, jackknife."""

from __future__ import annotations

from calibration.intervals.bootstrap import (
    DEFAULT_CONFIDENCE_LEVEL,
    LARGEST_UNDEFINED_SHARE,
    ClusterBootstrap,
    Limits,
    estimate_from_draws,
    estimate_share,
    estimate_statistic,
    expanded_tail,
    numbered_groups,
)
from calibration.intervals.clustered import (
    NO_LIMITS,
    Clusters,
    check_rows,
    effective_trials,
    estimate_clustered_share,
    estimate_paired_difference,
    estimate_share_difference,
    level_of,
    logit_limits,
    rarer_outcome,
    student_over_normal,
    student_quantile,
)
from calibration.intervals.jackknife import estimate_mean, group_ratio, group_share, group_statistic

__all__ = [
    "DEFAULT_CONFIDENCE_LEVEL",
    "LARGEST_UNDEFINED_SHARE",
    "NO_LIMITS",
    "ClusterBootstrap",
    "Clusters",
    "Limits",
    "check_rows",
    "effective_trials",
    "estimate_clustered_share",
    "estimate_from_draws",
    "estimate_mean",
    "estimate_paired_difference",
    "estimate_share",
    "estimate_share_difference",
    "estimate_statistic",
    "expanded_tail",
    "group_ratio",
    "group_share",
    "group_statistic",
    "level_of",
    "logit_limits",
    "numbered_groups",
    "rarer_outcome",
    "student_over_normal",
    "student_quantile",
]
