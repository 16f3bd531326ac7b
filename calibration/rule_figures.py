"""What one rule for choosing thresholds did over many splits, with Monte-Carlo intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from calibration.arrays import BoolArray, FloatArray
from calibration.binomial import wilson_interval
from calibration.estimate import Estimate

# coverage, agreement, agreement on both sides, relative cost; then one share a judge
_NUMBERS = 4
_TOLERANCE = 1e-9


@dataclass(frozen=True, slots=True)
class RuleFigures:
    """What one rule did at one target, each number over the splits with its Monte-Carlo interval.

    The intervals say how far more splits of these pairs could move a number, not how far other
    pairs could.

    Attributes:
        rule: Which rule.
        target_risk: At which target.
        composition: Share of the held-out pairs that each judge answers, one a judge.
        coverage: Share of the held-out pairs that are answered.
        agreement: Agreement on what is answered; over the splits where anything is.
        success_rate: Share of splits whose held-out agreement reaches the target. A split where
            nothing is answered breaks no promise and counts as one.
        population_success_rate: The same for the agreement on all pairs of both sides.
        silent_rate: Share of splits in which no held-out pair is answered.
        relative_cost: Cost over that of asking the last judge about every pair; None where costs
            are unknown.
        unavailable: Why the rule could not be applied to these labels; its numbers are then empty.
    """

    rule: str
    target_risk: float
    composition: tuple[Estimate, ...]
    coverage: Estimate
    agreement: Estimate
    success_rate: Estimate
    population_success_rate: Estimate
    silent_rate: Estimate
    relative_cost: Estimate | None
    unavailable: str | None = None


def summarised(  # noqa: PLR0913 - what names a row, what it is made of, and how it is read
    rule: str,
    target_risk: float,
    outcomes: Sequence[FloatArray],
    *,
    n_judges: int,
    confidence_level: float,
    unavailable: str | None = None,
) -> RuleFigures:
    """Return the figures of a rule from what it did on every split.

    Args:
        rule: Which rule.
        target_risk: At which target.
        outcomes: One vector a split: coverage, agreement, agreement on both sides, relative cost
            (nan where there is none), then the share that each judge answers.
        n_judges: Number of judges.
        confidence_level: Coverage of the intervals.
        unavailable: Why the rule could not be applied, if so.
    """
    rows = np.array(outcomes, dtype=np.float64).reshape(-1, _NUMBERS + n_judges)
    coverage, agreement, on_all, relative = rows[:, :_NUMBERS].T
    least, level = 1.0 - target_risk - _TOLERANCE, confidence_level
    return RuleFigures(
        rule=rule,
        target_risk=target_risk,
        composition=tuple(_mean(share, level) for share in rows[:, _NUMBERS:].T),
        coverage=_mean(coverage, level),
        agreement=_mean(agreement[np.isfinite(agreement)], level),
        success_rate=_share(~(agreement < least), level),
        population_success_rate=_share(~(on_all < least), level),
        silent_rate=_share(np.isnan(agreement), level),
        relative_cost=_mean(relative, level) if np.isfinite(relative).all() else None,
        unavailable=unavailable,
    )


def _mean(values: FloatArray, level: float) -> Estimate:
    """Mean over splits with Student's interval; none for fewer than two."""
    n = values.size
    if n < 2:
        return Estimate(float(values[0]) if n else None, None, None, level, n)
    mean, spread = float(values.mean()), float(values.std(ddof=1))
    half = float(stats.t.isf((1 - level) / 2, n - 1)) * spread / float(np.sqrt(n))
    return Estimate(mean, mean - half, mean + half, level, n)


def _share(hits: BoolArray, level: float) -> Estimate:
    """Share of splits with Wilson's interval."""
    n = hits.size
    if not n:
        return Estimate(None, None, None, level, 0)
    low, high = wilson_interval(hits.sum(), n, level)
    return Estimate(float(hits.mean()), float(low), float(high), level, n)
