"""How well every two judges agree with each other, over the pairs on which both said a or b."""

from __future__ import annotations

from dataclasses import asdict
from itertools import combinations
from typing import Any

import numpy as np

from app.reports.panel import Judged
from calibration.agreement import agreement_rate, cohens_kappa
from calibration.labels import MISSING, TIE
from calibration.resampling import ClusterBootstrap


def judge_pairs(judged: Judged, bootstrap: ClusterBootstrap) -> list[dict[str, Any]]:
    """Return agreement and Cohen's kappa of every two judges."""
    decided = np.where(judged.label == TIE, MISSING, judged.label)
    return [
        {
            "judges": [judged.names[one], judged.names[other]],
            "agreement": asdict(agreement_rate(decided[:, one], decided[:, other], bootstrap)),
            "cohens_kappa": asdict(cohens_kappa(decided[:, one], decided[:, other], bootstrap)),
        }
        for one, other in combinations(range(len(judged.names)), 2)
    ]
