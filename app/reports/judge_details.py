"""Computes the details of one judge: biases, ceilings, difficulty, the annotator test."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

import numpy as np

from app.reports.panel import Judged, Panel, People
from calibration.agreement import (
    AlternativeAnnotatorOptions,
    AlternativeAnnotatorTest,
    AnnotatorComparison,
    DifficultyBins,
    agreement_by_difficulty,
    agreement_rate,
    alternative_annotator_test,
    cohens_kappa,
    compare_kappa_with_ceiling,
    compare_with_ceiling,
    excess_lean,
    gwets_ac1,
    lean_given_quality,
    lean_towards,
    longer_side,
    position_flips,
    position_lean,
    vote_margin,
)
from calibration.arrays import BoolArray, IntArray
from calibration.binomial import wilson_interval
from calibration.estimate import Estimate
from calibration.intervals import ClusterBootstrap, Groups, estimate_mean, estimate_share
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

# from easy to hard; one vote has no margin, and says nothing of how hard a pair is
DIFFICULTIES: Final = ("unanimous", "single_vote", "split", "no_plurality")
_UNANIMOUS, _SINGLE, _SPLIT, _OPEN = range(len(DIFFICULTIES))


def difficulty_of(counts: IntArray) -> IntArray:
    """Return each pair's place in `DIFFICULTIES`, `MISSING` without votes; counts are (n, 3)."""
    votes, margin = counts.sum(axis=1), np.nan_to_num(vote_margin(counts))
    place = np.where(margin == 1, _UNANIMOUS, np.where(margin > 0, _SPLIT, _OPEN))
    place = np.where(votes == 1, _SINGLE, place)
    return np.where(votes == 0, MISSING, place)


def by_difficulty(
    counts: IntArray, decided: IntArray, three_way: IntArray, label: IntArray,
    groups: Groups,
) -> list[dict[str, Any]]:  # fmt: skip
    """Return agreement with people by difficulty, without ties and with ties as a class.

    Args:
        counts: Votes for a, b and tie, shape (n, 3).
        decided: The plurality where it is a or b.
        three_way: The plurality, a tie where votes have none.
        label: What the judge said.
        groups: Groups of the pairs.
    """
    place = difficulty_of(counts)
    found = []
    for number, name in enumerate(DIFFICULTIES):
        rows = place == number
        people, ours, own = decided[rows], label[rows], groups.take(rows)
        without_ties = np.where(ours == TIE, MISSING, ours)
        classes = three_way[rows]
        found.append(
            {
                "difficulty": name,
                "pairs": int(rows.sum()),
                "agreement": asdict(agreement_rate(people, ours, own, among=(A, B))),
                "agreement_three_way": asdict(agreement_rate(classes, ours, own)),
                "cohens_kappa": asdict(cohens_kappa(people, without_ties, own)),
                "cohens_kappa_three_way": asdict(cohens_kappa(classes, ours, own)),
            }
        )
    return found


def fall_of_agreement(
    counts: IntArray, decided: IntArray, label: IntArray, groups: Groups
) -> dict[str, Any]:
    """Return agreement on unanimous pairs minus that on split ones, ties left out."""
    place = difficulty_of(counts)
    number = np.where(place == _UNANIMOUS, 0, np.where(place == _SPLIT, 1, MISSING))
    bins = DifficultyBins(number, np.zeros(1))
    return asdict(agreement_by_difficulty(decided, label, bins, groups, among=(A, B)).fall)


def by_votes(
    counts: IntArray, decided: IntArray, label: IntArray, groups: Groups
) -> list[dict[str, Any]]:
    """Return agreement by the number of votes and of those for the plurality, ties left out."""
    votes, top = counts.sum(axis=1), counts.max(axis=1, initial=0)
    counted = (decided != MISSING) & np.isin(label, (A, B))
    found = []
    for total, most in sorted({*zip(votes[counted].tolist(), top[counted].tolist(), strict=True)}):
        rows = counted & (votes == total) & (top == most)
        agreement = agreement_rate(decided[rows], label[rows], groups.take(rows))
        found.append({"votes": total, "for_plurality": most, "agreement": asdict(agreement)})
    return found


# both as proposed with the test: fewer say nothing of people in general, or of one person
LEAST_ANNOTATORS: Final = 3
LEAST_UNITS: Final = 30
_MOST_CELLS: Final = 4_000_000


