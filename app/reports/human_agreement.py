"""How well people agree with each other. Arrays in, plain values out."""

from __future__ import annotations

from dataclasses import asdict
from itertools import combinations
from typing import Any

import numpy as np

from app.reports.difficulty import DIFFICULTIES, difficulty_of
from app.reports.panel import LABELS, People
from calibration.agreement import (
    agreement_rate,
    cohens_kappa,
    fleiss_kappa,
    gwets_ac1,
    krippendorffs_alpha,
    leave_one_out_agreement,
    percent_agreement,
)
from calibration.arrays import IntArray
from calibration.intervals import ClusterBootstrap
from calibration.labels import MISSING, A, B

# an interval from fewer pairs in common tells nothing, and there may be thousands of such couples
LEAST_FOR_INTERVAL = 5


def human_agreement(people: People, bootstrap: ClusterBootstrap) -> dict[str, Any]:
    """Return agreement among annotators, with a, b and tie as three classes.

    Kappas of two annotators with fewer than `LEAST_FOR_INTERVAL` pairs in common have no interval.
    """
    counts = people.counts
    return {
        "annotators": int(np.unique(people.vote_by).size),
        "labels": int(counts.sum()),
        "labelled_pairs": int((counts.sum(axis=1) > 0).sum()),
        "percent_agreement": asdict(percent_agreement(counts, bootstrap)),
        "percent_agreement_without_ties": asdict(percent_agreement(counts[:, :2], bootstrap)),
        "leave_one_out_agreement": asdict(leave_one_out_agreement(counts, bootstrap)),
        "krippendorff_alpha": asdict(krippendorffs_alpha(counts, bootstrap)),
        "fleiss_kappa": asdict(fleiss_kappa(counts, bootstrap)),
        "gwets_ac1": asdict(gwets_ac1(counts, bootstrap)),
        "krippendorff_alpha_without_ties": asdict(krippendorffs_alpha(counts[:, :2], bootstrap)),
        "fleiss_kappa_without_ties": asdict(fleiss_kappa(counts[:, :2], bootstrap)),
        "gwets_ac1_without_ties": asdict(gwets_ac1(counts[:, :2], bootstrap)),
        "confusion": _confusion(counts),
        "difficulty": _difficulty(counts),
        "annotator_pairs": _annotator_pairs(people, bootstrap),
    }


def _annotator_pairs(people: People, bootstrap: ClusterBootstrap) -> list[dict[str, Any]]:
    """Kappa of every two annotators with pairs in common; a person's last vote counts."""
    ratings = _ratings(people)
    seen = (ratings != MISSING).astype(np.int64)
    shared = seen @ seen.T
    found = []
    for one, other in combinations(range(len(ratings)), 2):
        n = int(shared[one, other])
        if n == 0:
            continue
        both = (ratings[one] != MISSING) & (ratings[other] != MISSING)
        resamples = bootstrap.take(both) if n >= LEAST_FOR_INTERVAL else None
        first, second = ratings[one][both], ratings[other][both]
        figures = {
            "cohens_kappa": cohens_kappa(first, second, resamples),
            "agreement": agreement_rate(first, second, resamples),
            "agreement_without_ties": agreement_rate(first, second, resamples, among=(A, B)),
        }
        level = bootstrap.confidence_level
        shown = {name: {**asdict(e), "confidence_level": level} for name, e in figures.items()}
        names = [people.annotators[one], people.annotators[other]]
        found.append({"annotators": names, "n": n, **shown})
    return found


def _confusion(counts: IntArray) -> dict[str, dict[str, int]]:
    """Pairs of votes on one pair, both ways round: what one person said, and what another."""
    together = counts.T @ counts - np.diag(counts.sum(axis=0))
    return {
        name: dict(zip(LABELS, map(int, row), strict=True))
        for name, row in zip(LABELS, together, strict=True)
    }


def _difficulty(counts: IntArray) -> dict[str, int]:
    """How many pairs are how hard, by the margin of the votes."""
    place = difficulty_of(counts)
    return {name: int((place == number).sum()) for number, name in enumerate(DIFFICULTIES)}


def _ratings(people: People) -> IntArray:
    """Label codes of shape (annotators, n)."""
    ratings = np.full((len(people.annotators), len(people.counts)), MISSING, dtype=np.int64)
    ratings[people.vote_by, people.vote_row] = people.vote_code
    return ratings
