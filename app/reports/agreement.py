"""The agreement report as a whole and by slice. Arrays in, plain values out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from app.reports.cascade_agreement import abstention, cascade_agreement
from app.reports.human_agreement import human_agreement
from app.reports.judge_agreement import judge_agreement
from app.reports.judge_details import judge_details
from app.reports.judge_pairs import judge_pairs
from app.reports.panel import Panel
from app.reports.schemas import AgreementIn
from calibration.intervals import ClusterBootstrap


@dataclass(frozen=True, slots=True)
class _Depth:
    """What is reported besides the agreement of each judge."""

    has_details: bool
    has_judge_pairs: bool
    epsilon: float


def agreement_report(panel: Panel, request: AgreementIn) -> dict[str, Any]:
    """Return every figure of a report; slices share the resamples of the whole."""
    bootstrap = bootstrap_of(panel, request)
    has_judge_pairs = "judge_pairs" in request.include
    whole = _Depth(True, has_judge_pairs, request.epsilon)
    by_slice = _Depth("group_details" in request.include, has_judge_pairs, request.epsilon)
    return {**_figures(panel, bootstrap, whole), "groups": _groups(panel, bootstrap, by_slice)}


def bootstrap_of(panel: Panel, request: AgreementIn) -> ClusterBootstrap:
    """Return the resamples of a report's groups."""
    return ClusterBootstrap.over(
        panel.groups,
        np.random.default_rng(request.seed),
        confidence_level=request.confidence_level,
    )


def _groups(panel: Panel, bootstrap: ClusterBootstrap, depth: _Depth) -> list[dict[str, Any]]:
    if panel.slices is None:
        return []
    found = []
    for name in sorted({name for name in panel.slices if name is not None}):
        members = panel.slices == name
        part, resamples = panel.take(members), bootstrap.take(members)
        found.append({"group": name, **_figures(part, resamples, depth)})
    return found


def _figures(panel: Panel, bootstrap: ClusterBootstrap, depth: _Depth) -> dict[str, Any]:
    return {
        "pairs": len(panel),
        "human": human_agreement(panel.people, bootstrap),
        "judges": [
            _judge(panel, column, bootstrap, depth) for column in range(len(panel.judged.names))
        ],
        "judge_pairs": judge_pairs(panel.judged, bootstrap) if depth.has_judge_pairs else None,
        "cascade": cascade_agreement(panel, bootstrap),
        "abstention": abstention(panel, bootstrap),
    }


def _judge(panel: Panel, column: int, bootstrap: ClusterBootstrap, depth: _Depth) -> dict[str, Any]:
    found = judge_agreement(panel.people, panel.judged, column, bootstrap)
    if depth.has_details:
        found |= judge_details(panel, column, bootstrap, depth.epsilon)
    return found
