"""How well judges and people agree: coefficients, ceilings, biases."""

from __future__ import annotations

from calibration.agreement.alternative_annotator import (
    AlternativeAnnotatorOptions,
    AlternativeAnnotatorTest,
    AnnotatorComparison,
    alternative_annotator_test,
)
from calibration.agreement.bias import (
    excess_lean,
    lean_given_quality,
    lean_towards,
    longer_side,
    position_consistency,
    position_flips,
    position_lean,
)
from calibration.agreement.ceiling import compare_kappa_with_ceiling
from calibration.agreement.coefficients import (
    agreement_rate,
    cohens_kappa,
    compare_with_ceiling,
    confusion,
    fleiss_kappa,
    gwets_ac1,
    krippendorffs_alpha,
    leave_one_out_agreement,
    percent_agreement,
)
from calibration.agreement.difficulty import DifficultyBins, agreement_by_difficulty, vote_margin

__all__ = [
    "AlternativeAnnotatorOptions",
    "AlternativeAnnotatorTest",
    "AnnotatorComparison",
    "DifficultyBins",
    "agreement_by_difficulty",
    "agreement_rate",
    "alternative_annotator_test",
    "cohens_kappa",
    "compare_kappa_with_ceiling",
    "compare_with_ceiling",
    "confusion",
    "excess_lean",
    "fleiss_kappa",
    "gwets_ac1",
    "krippendorffs_alpha",
    "lean_given_quality",
    "lean_towards",
    "leave_one_out_agreement",
    "longer_side",
    "percent_agreement",
    "position_consistency",
    "position_flips",
    "position_lean",
    "vote_margin",
]
