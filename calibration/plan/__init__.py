"""Plans: what could be certified, with how many labels, by which cascade and by which rule.

Everything here is advice, made from the same labels that a certificate may be made from; only the
certificate is a promise.
"""

from __future__ import annotations

from calibration.plan.advice import (
    Advice,
    CertifiableTarget,
    FrontierPoint,
    advise,
    advise_on_dataset,
    certifiable_target,
    frontier,
    labels_needed,
)
from calibration.plan.allocation import (
    allocate_labels,
    allocate_rank_labels,
    confidence_strata,
    foreseen_deviation,
    tied_models,
)
from calibration.plan.experiment import Design, Experiment, RuleFigures, compare_rules
from calibration.plan.labels import LabelPlan, certification_power, plan_labels
from calibration.plan.rules import (
    BASELINES,
    DEFAULT_RULES,
    CascadePlan,
    compare_cascades,
    sub_cascades,
)

__all__ = [
    "BASELINES",
    "DEFAULT_RULES",
    "Advice",
    "CascadePlan",
    "CertifiableTarget",
    "Design",
    "Experiment",
    "FrontierPoint",
    "LabelPlan",
    "RuleFigures",
    "advise",
    "advise_on_dataset",
    "allocate_labels",
    "allocate_rank_labels",
    "certifiable_target",
    "certification_power",
    "compare_cascades",
    "compare_rules",
    "confidence_strata",
    "foreseen_deviation",
    "frontier",
    "labels_needed",
    "plan_labels",
    "sub_cascades",
    "tied_models",
]
