"""What a report says of a judge beyond how often it agrees: leans, ceilings, confidence, failures."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from typing import Any

import numpy as np

from app.reports.annotator_test import annotator_test
from app.reports.difficulty import by_difficulty, by_votes, fall_of_agreement
from app.reports.panel import Judged, Panel, People
from calibration.agreement import (
    compare_kappa_with_ceiling,
    compare_with_ceiling,
    excess_lean,
    gwets_ac1,
    lean_given_quality,
    lean_towards,
    longer_side,
    position_flips,
    position_lean,
)
from calibration.arrays import BoolArray, IntArray
from calibration.intervals import ClusterBootstrap, estimate_clustered_share, estimate_mean
from calibration.labels import MISSING, N_LABELS, TIE, A, B
from calibration.reliability import (
    estimate_area_under_risk_coverage,
    estimate_excess_area,
    estimate_reliability,
    fitting_width_edges,
    reliability_bins,
    risk_coverage_band,
)
from judges.types import FailureKind

Figures = dict[str, Any]

_KINDS = tuple(FailureKind)


def judge_details(
    panel: Panel, column: int, bootstrap: ClusterBootstrap, epsilon: float
) -> Figures:
    """Return the figures of one judge that a health card is made from."""
    people, judged = panel.people, panel.judged
    label, decided = judged.label[:, column], people.decided
    return {
        **_chance_corrected(people, label, bootstrap),
        "position": _position(judged, column, bootstrap),
        **_leans(panel, column, bootstrap),
        "ceiling": asdict(compare_with_ceiling(label, people.counts, bootstrap)),
        "ceiling_where_decided": asdict(
            compare_with_ceiling(_without_ties(label), people.counts, bootstrap)
        ),
        "kappa_ceiling": _kappa_ceilings(people, label, bootstrap),
        "by_difficulty": by_difficulty(people.counts, decided, people.three_way, label, bootstrap),
        "fall_with_difficulty": fall_of_agreement(people.counts, decided, label, bootstrap),
        "by_votes": by_votes(people.counts, decided, label, bootstrap),
        "reliability": _reliability(people, judged, column, bootstrap),
        "risk_coverage": _risk_coverage(people, judged, column, bootstrap),
        "alternative_annotator": annotator_test(people, label, bootstrap, epsilon),
        **_failures(judged, column, bootstrap),
        "cost": _cost(judged, column, bootstrap),
    }


def _chance_corrected(people: People, label: IntArray, bootstrap: ClusterBootstrap) -> Figures:
    """Gwet's AC1 of judge and plurality, without ties and with ties as a class."""
    return {
        "gwets_ac1": asdict(gwets_ac1(_two_raters(people.decided, label, 2), bootstrap)),
        "gwets_ac1_three_way": asdict(
            gwets_ac1(_two_raters(people.three_way, label, N_LABELS), bootstrap)
        ),
    }


def _two_raters(one: IntArray, other: IntArray, n_categories: int) -> IntArray:
    counts = np.zeros((len(one), n_categories), dtype=np.int64)
    both = np.flatnonzero(
        (one != MISSING) & (other != MISSING) & (one < n_categories) & (other < n_categories)
    )
    for labels in (one, other):
        np.add.at(counts, (both, labels[both]), 1)
    return counts


def _position(judged: Judged, column: int, bootstrap: ClusterBootstrap) -> Figures:
    """Where the two orders differ, and which place gains; 0 is no lean, 1 always the first."""
    first, second = judged.first[:, column], judged.second[:, column]
    flips = position_flips(first, second, bootstrap)
    return {"lean": asdict(position_lean(first, second, bootstrap)), **asdict(flips)}


def _leans(panel: Panel, column: int, bootstrap: ClusterBootstrap) -> Figures:
    """Whether the judge takes the longer, the more marked up, or its own response too often."""
    sides = {"self_preference": panel.judged.own_side[:, column]}
    if panel.texts is not None:
        sides |= {
            "length": longer_side(panel.texts.longer),
            "style": longer_side(panel.texts.marked),
        }
    label, decided = panel.judged.label[:, column], panel.people.decided
    both = np.isin(label, (A, B)) & np.isin(decided, (A, B))
    return {
        name: {
            "lean": asdict(excess_lean(label, decided, side, bootstrap)),
            "lean_given_quality": asdict(lean_given_quality(label, decided, side, bootstrap)),
            "judge_chooses_it": asdict(
                lean_towards(np.where(both, label, MISSING), side, bootstrap)
            ),
            "people_choose_it": asdict(
                lean_towards(np.where(both, decided, MISSING), side, bootstrap)
            ),
        }
        for name, side in sides.items()
    }