def annotator_test(
    people: People, label: IntArray, groups: Groups, epsilon: float
) -> dict[str, Any]:
    """Return the test of a judge's labels, ties being a class; a person's last vote counts.

    Only people with a name can be tested: votes without one are left out. The interval of the
    winning rate is that of a share of people, each of them one trial.
    """
    table, rows, columns = _ratings(people, label)
    if table.size > _MOST_CELLS:
        return {
            "not_tested_because": f"{len(columns)} annotators on {len(rows)} pairs are too many"
        }
    options = AlternativeAnnotatorOptions(epsilon=epsilon, least_units=LEAST_UNITS)
    found = alternative_annotator_test(label[rows], table, groups.take(rows), options)
    tested = [one for one in found.annotators if one.p_value is not None]
    return {
        "outcome": _outcome(found, len(tested)),
        "winning_rate": asdict(_winning_rate(tested, groups.confidence_level)),
        "least_annotators": LEAST_ANNOTATORS,
        "least_units": LEAST_UNITS,
        "epsilon": found.epsilon,
        "false_discovery_rate": found.false_discovery_rate,
        "advantage": asdict(found.advantage),
        "margin": asdict(found.margin),
        "annotators": [
            {**asdict(one), "annotator": people.annotators[columns[one.annotator]]}
            for one in tested
        ],
    }


def _winning_rate(tested: Sequence[AnnotatorComparison], level: float) -> Estimate:
    n, won = len(tested), sum(one.is_rejected for one in tested)
    if n == 0:
        return Estimate(None, None, None, level, 0)
    low, high = wilson_interval(won, n, level)
    return Estimate(won / n, float(low), float(high), level, n)


def _outcome(found: AlternativeAnnotatorTest, n_tested: int) -> str:
    """Return passed, failed or neither: a good judge may not pass for lack of units."""
    if n_tested < LEAST_ANNOTATORS:
        return "not_enough_evidence"
    if found.is_passed:
        return "pass"
    highest = found.margin.high
    is_worse = highest is not None and highest < -found.epsilon
    return "fail" if is_worse else "not_enough_evidence"


def _ratings(people: People, label: IntArray) -> tuple[IntArray, IntArray, list[int]]:
    """Return label codes, (pairs, annotators), where two named people and the judge gave one."""
    votes = np.bincount(people.vote_row, minlength=len(label))
    rows = np.flatnonzero((votes >= 2) & (label != MISSING))
    place = np.full(len(label), -1)
    place[rows] = np.arange(len(rows))
    used = place[people.vote_row] >= 0
    columns = sorted({*people.vote_by[used].tolist()})
    number = np.full(len(people.annotators), -1)
    number[columns] = np.arange(len(columns))
    size = (len(rows), len(columns))
    if size[0] * size[1] > _MOST_CELLS:
        return np.broadcast_to(np.int64(MISSING), size), rows, columns
    table = np.full(size, MISSING, dtype=np.int64)
    table[place[people.vote_row[used]], number[people.vote_by[used]]] = people.vote_code[used]
    return table, rows, columns


Figures = dict[str, Any]

_KINDS = tuple(FailureKind)


def judge_details(
    panel: Panel, column: int, bootstrap: ClusterBootstrap, epsilon: float
) -> Figures:
    """Return the figures of one judge that a health card is made from."""
    people, judged = panel.people, panel.judged
    label, decided, groups = judged.label[:, column], people.decided, bootstrap.groups
    return {
        **_chance_corrected(people, label, groups),
        "position": _position(judged, column, groups),
        **_leans(panel, column, groups),
        "ceiling": asdict(compare_with_ceiling(label, people.counts, groups)),
        "ceiling_where_decided": asdict(
            compare_with_ceiling(_without_ties(label), people.counts, groups)
        ),
        "kappa_ceiling": _kappa_ceilings(people, label, groups),
        "by_difficulty": by_difficulty(people.counts, decided, people.three_way, label, groups),
        "fall_with_difficulty": fall_of_agreement(people.counts, decided, label, groups),
        "by_votes": by_votes(people.counts, decided, label, groups),
        "reliability": _reliability(people, judged, column, bootstrap),
        "risk_coverage": _risk_coverage(people, judged, column, bootstrap),
        "alternative_annotator": annotator_test(people, label, groups, epsilon),
        **_failures(judged, column, groups),
        "cost": _cost(judged, column, bootstrap),
    }


