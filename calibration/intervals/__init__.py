"""Confidence intervals that respect groups of rows: bootstrap, jackknife, intervals of shares."""

from __future__ import annotations

from calibration.intervals.bootstrap import (
    FEWEST_GROUPS_FOR_PERCENTILES,
    LARGEST_UNDEFINED_SHARE,
    NO_LIMITS,
    ClusterBootstrap,
    Limits,
    bootstrap_statistic,
    estimate_from_draws,
    estimate_mean,
    expanded_tail,
    groups_of,
    resampled_limits,
)
from calibration.intervals.groups import (
    DEFAULT_CONFIDENCE_LEVEL,
    Groups,
    GroupsLike,
    as_groups,
)
from calibration.intervals.jackknife import jackknife_ratio, jackknife_statistic, share_limits
from calibration.intervals.shares import (
    ShareMethod,
    effective_trials,
    estimate_paired_difference,
    estimate_share,
    estimate_share_difference,
    logit_limits,
    student_over_normal,
    student_quantile,
)

__all__ = [
    "DEFAULT_CONFIDENCE_LEVEL",
    "FEWEST_GROUPS_FOR_PERCENTILES",
    "LARGEST_UNDEFINED_SHARE",
    "NO_LIMITS",
    "ClusterBootstrap",
    "Groups",
    "GroupsLike",
    "Limits",
    "ShareMethod",
    "as_groups",
    "bootstrap_statistic",
    "effective_trials",
    "estimate_from_draws",
    "estimate_mean",
    "estimate_paired_difference",
    "estimate_share",
    "estimate_share_difference",
    "expanded_tail",
    "groups_of",
    "jackknife_ratio",
    "jackknife_statistic",
    "logit_limits",
    "resampled_limits",
    "share_limits",
    "student_over_normal",
    "student_quantile",
]
