"""How well each judge agrees with people, and with itself when the order is turned."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from app.reports.panel import Judged, People, confusion_of
from calibration.agreement import agreement_rate, cohens_kappa, fleiss_kappa, position_consistency
from calibration.arrays import IntArray
from calibration.estimate import Estimate
from calibration.intervals import ClusterBootstrap, estimate_share
from calibration.labels import MISSING, N_LABELS, TIE, A, B, mirrored
from calibration.reliability import measure_reliability


def judge_agreement(
    people: People, judged: Judged, column: int, bootstrap: ClusterBootstrap
) -> dict[str, Any]:
    """Return the figures of one judge; an estimate without a single case has the value None."""
    label, decided = judged.label[:, column], people.decided
    three_way, among = people.three_way, (A, B)
    n = int((label != MISSING).sum())
    return {
        "judge": judged.names[column],
        "n": n,
        "agreement": asdict(agreement_rate(decided, label, bootstrap, among=among)),
        "agreement_three_way": asdict(agreement_rate(three_way, label, bootstrap)),
        **_by_order(people, judged, column, bootstrap),
        "cohens_kappa": asdict(cohens_kappa(decided, _without_ties(label), bootstrap)),
        "cohens_kappa_three_way": asdict(cohens_kappa(three_way, label, bootstrap)),
        "coverage": n / len(label) if len(label) else None,
        **_reliability(people, judged, column),
        "confusion": confusion_of(three_way, label, {"failed": judged.has_failed[:, column]}),
        "failures": int(judged.has_failed[:, column].sum()),
        "seen_in_training": int(judged.was_trained[:, column].sum()),
    }


def _by_order(
    people: People, judged: Judged, column: int, bootstrap: ClusterBootstrap
) -> dict[str, Any]:
    """What needs the two orders: consistency, and people met by each order alone."""
    first, second = judged.first[:, column], judged.second[:, column]
    flags = judged.is_flagged[:, column]
    if flags.any() and (first == MISSING).all() and (second == MISSING).all():
        return _by_flag(people, judged, column, bootstrap)
    same = np.where(first == second, first, MISSING)
    agreement = agreement_rate(people.decided, same, bootstrap, among=(A, B))
    return {
        "agreement_consistent": asdict(agreement),
        "accuracy_mean_of_orders": asdict(_mean_of_orders(people, judged, column, bootstrap)),
        "fleiss_kappa_with_human": asdict(_fleiss_on_screen(people, first, second, bootstrap)),
        "position_consistency": asdict(position_consistency(first, second, bootstrap)),
    }


def _by_flag(
    people: People, judged: Judged, column: int, bootstrap: ClusterBootstrap
) -> dict[str, Any]:
    """Records that tell both orders' common label, or that there was none."""
    label, flags = judged.label[:, column], judged.is_flagged[:, column]
    known = label != MISSING
    common = np.where(flags, MISSING, label)
    agreement = agreement_rate(people.decided, common, bootstrap, among=(A, B))
    unknown = estimate_share(flags, np.zeros_like(flags), bootstrap)
    return {
        "agreement_consistent": asdict(agreement),
        "accuracy_mean_of_orders": asdict(unknown),
        "fleiss_kappa_with_human": asdict(unknown),
        "position_consistency": asdict(estimate_share(~flags, known, bootstrap)),
    }


def _mean_of_orders(
    people: People, judged: Judged, column: int, bootstrap: ClusterBootstrap
) -> Estimate:
    """Share of single-order labels that are the sign of the mean vote; unparsed ones are wrong."""
    orders = [order[:, column] for order in (judged.first, judged.second)]
    asked = [order for order in orders if (order != MISSING).any()]
    was_asked = (judged.label[:, column] != MISSING) | judged.has_failed[:, column]
    counted = was_asked & (people.side != MISSING)
    hits = [order == people.side for order in asked]
    rows = np.tile(np.arange(len(counted)), len(asked))
    return estimate_share(
        np.concatenate([*hits, np.zeros(0, dtype=np.bool_)]),
        counted[rows],
        bootstrap.take(rows),
    )


def _fleiss_on_screen(
    people: People, first: IntArray, second: IntArray, bootstrap: ClusterBootstrap
) -> Estimate:
    """Fleiss' kappa of (verdict, person), each order a unit, labels by place on the screen."""
    judge = np.concatenate([first, mirrored(second)])
    human = np.concatenate([people.side, mirrored(people.side)])
    counts = np.zeros((len(judge), N_LABELS), dtype=np.int64)
    units = np.flatnonzero((judge != MISSING) & (human != MISSING))
    np.add.at(counts, (units, judge[units]), 1)
    np.add.at(counts, (units, human[units]), 1)
    rows = np.tile(np.arange(len(first)), 2)
    return fleiss_kappa(counts, bootstrap.take(rows))


def _reliability(people: People, judged: Judged, column: int) -> dict[str, Any]:
    """Confidence against agreement on decided pairs; no preference is .5 and wrong."""
    counted = (people.decided != MISSING) & (judged.label[:, column] != MISSING)
    said = np.where(judged.prefers_a[:, column], A, B)
    correct = judged.has_preference[:, column] & (said == people.decided)
    figures = measure_reliability(judged.confidence[counted, column], correct[counted])
    return {
        "expected_calibration_error": figures.expected_calibration_error,
        "brier_score": figures.brier_score,
        "auroc": figures.auroc,
        "auprc": figures.auprc,
    }


def _without_ties(label: IntArray) -> IntArray:
    return np.where(label == TIE, MISSING, label)
