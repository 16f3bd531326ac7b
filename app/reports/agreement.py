"""The agreement report as a whole and by slice. Arrays in, plain values out."""

from __future__ import annotations

from typing import Any

import numpy as np

from app.reports.cascade_agreement import abstention, cascade_agreement
from app.reports.human_agreement import human_agreement
from app.reports.judge_agreement import judge_agreement
from app.reports.judge_pairs import judge_pairs
from app.reports.panel import Panel
from app.reports.schemas import AgreementIn
from calibration.resampling import ClusterBootstrap


def agreement_report(panel: Panel, request: AgreementIn) -> dict[str, Any]:
    """Return every figure of a report; slices share the resamples of the whole."""
    bootstrap = ClusterBootstrap.over(
        panel.groups,
        np.random.default_rng(request.seed),
        confidence_level=request.confidence_level,
    )
    has_judge_pairs = "judge_pairs" in request.include
    whole = _figures(panel, bootstrap, has_judge_pairs=has_judge_pairs)
    return {
        **whole,
        "groups": _groups(panel, bootstrap, has_judge_pairs=has_judge_pairs),
    }


def _groups(
    panel: Panel, bootstrap: ClusterBootstrap, *, has_judge_pairs: bool
) -> list[dict[str, Any]]:
    if panel.slices is None:
        return []
    found = []
    for name in sorted({name for name in panel.slices if name is not None}):
        members = panel.slices == name
        part, resamples = panel.take(members), bootstrap.take(members)
        figures = _figures(part, resamples, has_judge_pairs=has_judge_pairs)
        found.append({"group": name, **figures})
    return found


def _figures(panel: Panel, bootstrap: ClusterBootstrap, *, has_judge_pairs: bool) -> dict[str, Any]:
    return {
        "pairs": len(panel),
        "human": human_agreement(panel.people, bootstrap),
        "judges": [
            judge_agreement(panel.people, panel.judged, column, bootstrap)
            for column in range(len(panel.judged.names))
        ],
        "judge_pairs": judge_pairs(panel.judged, bootstrap) if has_judge_pairs else None,
        "cascade": cascade_agreement(panel, bootstrap),
        "abstention": abstention(panel, bootstrap),
    }
