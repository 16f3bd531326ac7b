"""Selective risk and coverage of one judge: what it gets wrong where it answers.

The risk-coverage curve is that of Geifman and El-Yaniv (2017), its area and the excess over the
best ordering those of Geifman, Uziel and El-Yaniv (2019). Equal confidences enter the curve
together, and the areas average over the orders they could come in, so nothing depends on the order
of the rows. `calibration.reliability.selective_intervals` has intervals of the areas and the curve.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy
from numpy.typing import ArrayLike

from calibration.arrays import FloatArray, IntArray
from calibration.cascade import rounded
from calibration.errors import InvalidArgument


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
    """Return risk and coverage of a judge that answers from a confidence of `threshold` on.

    Args:
        confidence: Shape (n,), nan where the judge failed.
        correct: Agreement with people in [0, 1], shape (n,).
        threshold: Smallest confidence that is answered.

    Raises:
        InvalidArgument: Shapes differ, a confidence is infinite, the threshold is nan, or
            correctness leaves [0, 1].

    >>> selective_risk([0.9, 0.8, np.nan, 0.6], [1, 0, 1, 1], threshold=0.7)
    SelectiveRisk(risk=0.5, coverage=0.5, answered=2)
    """
    if np.isnan(threshold):
        raise InvalidArgument("threshold must be a number, or infinite to answer nothing")
    scores, loss = checked_losses(confidence, correct)
    is_answered = scores >= threshold
    answered = int(is_answered.sum())
    risk = float(loss[is_answered].mean()) if answered else None
    return SelectiveRisk(risk, answered / scores.size if scores.size else 0.0, answered)


def risk_coverage_curve(confidence: ArrayLike, correct: ArrayLike) -> RiskCoverageCurve:
    """Return risk and coverage as the threshold falls through every distinct confidence.

    Raises:
        InvalidArgument: As for `selective_risk`.

    >>> curve = risk_coverage_curve([0.9, 0.8, 0.6], [1, 0, 1])
    >>> curve.thresholds.tolist(), curve.risk.round(3).tolist()
    ([0.9, 0.8, 0.6], [0.0, 0.5, 0.333])
    """
    scores, loss = checked_losses(confidence, correct)
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
    """Return AURC, the mean selective risk over the pairs ranked by confidence.

    Lower is better: the mean over ranks i of (losses of the first i scored pairs) / i. Equal
    confidences have no order: the risk at their ranks is its mean over all their orders.
    None where nothing was scored.

    >>> round(area_under_risk_coverage([0.9, 0.8, 0.6], [1, 0, 1]), 4)
    0.2778
    """
    ranked = ranked_losses(confidence, correct)
    return float(mean_risk(ranked.masses, ranked.losses)[0]) if ranked.masses.size else None


def excess_area_under_risk_coverage(confidence: ArrayLike, correct: ArrayLike) -> float | None:
    """Return E-AURC, AURC less that of the best ordering of the same losses; 0 is best.

    The best ordering puts smaller losses first. With k wrong among n it has the area
    (1 / n) sum over i = n - k + 1 .. n of (i - n + k) / i. None where nothing was scored.

    >>> excess_area_under_risk_coverage([0.9, 0.8, 0.6], [1, 1, 0])
    0.0
    """
    area = area_under_risk_coverage(confidence, correct)
    if area is None:
        return None
    best = best_ranked_losses(confidence, correct)
    return max(area - float(mean_risk(best.masses, best.losses)[0]), 0.0)


def generalised_area_under_risk_coverage(confidence: ArrayLike, correct: ArrayLike) -> float | None:
    """Return AUGRC (Traub et al. 2024), the area under P(answered and wrong) by coverage.

    Unlike AURC it does not give the errors at the highest confidences most of the weight. With
    accuracy p it is (1 - AUROC) p (1 - p) + (1 - p)^2 / 2. None where nothing was scored.

    >>> round(generalised_area_under_risk_coverage([0.9, 0.8, 0.6], [1, 1, 0]), 4)
    0.0556
    """
    ranked = ranked_losses(confidence, correct)
    return float(mean_joint_risk(ranked.masses, ranked.losses)[0]) if ranked.masses.size else None


class CheckedLosses(NamedTuple):
    """Confidences, nan where the judge failed, and losses; shape (n,) each."""

    confidence: FloatArray
    loss: FloatArray


class RankedLosses(NamedTuple):
    """Pairs from the first to the last answered, pairs of equal rank as one block.

    Attributes:
        block: Block of each scored pair, 0 the first; shape (scored,).
        loss: Loss of each scored pair.
        masses: Number of pairs in each block, shape (1, blocks).
        losses: Sum of their losses, shape (1, blocks).
    """

    block: IntArray
    loss: FloatArray
    masses: FloatArray
    losses: FloatArray


def ranked_losses(confidence: ArrayLike, correct: ArrayLike) -> RankedLosses:
    """Rank the scored pairs by confidence, the highest first.

    Raises:
        InvalidArgument: As for `selective_risk`.
    """
    scores, loss = checked_losses(confidence, correct)
    is_scored = ~np.isnan(scores)
    return _ranked(-scores[is_scored], loss[is_scored])


def best_ranked_losses(confidence: ArrayLike, correct: ArrayLike) -> RankedLosses:
    """Rank the scored pairs by their loss, the smallest first: the best any confidence could do.

    Raises:
        InvalidArgument: As for `selective_risk`.
    """
    scores, loss = checked_losses(confidence, correct)
    is_scored = ~np.isnan(scores)
    return _ranked(loss[is_scored], loss[is_scored])


def mean_risk(masses: FloatArray, losses: FloatArray) -> FloatArray:
    """Return the mean over ranks of the risk up to that rank, averaged over orders in a block.

    A block of w pairs with mean loss v after N pairs with losses S adds the sum over t = 1 .. w of
    (S + v t) / (N + t) = v w + (S - v N) (psi(N + w + 1) - psi(N + 1)), psi being the digamma
    function. Also for resampled masses, a pair drawn twice counting as two pairs of one block.

    Args:
        masses: Number of pairs in each block, the first answered first; whole numbers of shape
            (samples, blocks).
        losses: Sums of their losses.

    Returns:
        Shape (samples,); nan for a sample without pairs.
    """
    answered, lost = masses.cumsum(axis=1), losses.cumsum(axis=1)
    before = answered - masses
    mean = np.divide(losses, masses, out=np.zeros_like(losses), where=masses > 0)
    most = int(answered[:, -1].max(initial=0))
    harmonic = scipy.special.digamma(np.arange(most + 1) + 1.0)[answered.astype(np.int64)]
    steps = np.diff(harmonic, axis=1, prepend=scipy.special.digamma(1.0))
    total = (losses + (lost - losses - mean * before) * steps).sum(axis=1)
    return _per_pair(total, answered[:, -1])


def mean_joint_risk(masses: FloatArray, losses: FloatArray) -> FloatArray:
    """Return the area under the losses answered so far by coverage, as shares of all pairs.

    Arguments and result are as for `mean_risk`.
    """
    lost = losses.cumsum(axis=1)
    n = masses.sum(axis=1)
    return _per_pair(_per_pair((masses * (lost - losses / 2)).sum(axis=1), n), n)


def _ranked(rank: FloatArray, loss: FloatArray) -> RankedLosses:
    _, codes = np.unique(rank, return_inverse=True)
    block = codes.reshape(-1).astype(np.int64)
    sums = (np.bincount(block), np.bincount(block, weights=loss))
    masses, losses = (np.asarray(column, dtype=np.float64)[None] for column in sums)
    return RankedLosses(block, loss, masses, losses)


def _per_pair(total: FloatArray, n: FloatArray) -> FloatArray:
    return np.divide(total, n, out=np.full_like(total, np.nan), where=n > 0)


def checked_losses(confidence: ArrayLike, correct: ArrayLike) -> CheckedLosses:
    """Return rounded confidences, nan where the judge failed, and 1 - agreement; shape (n,) each.

    Raises:
        InvalidArgument: As for `selective_risk`.
    """
    scores, agreement = rounded(confidence), np.asarray(correct, dtype=np.float64)
    if scores.ndim != 1 or scores.shape != agreement.shape:
        raise InvalidArgument("confidence and correct must be vectors of one length")
    if np.isinf(scores).any():
        raise InvalidArgument("confidence must be finite, nan where the judge failed")
    is_scored = ~np.isnan(scores)
    if not np.all((agreement[is_scored] >= 0) & (agreement[is_scored] <= 1)):
        raise InvalidArgument("correct must lie in [0, 1] where there is a confidence")
    return CheckedLosses(scores, 1.0 - agreement)
