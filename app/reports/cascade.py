"""Computes a cascade's agreement, coverage and costs on pairs that are new to it.

Pairs that the certificate was made from would flatter it: they, and pairs of their groups and
prompts, are left out and counted.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np

from app.reports.judge_details import by_difficulty, difficulty_of
from app.reports.panel import Cascade, Panel, People, confusion_of, said_without_plurality
from calibration.agreement import agreement_rate, cohens_kappa, percent_agreement
from calibration.arrays import BoolArray, FloatArray, IntArray
from calibration.cascade import composition
from calibration.estimate import Estimate
from calibration.intervals import (
    ClusterBootstrap,
    Groups,
    bootstrap_statistic,
    estimate_mean,
    estimate_share,
)
from calibration.labels import MISSING, TIE


def contract_costs(cascade: Cascade) -> dict[str, float | None]:
    """Return a pair's mean cost, also over the last judge's; None where a price is unknown.

    The last judge's price is its mean over the pairs that it was asked about.
    """
    unknown = cascade.is_missing.any() or np.isnan(cascade.cost).any() or len(cascade.cost) == 0
    per_pair = None if unknown else float(cascade.cost.mean())
    priced = cascade.last_cost[~np.isnan(cascade.last_cost)]
    last = float(priced.mean()) if priced.size else 0.0
    relative = per_pair / last if per_pair is not None and last > 0 else None
    return {"cost_per_pair": per_pair if last > 0 else None, "relative_cost": relative}


def cost_estimates(cascade: Cascade, resamples: ClusterBootstrap) -> dict[str, Any]:
    """Estimate the cascade's cost of a pair and the last judge's, their ratio and difference.

    Each mean is over the pairs where that cost is known: a live judge's only where it was asked.
    `n` of the ratio and the difference counts the pairs whose cost in the cascade is known.
    """
    known = ~np.isnan(cascade.cost) & ~cascade.is_missing
    priced = ~np.isnan(cascade.last_cost)
    parts = np.column_stack(
        [
            np.where(known, cascade.cost, 0.0), known,
            np.where(priced, cascade.last_cost, 0.0), priced,
        ]
    ).astype(np.float64)  # fmt: skip
    n = int(known.sum())
    return {
        "per_pair": _mean_cost(cascade.cost, known, resamples),
        "dearest_per_pair": _mean_cost(cascade.last_cost, priced, resamples),
        "relative": asdict(bootstrap_statistic(parts, _ratio, n, resamples)),
        "saved_per_pair": asdict(bootstrap_statistic(parts, _saved, n, resamples)),
    }


def _mean_cost(cost: FloatArray, rows: BoolArray, resamples: ClusterBootstrap) -> dict[str, Any]:
    return asdict(estimate_mean(cost[rows], resamples.take(rows), within=(0.0, np.inf)))


def _ratio(sums: FloatArray) -> FloatArray:
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio: FloatArray = (sums[:, 0] / sums[:, 1]) / (sums[:, 2] / sums[:, 3])
    return ratio


def _saved(sums: FloatArray) -> FloatArray:
    with np.errstate(divide="ignore", invalid="ignore"):
        saved: FloatArray = sums[:, 2] / sums[:, 3] - sums[:, 0] / sums[:, 1]
    return saved


def cascade_agreement(panel: Panel, bootstrap: ClusterBootstrap) -> dict[str, Any] | None:
    """Return coverage, agreement and cost of the cascade on pairs that are new to it.

    A pair whose verdict is not known, because a judge's score of it is not stored, is counted as
    `missing` and never as answered.
    """
    if panel.cascade is None:
        return None
    rest = panel.take(~panel.cascade.is_excluded)
    resamples = bootstrap.take(~panel.cascade.is_excluded)
    groups = resamples.groups
    cascade, people = rest.cascade, rest.people
    assert cascade is not None
    answered = _answered(cascade)
    decided = people.decided
    hits = cascade.label == decided
    by = np.where(answered, cascade.answered_by, MISSING)
    label, three_way = np.where(answered, cascade.label, MISSING), people.three_way
    abstained = ~answered & ~cascade.is_missing
    lost = {"abstained": abstained, "missing": cascade.is_missing}
    return {
        "pairs": len(rest),
        "coverage": asdict(estimate_share(answered, None, groups)),
        "agreement": asdict(estimate_share(hits, answered & (decided != MISSING), groups)),
        "agreement_three_way": asdict(agreement_rate(three_way, label, groups)),
        "cohens_kappa": asdict(
            cohens_kappa(decided, np.where(label == TIE, MISSING, label), groups)
        ),
        "cohens_kappa_three_way": asdict(cohens_kappa(three_way, label, groups)),
        "confusion": confusion_of(three_way, label, lost),
        "no_plurality": said_without_plurality(people, label, lost),
        "by_difficulty": _by_difficulty(people, label, groups),
        "composition": _composition(cascade, by),
        "answered": int(answered.sum()),
        "abstained": int(abstained.sum()),
        "missing": int(cascade.is_missing.sum()),
        **contract_costs(cascade),
        "cost": cost_estimates(cascade, resamples),
        "excluded_calibration_pairs": int(panel.cascade.is_excluded.sum()),
    }


def _by_difficulty(people: People, label: IntArray, groups: Groups) -> list[dict[str, Any]]:
    """Measure agreement and coverage by the margin of people's votes."""
    place = difficulty_of(people.counts)
    figures = by_difficulty(people.counts, people.decided, people.three_way, label, groups)
    return [
        {
            **one,
            "coverage": asdict(estimate_share(label != MISSING, place == number, groups)),
        }
        for number, one in enumerate(figures)
    ]


