"""Certified cascades of judges and the statistics around them: numpy and scipy, no input or output.

Arrays go in, frozen dataclasses come out; every source of chance is an argument.
"""

from __future__ import annotations

from calibration.cascade import ABSTAINED, cascade_cost, decide
from calibration.certificate import Certificate
from calibration.certify import certify_cascade
from calibration.confidence import correctness, mean_preference, preference
from calibration.errors import CalibrationError
from calibration.planning import advise, frontier, labels_needed
from calibration.slices import decide_in_slices

__all__ = [
    "ABSTAINED",
    "CalibrationError",
    "Certificate",
    "advise",
    "cascade_cost",
    "certify_cascade",
    "correctness",
    "decide",
    "decide_in_slices",
    "frontier",
    "labels_needed",
    "mean_preference",
    "preference",
]
