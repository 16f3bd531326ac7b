"""How judges turned up in calibration: the baseline that later runs are held against."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

from app.calibrations.evidence import Evidence
from calibration import Certificate
from calibration.arrays import BoolArray, FloatArray


def attendance(
    judges: tuple[str, ...], certificate: Certificate, evidence: Evidence
) -> dict[str, dict[str, Any]]:
    """Return per judge the pairs `asked`, those `failed`, and its `manners` of answering, counted.

    Counted are the pairs that reach the judge under the certificate's own thresholds, as they will
    live; where nothing is certified, all pairs.
    """
    is_asked = _is_asked(certificate, evidence)
    found = {}
    for column, judge in enumerate(judges):
        rows = is_asked[:, column]
        answered = rows & ~evidence.has_failed[:, column]
        manners = Counter(evidence.manner[answered, column].tolist())
        found[judge] = {
            "asked": int(rows.sum()),
            "failed": int((rows & evidence.has_failed[:, column]).sum()),
            "manners": {manner: count for manner, count in sorted(manners.items()) if manner},
        }
    return found


def _is_asked(certificate: Certificate, evidence: Evidence) -> BoolArray:
    """Which judges are asked on which pairs, shape (n, k)."""
    if not certificate.is_certified:
        return np.ones_like(evidence.has_failed)
    if evidence.slices is None:
        return _reached(evidence.confidence, certificate)
    is_asked = np.zeros_like(evidence.has_failed)
    for part in certificate.certificates:
        if part.target_risk == certificate.target_risk:
            rows = evidence.slices == part.slice
            is_asked[rows] = _reached(evidence.confidence[rows], part)
    return is_asked


def _reached(confidence: FloatArray, certificate: Certificate) -> BoolArray:
    """A judge is asked where it may answer and nobody before it did."""
    accepts = np.round(confidence, 12) >= certificate.thresholds
    before = np.logical_or.accumulate(accepts, axis=1)
    is_open = np.concatenate([np.ones((len(accepts), 1), np.bool_), ~before[:, :-1]], axis=1)
    return is_open & np.isfinite(certificate.thresholds)