def _kappa_ceilings(people: People, label: IntArray, bootstrap: ClusterBootstrap) -> Figures:
    """Kappa with one person beside that of one person with another, with and without ties."""
    return {
        "three_way": asdict(compare_kappa_with_ceiling(label, people.counts, bootstrap)),
        "without_ties": asdict(
            compare_kappa_with_ceiling(_without_ties(label), people.counts[:, :2], bootstrap)
        ),
    }


def _without_ties(label: IntArray) -> IntArray:
    return np.where(label == TIE, MISSING, label)


def is_right(people: People, judged: Judged, column: int) -> BoolArray:
    """Where the judge prefers what people decided for; no preference is never right."""
    said = np.where(judged.prefers_a[:, column], A, B)
    right: BoolArray = judged.has_preference[:, column] & (said == people.decided)
    return right


def _reliability(
    people: People, judged: Judged, column: int, bootstrap: ClusterBootstrap
) -> Figures:
    """Confidence against agreement on decided pairs; no preference is .5 and wrong."""
    counted = (people.decided != MISSING) & (judged.label[:, column] != MISSING)
    confidence = judged.confidence[counted, column]
    right, resamples = is_right(people, judged, column)[counted], bootstrap.take(counted)
    bins = reliability_bins(confidence, right, fitting_width_edges(confidence), resamples)
    return {
        **asdict(estimate_reliability(confidence, right, resamples)),
        "bins": [asdict(one) for one in bins],
    }


def _risk_coverage(
    people: People, judged: Judged, column: int, bootstrap: ClusterBootstrap
) -> Figures:
    """How agreement rises as the judge answers less; it never answers without a preference."""
    was_asked = (judged.label[:, column] != MISSING) | judged.has_failed[:, column]
    counted = (people.decided != MISSING) & was_asked
    answers = judged.has_preference[counted, column]
    confidence = np.where(answers, judged.confidence[counted, column], np.nan)
    right, resamples = is_right(people, judged, column)[counted], bootstrap.take(counted)
    band = risk_coverage_band(confidence, right, resamples)
    points = [
        {
            "threshold": float(band.thresholds[k]),
            "coverage": float(band.coverage[k]),
            "risk": {
                "value": float(band.risk[k]) if band.answered[k] else None,
                "low": float(band.low[k]),
                "high": float(band.high[k]),
                "confidence_level": band.confidence_level,
                "n": int(band.answered[k]),
            },
        }
        for k in range(len(band.thresholds))
    ]
    return {
        "area": asdict(estimate_area_under_risk_coverage(confidence, right, resamples)),
        "excess_area": asdict(estimate_excess_area(confidence, right, resamples)),
        "limits": band.kind,
        "pairs": int(counted.sum()),
        "points": points,
    }


def _failures(judged: Judged, column: int, bootstrap: ClusterBootstrap) -> Figures:
    """How often the judge gave nothing at all, and how often one of its two orders is missing."""
    failed = judged.has_failed[:, column]
    known = judged.label[:, column] != MISSING
    first, second = (order[:, column] != MISSING for order in (judged.first, judged.second))
    has_orders = bool((first & second).any())
    half = known & (first != second)
    kinds = Counter(_KINDS[code].value for code in judged.failure[failed, column].tolist())
    asked = failed | known
    return {
        "answer_share": asdict(estimate_clustered_share(known, np.ones_like(known), bootstrap)),
        "failure_share": asdict(estimate_clustered_share(failed, asked, bootstrap)),
        "failure_kinds": dict(sorted(kinds.items())),
        "half_parsed_share": asdict(estimate_clustered_share(half, asked & has_orders, bootstrap)),
    }


def _cost(judged: Judged, column: int, bootstrap: ClusterBootstrap) -> Figures:
    """Mean cost in USD of the pairs whose cost is known."""
    cost = judged.cost[:, column]
    priced = ~np.isnan(cost)
    return asdict(estimate_mean(cost[priced], bootstrap.take(priced), within=(0.0, np.inf)))
