"""What promoting a candidate would change: coverage, agreement and cost, with intervals.

Coverage and cost rest on the prompts that were drawn for the candidate. Agreement rests on pairs
that people labelled, each weighted by the inverse of the probability with which it was drawn for them.
All intervals are computed over prompts, leaving out one at a time; that of the cost resamples them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from calibration.arrays import FloatArray
from calibration.estimate import Estimate
from calibration.intervals import (
    ClusterBootstrap,
    estimate_mean,
    jackknife_ratio,
    jackknife_statistic,
)


@dataclass(frozen=True, slots=True)
class Compared:
    """One pair that the present judges and the candidate have judged.

    Attributes:
        prompt: Pairs of one prompt tend to be right or wrong together.
        in_share: Drawn for the candidate, not only because it is audited.
        labels: What each says, the present judges first; None: no answer.
        costs: USD of each, as if no score were stored; None: unknown.
        losses: How far people disagree with each answer; None: no answer, or people say nothing.
        weight: One over the probability with which people were asked; None: they were not.
    """

    prompt: str
    in_share: bool
    labels: tuple[str | None, str | None]
    costs: tuple[float | None, float | None]
    losses: tuple[float | None, float | None] = (None, None)
    weight: float | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """The figures of a candidate; a change is the candidate's value less the present one."""

    coverage: Estimate
    coverage_change: Estimate
    agreement: Estimate
    agreement_change: Estimate
    cost_change: Estimate
    same: Estimate
    labelled: int

    def is_enough(self, precision: float) -> bool:
        """Return whether both changes are known to within the precision.

        It depends on the width of the intervals alone, not on where they lie, so stopping as soon
        as it is enough favours no result.
        """
        widths = [half_width(self.coverage_change), half_width(self.agreement_change)]
        return all(width is not None and width <= precision for width in widths)

    def labels_needed(self, precision: float) -> int | None:
        """Return about how many labels in all give the change of agreement this precision."""
        width = half_width(self.agreement_change)
        if width is None:
            return None
        return max(math.ceil(self.labelled * (width / precision) ** 2), 1)


def half_width(found: Estimate) -> float | None:
    """Return half the width of an interval; None without one."""
    if found.low is None or found.high is None:
        return None
    return (found.high - found.low) / 2


def compare(pairs: Sequence[Compared], seed: int = 0) -> Change:
    """Say what promoting a candidate would change.

    Args:
        pairs: What both said.
        seed: Of the resamples behind the interval of the cost.

    Example:
        >>> pairs = [
        ...     Compared(f"q{n}", True, ("a", "a" if n % 2 else None), (0.01, 0.02))
        ...     for n in range(100)
        ... ]
        >>> compare(pairs).coverage_change.value
        -0.5
    """
    share = [one for one in pairs if one.in_share]
    groups = np.array([one.prompt for one in share])
    answers = np.array([[label is not None for label in one.labels] for one in share], dtype=float)
    answers = answers.reshape(len(share), 2)
    alike = np.array([float(None not in one.labels and len(set(one.labels)) == 1) for one in share])
    both = answers.prod(axis=1)
    ones = np.ones(len(share))
    change = jackknife_statistic(
        np.column_stack([answers[:, 1] - answers[:, 0], ones]), _ratio, len(share), groups
    )
    labelled, agreement, agreement_change = _agreement(pairs)
    return Change(
        coverage=jackknife_ratio(answers[:, 1], ones, groups),
        coverage_change=change,
        agreement=agreement,
        agreement_change=agreement_change,
        cost_change=_cost(share, seed),
        same=jackknife_ratio(alike, both, groups),
        labelled=labelled,
    )


def _ratio(sums: FloatArray) -> FloatArray:
    found: FloatArray = sums[:, 0] / sums[:, 1]
    return found


def _difference(sums: FloatArray) -> FloatArray:
    found: FloatArray = sums[:, 2] / sums[:, 3] - sums[:, 0] / sums[:, 1]
    return found


def _agreement(pairs: Sequence[Compared]) -> tuple[int, Estimate, Estimate]:
    """Return how many pairs people labelled, the candidate's agreement, and its change."""
    said = [one for one in pairs if one.weight is not None and one.losses != (None, None)]
    parts = np.array(
        [
            [
                weight * term
                for loss in one.losses
                for term in ((0.0, 0.0) if loss is None else (1.0 - loss, 1.0))
            ]
            for one in said
            if (weight := one.weight or 0.0)
        ]
    ).reshape(len(said), 4)
    groups = np.array([one.prompt for one in said])
    answered = sum(one.losses[1] is not None for one in said)
    own = jackknife_statistic(parts[:, 2:], _ratio, answered, groups, is_share=True)
    return len(said), own, jackknife_statistic(parts, _difference, len(said), groups)


def _cost(share: Sequence[Compared], seed: int) -> Estimate:
    known = [(one.prompt, one.costs) for one in share if None not in one.costs]
    changes = [(after or 0.0) - (before or 0.0) for _, (before, after) in known]
    if len(changes) < len(share) or not changes:
        return Estimate(None, None, None, 0.95, len(changes))
    return estimate_mean(changes, ClusterBootstrap.over([prompt for prompt, _ in known], seed))