def _chance_corrected(people: People, label: IntArray, groups: Groups) -> Figures:
    """Return Gwet's AC1 of judge and plurality, without ties and with ties as a class."""
    return {
        "gwets_ac1": asdict(gwets_ac1(_two_raters(people.decided, label, 2), groups)),
        "gwets_ac1_three_way": asdict(
            gwets_ac1(_two_raters(people.three_way, label, N_LABELS), groups)
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


def _position(judged: Judged, column: int, groups: Groups) -> Figures:
    """Measure how the two orders differ; a lean of 0 is none, of 1 always to the first place."""
    first, second = judged.first[:, column], judged.second[:, column]
    flips = position_flips(first, second, groups)
    return {"lean": asdict(position_lean(first, second, groups)), **asdict(flips)}


def _leans(panel: Panel, column: int, groups: Groups) -> Figures:
    """Return how much the judge prefers the longer, the more marked-up, or its own response."""
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
            "lean": asdict(excess_lean(label, decided, side, groups)),
            "lean_given_quality": asdict(lean_given_quality(label, decided, side, groups)),
            "judge_chooses_it": asdict(lean_towards(np.where(both, label, MISSING), side, groups)),
            "people_choose_it": asdict(
                lean_towards(np.where(both, decided, MISSING), side, groups)
            ),
        }
        for name, side in sides.items()
    }


def _kappa_ceilings(people: People, label: IntArray, groups: Groups) -> Figures:
    """Compare the kappa of judge and person with that of two people, with and without ties."""
    return {
        "three_way": asdict(compare_kappa_with_ceiling(label, people.counts, groups)),
        "without_ties": asdict(
            compare_kappa_with_ceiling(_without_ties(label), people.counts[:, :2], groups)
        ),
    }


def _without_ties(label: IntArray) -> IntArray:
    return np.where(label == TIE, MISSING, label)


def is_right(people: People, judged: Judged, column: int) -> BoolArray:
    """Find the pairs where the judge agrees with people; no preference is never right."""
    said = np.where(judged.prefers_a[:, column], A, B)
    right: BoolArray = judged.has_preference[:, column] & (said == people.decided)
    return right


def _reliability(
    people: People, judged: Judged, column: int, bootstrap: ClusterBootstrap
) -> Figures:
    """Compare confidence with agreement on decided pairs; no preference is .5 and wrong.

    No preference claims nothing, so that one of the figures leaves it out.
    """
    counted = (people.decided != MISSING) & (judged.label[:, column] != MISSING)
    confidence = judged.confidence[counted, column]
    right, resamples = is_right(people, judged, column)[counted], bootstrap.take(counted)
    bins = reliability_bins(confidence, right, fitting_width_edges(confidence), resamples.groups)
    found = asdict(estimate_reliability(confidence, right, resamples))
    prefers = judged.has_preference[counted, column]
    where_preferring = (
        found
        if prefers.all()
        else asdict(
            estimate_reliability(confidence[prefers], right[prefers], resamples.take(prefers))
        )
    )
    return {
        **found,
        "where_preferring": where_preferring["expected_calibration_error"],
        "bins": [asdict(one) for one in bins],
    }


def _risk_coverage(
    people: People, judged: Judged, column: int, bootstrap: ClusterBootstrap
) -> Figures:
    """Measure how agreement rises as the judge answers less; no preference is no answer."""
    was_asked = (judged.label[:, column] != MISSING) | judged.has_failed[:, column]
    counted = (people.decided != MISSING) & was_asked
    answers = judged.has_preference[counted, column]
    confidence = np.where(answers, judged.confidence[counted, column], np.nan)
    right, resamples = is_right(people, judged, column)[counted], bootstrap.take(counted)
    band = risk_coverage_band(confidence, right, resamples.groups)
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


def _failures(judged: Judged, column: int, groups: Groups) -> Figures:
    """Estimate how often the judge gave no answer, and how often one of its orders is missing."""
    failed = judged.has_failed[:, column]
    known = judged.label[:, column] != MISSING
    first, second = (order[:, column] != MISSING for order in (judged.first, judged.second))
    has_orders = bool((first & second).any())
    half = known & (first != second)
    kinds = Counter(_KINDS[code].value for code in judged.failure[failed, column].tolist())
    asked = failed | known
    return {
        "answer_share": asdict(estimate_share(known, np.ones_like(known), groups)),
        "failure_share": asdict(estimate_share(failed, asked, groups)),
        "failure_kinds": dict(sorted(kinds.items())),
        "half_parsed_share": asdict(estimate_share(half, asked & has_orders, groups)),
    }


def _cost(judged: Judged, column: int, bootstrap: ClusterBootstrap) -> Figures:
    """Return the mean cost in USD of the pairs whose cost is known."""
    cost = judged.cost[:, column]
    priced = ~np.isnan(cost)
    return asdict(estimate_mean(cost[priced], bootstrap.take(priced), within=(0.0, np.inf)))
