"""Whether a certificate still holds: monitors, and audits of verdicts."""

from __future__ import annotations

from calibration.monitor.audits import (
    DetectionDelay,
    Drift,
    alarm_times,
    detection_delay,
    draw_audits,
    draw_prompt_audits,
    prompt_losses,
    risk_bounds,
    risk_so_far,
    weighted_risk_bounds,
)
from calibration.monitor.monitor import MonitorState, observe, start_monitor

__all__ = [
    "DetectionDelay",
    "Drift",
    "MonitorState",
    "alarm_times",
    "detection_delay",
    "draw_audits",
    "draw_prompt_audits",
    "observe",
    "prompt_losses",
    "risk_bounds",
    "risk_so_far",
    "start_monitor",
    "weighted_risk_bounds",
]
