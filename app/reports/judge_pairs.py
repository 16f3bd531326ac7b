"""How well every two judges agree with each other, over the pairs on which both said something."""

from __future__ import annotations

from dataclasses import asdict
from itertools import combinations
from typing import Any

import numpy as np

from app.reports.panel import Judged, confusion_of
from calibration.agreement import agreement_rate, cohens_kappa
from calibration.intervals import ClusterBootstrap
from calibration.labels import MISSING, TIE


def judge_pairs(judged: Judged, bootstrap: ClusterBootstrap) -> list[dict[str, Any]]:
    """Return agreement and Cohen's kappa of every two judges, and what each said of what.

    `*_three_way` has ties as a class; in `confusion` the outer label is that of the first judge.
    """
    return [
        _judge_pair(judged, one, other, bootstrap)
        for one, other in combinations(range(len(judged.names)), 2)
    ]


def _judge_pair(
    judged: Judged, one: int, other: int, bootstrap: ClusterBootstrap
) -> dict[str, Any]:
    first, second = judged.label[:, one], judged.label[:, other]
    ours, theirs = (np.where(label == TIE, MISSING, label) for label in (first, second))
    return {
        "judges": [judged.names[one], judged.names[other]],
        "agreement": asdict(agreement_rate(ours, theirs, bootstrap)),
        "cohens_kappa": asdict(cohens_kappa(ours, theirs, bootstrap)),
        "agreement_three_way": asdict(agreement_rate(first, second, bootstrap)),
        "cohens_kappa_three_way": asdict(cohens_kappa(first, second, bootstrap)),
        "confusion": confusion_of(first, second, {}),
    }