def abstention(panel: Panel, bootstrap: ClusterBootstrap) -> dict[str, Any] | None:
    """Return how well people agree where the cascade answers and where it abstains.

    The p-value is two-sided, for equal agreement, from the cluster bootstrap of the difference
    shifted to 0; None where a side has no pair with two votes.
    """
    if panel.cascade is None:
        return None
    rest = panel.take(~panel.cascade.is_excluded)
    resamples = bootstrap.take(~panel.cascade.is_excluded)
    assert rest.cascade is not None
    answered = _answered(rest.cascade)
    abstained = ~answered & ~rest.cascade.is_missing
    counts = rest.people.counts
    groups = resamples.groups
    agreeing, possible = _pairs_of_votes(counts.astype(np.float64))
    found = {
        "human_agreement_answered": asdict(
            percent_agreement(counts[answered], groups.take(answered))
        ),
        "human_agreement_abstained": asdict(
            percent_agreement(counts[abstained], groups.take(abstained))
        ),
        "p_value": _p_value(agreeing, possible, _Sides(answered, abstained), resamples),
    }
    return found | _text_comparison(rest, _Sides(answered, abstained), resamples)


class _Sides(NamedTuple):
    answered: BoolArray
    abstained: BoolArray


def _text_comparison(
    rest: Panel, sides: _Sides, resamples: ClusterBootstrap
) -> dict[str, dict[str, Any]]:
    """Compare the texts of abstained pairs with those of others: similar lengths, words in common."""
    if rest.texts is None:
        return {}
    found = {}
    for name, values in (
        ("length_ratio", rest.texts.length_ratio), ("token_overlap", rest.texts.overlap),
    ):  # fmt: skip
        known = ~np.isnan(values)
        amount = np.where(known, values, 0.0)
        found[name] = {
            **{
                side: asdict(_mean(values, known & mask, resamples))
                for side, mask in sides._asdict().items()
            },
            "p_value": _p_value(amount, known.astype(np.float64), sides, resamples),
        }
    return found


def _mean(values: FloatArray, rows: BoolArray, resamples: ClusterBootstrap) -> Estimate:
    return estimate_mean(values[rows], resamples.take(rows), within=(0.0, 1.0))


def _pairs_of_votes(counts: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Count the agreeing and the possible pairs of votes on each pair."""
    total = counts.sum(axis=1)
    return (counts * (counts - 1)).sum(axis=1), total * (total - 1)


def _answered(cascade: Cascade) -> BoolArray:
    # a tier that was passed over because its score is not stored may still change the verdict
    answered: BoolArray = (cascade.answered_by >= 0) & ~cascade.is_missing
    return answered


def _composition(cascade: Cascade, answered_by: IntArray) -> dict[str, float]:
    """Return the share of all pairs that each judge answered."""
    shares = composition(answered_by, len(cascade.names))
    return dict(zip(cascade.names, map(float, shares), strict=True))


def _p_value(
    numerator: FloatArray, denominator: FloatArray, sides: _Sides, resamples: ClusterBootstrap
) -> float | None:
    """Test for equal ratios on both sides, two-sided, from the bootstrap shifted to 0."""
    parts = np.column_stack(
        [column * side for side in sides for column in (numerator, denominator)]
    )
    used = parts.any(axis=1)
    present = resamples.take(used)
    value = float(_difference(parts.sum(axis=0, keepdims=True))[0])
    if not np.isfinite(value) or not used.any():
        return None
    draws = np.concatenate([_difference(sums) for sums in present.totals(parts[used])])
    draws = draws[np.isfinite(draws)]
    if not present.is_enough(draws.size):
        return None
    as_far = int((np.abs(draws - value) >= abs(value)).sum())
    return float((1 + as_far) / (1 + draws.size))


def _difference(sums: FloatArray) -> FloatArray:
    with np.errstate(divide="ignore", invalid="ignore"):
        difference: FloatArray = sums[:, 0] / sums[:, 1] - sums[:, 2] / sums[:, 3]
    return difference
