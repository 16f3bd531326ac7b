"""What could be certified, with how many labels, and by which rule."""

from __future__ import annotations

from calibration.plan.advice import Advice, FrontierPoint, advise, frontier, labels_needed
from calibration.plan.experiment import Design, Experiment, RuleFigures, compare_rules
from calibration.plan.rules import BASELINES, DEFAULT_RULES

__all__ = [
    "BASELINES",
    "DEFAULT_RULES",
    "Advice",
    "Design",
    "Experiment",
    "FrontierPoint",
    "RuleFigures",
    "advise",
    "compare_rules",
    "frontier",
    "labels_needed",
]
