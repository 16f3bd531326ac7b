"""How often the student agrees with people on prompts that it never saw, and how sure it was.

Every figure is over decided pairs: those whose plurality of votes is a or b. A probability of exactly
one half counts as wrong; two responses of equal length count as half right for the length baseline.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from calibration.arrays import BoolArray, FloatArray
from judges.student.features import PairFeatures, response_feature_names
from judges.student.fitting import Recipe, fit_ensemble, split_prompts
from judges.student.labelled_pairs import Sample
from judges.student.model import Weights, mean_probability, member_logits, probability_from_logit

RESAMPLES = 2000
CONFIDENT_SHARE = 0.4
CALIBRATION_BINS = 10


@dataclass(frozen=True, slots=True)
class Agreement:
    """Agreement with people over n decided pairs of some prompts, beside the length baseline.

    Intervals are 95%: Wilson's over pairs, and the bootstrap's over prompts, the wider and fairer one.
    """

    pairs: int
    prompts: int
    accuracy: float
    wilson: tuple[float, float]
    by_prompt: tuple[float, float]
    longer_wins: float
    most_confident: float
    mean_confidence: float
    calibration_error: float


def predict_sample(weights: Weights, sample: Sample) -> FloatArray:
    """Return the ensemble's p_a of every row, shape (n,)."""
    logits = [
        member_logits(weights, PairFeatures(a, b, context))
        for a, b, context in zip(sample.features_a, sample.features_b, sample.context, strict=True)
    ]
    return mean_probability(probability_from_logit(np.stack(logits)))


def cross_validate(
    sample: Sample,
    recipe: Recipe,
    rng: np.random.Generator,
    progress: Callable[[str], None] = lambda line: None,
) -> FloatArray:
    """Return p_a of every row by a student that never saw its prompt, shape (n,)."""
    fold = split_prompts(sample, recipe.folds, rng)
    p_a = np.full(len(fold), 0.5)
    for held_out in range(recipe.folds):
        weights = fit_ensemble(sample.rows(fold != held_out), recipe, rng)
        p_a[fold == held_out] = predict_sample(weights, sample.rows(fold == held_out))
        progress(f"cross-validation: fold {held_out + 1} of {recipe.folds}")
    return p_a


def agreement(p_a: FloatArray, sample: Sample, rng: np.random.Generator) -> Agreement:
    """Compare probabilities with the plurality of votes on the decided pairs."""
    decided = sample.rows(sample.decided)
    p = p_a[sample.decided]
    confidence = np.maximum(p, 1 - p)
    correct = ((p > 0.5) == decided.prefers_a) & (p != 0.5)
    by_confidence = np.argsort(-confidence, kind="stable")
    top = by_confidence[: max(round(CONFIDENT_SHARE * len(p)), 1)]
    return Agreement(
        pairs=len(p),
        prompts=len(np.unique(decided.prompts)),
        accuracy=float(correct.mean()),
        wilson=wilson_interval(int(correct.sum()), len(p)),
        by_prompt=prompt_interval(correct, decided.prompts, rng),
        longer_wins=float(_longer_wins(decided).mean()),
        most_confident=float(correct[top].mean()),
        mean_confidence=float(confidence.mean()),
        calibration_error=calibration_error(confidence, correct),
    )


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """Return Wilson's 95% interval of a share (Wilson 1927)."""
    z = float(ndtri(0.975))
    share, spread = successes / trials, z * z / trials
    centre = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * float(np.sqrt(share * (1 - share) / trials + spread / trials / 4))
    return centre - half, centre + half


def prompt_interval(
    correct: BoolArray, prompts: NDArray[np.str_], rng: np.random.Generator
) -> tuple[float, float]:
    """Return the 95% percentile interval of the accuracy, prompts drawn with replacement."""
    _, index = np.unique(prompts, return_inverse=True)
    size = np.bincount(index)
    right = np.bincount(index, weights=correct)
    drawn = rng.integers(0, len(size), size=(RESAMPLES, len(size)))
    low, high = np.quantile(right[drawn].sum(axis=1) / size[drawn].sum(axis=1), [0.025, 0.975])
    return float(low), float(high)


def calibration_error(confidence: FloatArray, correct: BoolArray) -> float:
    """Return the expected calibration error over ten equal bins of [.5, 1] (Naeini et al. 2015)."""
    position = ((confidence - 0.5) * 2 * CALIBRATION_BINS).astype(np.int64)
    bins = np.minimum(position, CALIBRATION_BINS - 1)
    gap = np.bincount(bins, weights=confidence - correct, minlength=CALIBRATION_BINS)
    return float(np.abs(gap).sum() / len(confidence))


def _longer_wins(decided: Sample) -> FloatArray:
    column = response_feature_names().index("log_characters")
    difference = decided.features_a[:, column] - decided.features_b[:, column]
    # Equal lengths count one half, in the baseline's favour.
    return np.where(difference == 0, 0.5, (difference > 0) == decided.prefers_a)
