"""Whether a certificate still holds: monitors, audits of verdicts, and canaries of judges."""

from __future__ import annotations

from calibration.monitor.audits import draw_audits, draw_prompt_audits, prompt_losses
from calibration.monitor.canaries import (
    CanaryState,
    flips_p_value,
    observe_canaries,
    observe_references,
    start_canaries,
)
from calibration.monitor.delay import (
    DetectionDelay,
    Drift,
    alarm_times,
    detectable_risk,
    detection_delay,
)
from calibration.monitor.monitor import MonitorState, observe, start_monitor
from calibration.monitor.risk import risk_bounds, risk_so_far, weighted_risk_bounds
from calibration.monitor.slices import SlicedMonitor, observe_in_slices, start_sliced_monitor

__all__ = [
    "CanaryState",
    "DetectionDelay",
    "Drift",
    "MonitorState",
    "SlicedMonitor",
    "alarm_times",
    "detectable_risk",
    "detection_delay",
    "draw_audits",
    "draw_prompt_audits",
    "flips_p_value",
    "observe",
    "observe_canaries",
    "observe_in_slices",
    "observe_references",
    "prompt_losses",
    "risk_bounds",
    "risk_so_far",
    "start_canaries",
    "start_monitor",
    "start_sliced_monitor",
    "weighted_risk_bounds",
]
