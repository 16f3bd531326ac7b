"""Certified cascades of judges and the statistics around them: numpy and scipy, no input or output.

Arrays go in, frozen dataclasses come out; every source of chance is an argument.
"""

from __future__ import annotations

from calibration.cascade import ABSTAINED, cascade_cost, decide
from calibration.certify import (
    Certificate,
    CertifyOptions,
    certify_cascade,
    certify_preferences,
    decide_in_slices,
)
from calibration.errors import CalibrationError
from calibration.plan import advise, frontier, labels_needed
from calibration.preference import correctness, pooled_preference, preference

__all__ = [
    "ABSTAINED",
    "CalibrationError",
    "Certificate",
    "CertifyOptions",
    "advise",
    "cascade_cost",
    "certify_cascade",
    "certify_preferences",
    "correctness",
    "decide",
    "decide_in_slices",
    "frontier",
    "labels_needed",
    "pooled_preference",
    "preference",
]
