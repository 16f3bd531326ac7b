"""Worlds with a known win rate: pairs with predictions, what people would say, and who is asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import NamedTuple

import numpy as np
from scipy import special

from calibration.arrays import BoolArray, FloatArray, IntArray
from calibration.plan.allocation import allocate_labels, confidence_strata, foreseen_deviation
from calibration.powered import HumanLabels, PredictionPowered, prediction_powered_mean

Judge = Callable[[FloatArray, np.random.Generator], FloatArray]

LEAN, BETWEEN_GROUPS, WITHIN_GROUPS = 0.3, 2.0, 2.236
MARGIN_SPREAD = float(np.hypot(BETWEEN_GROUPS, WITHIN_GROUPS))
GROUP_SIZE = 10


class Pairs(NamedTuple):
    """A set of pairs: what is predicted, what each person asked would say, margins and prompts."""

    prediction: FloatArray
    outcome: FloatArray
    margin: FloatArray
    group: IntArray


def three_judges(margin: FloatArray, rng: np.random.Generator) -> FloatArray:
    """The mean probability of three judges, each right about a pair in .78 of cases."""
    seen = margin[:, None] + rng.normal(0, 1.5, (len(margin), 3))
    return np.asarray(special.expit(0.8 * seen).mean(axis=1), dtype=np.float64)


def verdicts(margin: FloatArray, rng: np.random.Generator) -> FloatArray:
    return (margin + rng.normal(0, 2, len(margin)) > 0).astype(np.float64)


def self_preferring(margin: FloatArray, rng: np.random.Generator) -> FloatArray:
    return np.asarray(special.expit(margin + 2 + rng.normal(0, 1.5, len(margin))))


def useless(margin: FloatArray, rng: np.random.Generator) -> FloatArray:
    return rng.uniform(size=len(margin))


def contrary(margin: FloatArray, rng: np.random.Generator) -> FloatArray:
    return np.asarray(special.expit(-margin + rng.normal(0, 1, len(margin))))


JUDGES: dict[str, Judge] = {
    judge.__name__: judge for judge in (three_judges, verdicts, self_preferring, useless, contrary)
}


def draw_pairs(judge: Judge, n: int, rng: np.random.Generator) -> Pairs:
    """Pairs in prompts of ten: people are surer, and more alike, on some prompts than on others."""
    group = np.arange(n) // GROUP_SIZE
    margin = LEAN + rng.normal(0, BETWEEN_GROUPS, group[-1] + 1)[group]
    margin += rng.normal(0, WITHIN_GROUPS, n)
    outcome = (rng.uniform(size=n) < special.expit(margin)).astype(np.float64)
    return Pairs(judge(margin, rng), outcome, margin, group)


@cache
def true_win_rate() -> float:
    """E[expit(margin)] by quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(200)
    return float(weights @ special.expit(LEAN + MARGIN_SPREAD * nodes) / weights.sum())


def known(pairs: Pairs, rows: IntArray | BoolArray) -> FloatArray:
    """Labels of some of the pairs, nan elsewhere."""
    value = np.full(len(pairs.outcome), np.nan)
    value[rows] = pairs.outcome[rows]
    return value


def label_any(pairs: Pairs, n: int, rng: np.random.Generator) -> HumanLabels:
    rows = rng.choice(len(pairs.outcome), n, replace=False)
    return HumanLabels(known(pairs, rows), groups=pairs.group)


def label_groups(pairs: Pairs, n: int, rng: np.random.Generator) -> HumanLabels:
    """All pairs of some prompts."""
    chosen = rng.choice(pairs.group[-1] + 1, n // GROUP_SIZE, replace=False)
    return HumanLabels(known(pairs, np.isin(pairs.group, chosen)), groups=pairs.group)


def label_unsure(pairs: Pairs, n: int, rng: np.random.Generator) -> HumanLabels:
    """The less sure the prediction, the likelier its pair."""
    return _by_chance(pairs, 1.25 - 2 * np.abs(pairs.prediction - 0.5), n, rng)


def label_weak(pairs: Pairs, n: int, rng: np.random.Generator) -> HumanLabels:
    """Ten times more often where the second side is the better one."""
    return _by_chance(pairs, np.where(pairs.margin > 1, 0.1, 1.0), n, rng)


def _by_chance(pairs: Pairs, relative: FloatArray, n: int, rng: np.random.Generator) -> HumanLabels:
    probability = relative / relative.sum() * n
    is_asked = rng.uniform(size=len(probability)) < probability
    return HumanLabels(known(pairs, is_asked), pairs.group, probability)


def label_strata(pairs: Pairs, n: int, rng: np.random.Generator) -> HumanLabels:
    """Shared out over confidence terciles after what the predictions foresee."""
    strata = confidence_strata(pairs.prediction)
    shares = allocate_labels(n, np.bincount(strata), foreseen_deviation(pairs.prediction, strata))
    rows = [
        rng.choice(np.flatnonzero(strata == stratum), share, replace=False)
        for stratum, share in enumerate(shares.tolist())
    ]
    value = known(pairs, np.concatenate(rows))
    return HumanLabels(value, groups=pairs.group, strata=strata)


Design = Callable[[Pairs, int, np.random.Generator], HumanLabels]
DESIGNS: dict[str, Design] = {
    design.__name__: design
    for design in (label_any, label_groups, label_unsure, label_weak, label_strata)
}


@dataclass(frozen=True)
class Covered:
    """Share of intervals that hold the truth, and their mean width over that of people alone."""

    share: float
    human_only: float
    relative_width: float
    effective: float


Estimator = Callable[[FloatArray, HumanLabels], PredictionPowered]


def coverage(
    judge: str,
    design: str,
    n: int,
    *,
    draws: int,
    n_pairs: int = 2_000,
    estimator: Estimator = prediction_powered_mean,
) -> Covered:
    truth, found = true_win_rate(), []
    for draw in range(draws):
        rng = np.random.default_rng([sum(map(ord, judge + design)), n, draw])
        pairs = draw_pairs(JUDGES[judge], n_pairs, rng)
        found.append(estimator(pairs.prediction, DESIGNS[design](pairs, n, rng)))
    ends = np.array([[each.estimate.low, each.estimate.high] for each in found], dtype=np.float64)
    human = np.array(
        [[each.human_only.low, each.human_only.high] for each in found], dtype=np.float64
    )
    effective = [each.effective_labels / each.n_labelled for each in found if each.effective_labels]
    return Covered(
        _share(ends, truth),
        _share(human, truth),
        float(np.diff(ends).mean() / np.diff(human).mean()),
        float(np.median(effective)) if effective else np.nan,
    )


def _share(ends: FloatArray, truth: float) -> float:
    return float(((ends[:, 0] <= truth) & (truth <= ends[:, 1])).mean())


def without_groups(prediction: FloatArray, labels: HumanLabels) -> PredictionPowered:
    """Wrong where labels come in groups."""
    return prediction_powered_mean(prediction, replace(labels, groups=None))


def without_probabilities(prediction: FloatArray, labels: HumanLabels) -> PredictionPowered:
    """Wrong where chances differ."""
    return prediction_powered_mean(prediction, replace(labels, probability=None))


def predictions_alone(prediction: FloatArray, labels: HumanLabels) -> PredictionPowered:
    """Wrong unless the judge is right on average: predictions pass for labels."""
    return prediction_powered_mean(prediction, HumanLabels(prediction, labels.groups))
