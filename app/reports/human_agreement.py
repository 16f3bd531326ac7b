"""How well people agree with each other. Arrays in, plain values out."""

from __future__ import annotations

from dataclasses import asdict
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from app.reports.panel import People
from calibration.agreement import (
    cohens_kappa,
    fleiss_kappa,
    krippendorffs_alpha,
    leave_one_out_agreement,
    percent_agreement,
)
from calibration.labels import MISSING
from calibration.resampling import ClusterBootstrap

IntArray = npt.NDArray[np.int64]

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
        kappa = asdict(cohens_kappa(ratings[one][both], ratings[other][both], resamples))
        kappa["confidence_level"] = bootstrap.confidence_level
        names = [people.annotators[one], people.annotators[other]]
        found.append({"annotators": names, "n": n, "cohens_kappa": kappa})
    return found


def _ratings(people: People) -> IntArray:
    """Label codes of shape (annotators, n)."""
    ratings = np.full((len(people.annotators), len(people.counts)), MISSING, dtype=np.int64)
    ratings[people.vote_by, people.vote_row] = people.vote_code
    return ratings
