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
from calibration.monitor import (
    CanaryState,
    Drift,
    MonitorState,
    SlicedMonitor,
    detectable_risk,
    detection_delay,
    draw_audits,
    draw_prompt_audits,
    flips_p_value,
    observe,
    observe_canaries,
    observe_in_slices,
    prompt_losses,
    risk_so_far,
    start_canaries,
    start_monitor,
    start_sliced_monitor,
)
from calibration.plan import (
    advise,
    allocate_labels,
    allocate_rank_labels,
    certification_power,
    confidence_strata,
    foreseen_deviation,
    frontier,
    labels_needed,
    plan_labels,
    tied_models,
)
from calibration.preference import correctness, pooled_preference, preference

__all__ = [
    "ABSTAINED",
    "CalibrationError",
    "CanaryState",
    "Certificate",
    "CertifyOptions",
    "Drift",
    "MonitorState",
    "SlicedMonitor",
    "advise",
    "allocate_labels",
    "allocate_rank_labels",
    "cascade_cost",
    "certification_power",
    "certify_cascade",
    "certify_preferences",
    "confidence_strata",
    "correctness",
    "decide",
    "decide_in_slices",
    "detectable_risk",
    "detection_delay",
    "draw_audits",
    "draw_prompt_audits",
    "flips_p_value",
    "foreseen_deviation",
    "frontier",
    "labels_needed",
    "observe",
    "observe_canaries",
    "observe_in_slices",
    "plan_labels",
    "pooled_preference",
    "preference",
    "prompt_losses",
    "risk_so_far",
    "start_canaries",
    "start_monitor",
    "start_sliced_monitor",
    "tied_models",
]
