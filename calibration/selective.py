"""Selective risk and coverage of one judge: what it gets wrong where it dares to answer.

The risk-coverage curve and its area are those of Geifman and El-Yaniv (2017); ties in confidence
enter together, so a curve does not depend on the order of the rows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calibration.confidence import rounded
from calibration.errors import InvalidArgument

FloatArray = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SelectiveRisk:
    """Risk and coverage at one threshold.

    Attributes:
        risk: Mean loss of the answered pairs; None where none is answered.
        coverage: Share of all pairs that are answered; failures count as unanswered.
        answered: Number of answered pairs.
    """

    risk: float | None
    coverage: float
    answered: int


@dataclass(frozen=True, slots=True, eq=False)
class RiskCoverageCurve:
    """Risk and coverage at every distinct confidence, from the highest down; shape (m,) each."""

    thresholds: FloatArray
    coverage: FloatArray
    risk: FloatArray


def selective_risk(confidence: ArrayLike, correct: ArrayLike, threshold: float) -> SelectiveRisk:
    """Risk and coverage of a judge that answers where its confidence is at least `threshold`.

    Args:
        confidence: Shape (n,), nan where the judge failed.
        correct: Agreement with people in [0, 1], shape (n,).
        threshold: Smallest confidence that is answered.

    Raises:
        InvalidArgument: Shapes differ or correctness leaves [0, 1].
    """
    scores, loss = _scores_and_loss(confidence, correct)
    is_answered = scores >= threshold
    answered = int(is_answered.sum())
    risk = float(loss[is_answered].mean()) if answered else None
    return SelectiveRisk(risk, answered / scores.size if scores.size else 0.0, answered)


def risk_coverage_curve(confidence: ArrayLike, correct: ArrayLike) -> RiskCoverageCurve:
    """Risk against coverage as the threshold falls through every distinct confidence.

    Raises:
        InvalidArgument: As for `selective_risk`.
    """
    scores, loss = _scores_and_loss(confidence, correct)
    is_scored = ~np.isnan(scores)
    order = np.argsort(-scores[is_scored], kind="stable")
    ranked = scores[is_scored][order]
    is_last_of_tie = np.append(ranked[1:] != ranked[:-1], True)[: ranked.size]
    answered = np.arange(1, ranked.size + 1)[is_last_of_tie]
    lost = np.cumsum(loss[is_scored][order])[is_last_of_tie]
    return RiskCoverageCurve(
        ranked[is_last_of_tie], answered / max(scores.size, 1), lost / answered
    )


def area_under_risk_coverage(confidence: ArrayLike, correct: ArrayLike) -> float | None:
    """AURC: mean selective risk over the pairs ranked by confidence; lower is better.

    Each pair contributes the risk at its own confidence, ties sharing the risk at which they enter.
    None where nothing was scored.

    Raises:
        InvalidArgument: As for `selective_risk`.
    """
    curve = risk_coverage_curve(confidence, correct)
    if not curve.risk.size:
        return None
    widths = np.diff(curve.coverage, prepend=0.0)
    return float(curve.risk @ widths / curve.coverage[-1])


def _scores_and_loss(confidence: ArrayLike, correct: ArrayLike) -> tuple[FloatArray, FloatArray]:
    scores, agreement = rounded(confidence), np.asarray(correct, dtype=np.float64)
    if scores.ndim != 1 or scores.shape != agreement.shape:
        raise InvalidArgument("confidence and correct must be vectors of one length")
    is_scored = ~np.isnan(scores)
    if not np.all((agreement[is_scored] >= 0) & (agreement[is_scored] <= 1)):
        raise InvalidArgument("correct must lie in [0, 1] where there is a confidence")
    return scores, 1.0 - agreement
