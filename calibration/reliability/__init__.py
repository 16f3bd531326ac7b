"""Whether confidences mean what they say, and selective risk."""

from __future__ import annotations

from calibration.reliability.measures import (
    fitting_width_edges,
    measure_reliability,
    reliability_bins,
)
from calibration.reliability.selective_intervals import (
    estimate_area_under_risk_coverage,
    estimate_excess_area,
    risk_coverage_band,
)
from calibration.reliability.summary import estimate_reliability

__all__ = [
    "estimate_area_under_risk_coverage",
    "estimate_excess_area",
    "estimate_reliability",
    "fitting_width_edges",
    "measure_reliability",
    "reliability_bins",
    "risk_coverage_band",
]
