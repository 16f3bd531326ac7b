"""Worlds with known truth: populations of pairs from which calibration samples are drawn.

A promise is broken where the *true* risk of deployed thresholds reaches the target; it is computed
on the whole population, never estimated on a test set.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import special

from calibration.arrays import FloatArray, IntArray
from calibration.cascade import decide

COSTS = (1.0, 5.0, 100.0)


class Drawn(NamedTuple):
    """A labelled sample."""

    confidence: FloatArray
    correct: FloatArray


class Truth(NamedTuple):
    """Risk and coverage of some thresholds on a whole population."""

    risk: float
    coverage: float


@dataclass(frozen=True, slots=True, eq=False)
class World:
    """A population: confidences, probabilities of disagreeing with people, and masses."""

    confidence: FloatArray
    error_probability: FloatArray
    mass: FloatArray | None = None

    def draw(self, n: int, rng: np.random.Generator) -> Drawn:
        """Draw pairs independently; judges of one pair share their luck."""
        rows = self.draw_rows(n, rng)
        is_wrong = rng.uniform(size=(n, 1)) < self.error_probability[rows]
        return Drawn(self.confidence[rows], 1.0 - is_wrong.astype(np.float64))

    def draw_rows(self, n: int, rng: np.random.Generator) -> IntArray:
        if self.mass is None:
            return rng.integers(0, len(self.confidence), n)
        return rng.choice(len(self.confidence), n, p=self.mass)

    def pool(self, m: int, rng: np.random.Generator) -> FloatArray:
        """Confidences of unlabelled pairs."""
        return self.confidence[self.draw_rows(m, rng)]

    def truth(self, thresholds: NDArray[np.float64]) -> Truth:
        judge = decide(self.confidence, thresholds)
        is_answered = judge >= 0
        size = len(self.confidence)
        mass = np.full(size, 1.0 / size) if self.mass is None else self.mass
        coverage = float(mass[is_answered].sum())
        wrong = self.error_probability[np.arange(size), np.maximum(judge, 0)]
        risk = float((mass * wrong)[is_answered].sum()) / coverage if coverage > 0 else 0.0
        return Truth(risk, coverage)

    def breaks(self, thresholds: NDArray[np.float64], target_risk: float) -> bool:
        """The true risk reaches the target, within rounding."""
        truth = self.truth(thresholds)
        return truth.coverage > 0 and truth.risk >= target_risk - 1e-9


def just_above(target_risk: float, size: int = 20_000) -> World:
    """Every threshold of every judge has a risk just above the target."""
    rng = np.random.default_rng(11)
    shared = rng.uniform(size=(size, 1))
    confidence = 0.5 + 0.5 * np.clip(0.6 * shared + 0.4 * rng.uniform(size=(size, 3)), 0, 1)
    return World(confidence, np.full((size, 3), target_risk + 1e-6))


def at_target_from_a_third(target_risk: float, size: int = 20_000) -> World:
    """Risk below the target in the top 35%, equal to it at every larger coverage."""
    rank = (np.arange(size) + 0.5) / size
    wrong = np.where(rank < 0.35, 2 * target_risk * rank / 0.35, target_risk)
    confidence = np.repeat((1 - rank / 2)[:, None], 3, axis=1)
    return World(confidence, np.repeat(wrong[:, None], 3, axis=1))


def wrong_on_the_remainder(target_risk: float, size: int = 20_000) -> World:
    """Judge 1 is right where it is sure; judges 2 and 3 are sure and wrong on the rest."""
    rng = np.random.default_rng(12)
    first = rng.uniform(size=size)
    is_left = first < 0.4
    confidence = 0.5 + 0.5 * np.stack(
        [first, np.where(is_left, 0.9, 0.3) + 0.1 * rng.uniform(size=size), rng.uniform(size=size)],
        1,
    )
    good = np.full(size, target_risk * 0.8)
    others = np.where(is_left, 0.4, target_risk * 0.5)
    return World(confidence, np.stack([np.where(is_left, 0.3, good), others, others], 1))


def overconfident_top(target_risk: float, size: int = 20_000) -> World:
    """Every judge is often wrong where it is surest; the risk comes down to the target and rises."""
    rng = np.random.default_rng(13)
    rank = (np.arange(size) + 0.5) / size
    wrong = np.select(
        [rank < 0.1, rank < 0.5], [3 * target_risk, 0.45 * target_risk], 1.1 * target_risk
    )
    jitter = 0.02 * rng.uniform(size=(size, 3))
    confidence = np.clip((1 - rank / 2)[:, None] - jitter, 0.5, 1)
    return World(confidence, np.repeat(wrong[:, None], 3, axis=1))


def switching(target_risk: float = 0.2) -> World:
    """Verdicts pass from judge to judge as the shared threshold falls, always at the target risk.

    A start taken from the sample's own counts is wrong here too often; n = 592 shows it best.
    """
    first, second, third = 0.4836, 0.0205, 0.4959
    both = first + second
    strips = [
        (
            first,
            (0.7, 0.8, 0.9, 0.51),
            (target_risk / both, target_risk * both / first, target_risk),
        ),
        (second, (0.7, 0.8, 0.5, 0.51), (target_risk / both, 0.0, 0.5)),
        (third, (0.7, 0.5, 0.5, 0.51), (0.0, 0.5, 0.5)),
    ]
    rows = []
    for mass, confidence, wrong in strips:
        for losses in itertools.product((0.0, 1.0), repeat=4):
            last = target_risk / (1 - target_risk) if losses[0] == 0 else 0.0
            chances = [p if loss else 1 - p for p, loss in zip((*wrong, last), losses, strict=True)]
            rows.append((confidence, losses, mass * float(np.prod(chances))))
    masses = np.array([mass for _, _, mass in rows])
    scores = np.array([confidence for confidence, _, _ in rows])
    wrongs = np.array([losses for _, losses, _ in rows])
    return World(scores, wrongs, masses / masses.sum())


def failing(target_risk: float, size: int = 20_000) -> World:
    """Judges fail mostly on the pairs that they would have got right."""
    base = just_above(target_risk, size)
    rng = np.random.default_rng(14)
    is_failed = rng.uniform(size=(size, 3)) < np.array([0.3, 0.2, 0.1])
    confidence = np.where(is_failed, np.nan, base.confidence)
    answered_risk = np.where(is_failed, 0.0, base.error_probability)
    return World(confidence, answered_risk)


def random_labels(size: int = 20_000) -> World:
    """Judges that are right half of the time, however sure they are."""
    return World(just_above(0.5, size).confidence, np.full((size, 3), 0.5))


def draw_clusters(
    target_risk: float, n_groups: int, group_size: int, rng: np.random.Generator
) -> tuple[Drawn, IntArray]:
    """Groups whose pairs are all right or all wrong together; the risk is just above the target."""
    n = n_groups * group_size
    group = np.repeat(np.arange(n_groups), group_size)
    confidence = 0.5 + 0.5 * rng.uniform(size=(n, 3))
    is_wrong = rng.uniform(size=n_groups)[group] < target_risk
    return Drawn(confidence, np.repeat(1.0 - is_wrong[:, None], 3, axis=1)), group


WORLDS: dict[str, Callable[[float], World]] = {
    "just above the target": just_above,
    "at the target from a third": at_target_from_a_third,
    "wrong on the remainder": wrong_on_the_remainder,
    "overconfident top": overconfident_top,
    "switching": switching,
    "failing": failing,
}


def random_world(rng: np.random.Generator, size: int = 20_000) -> World:
    """Three judges of random strength, correlation, sharpness and vices."""
    is_varied = rng.uniform() < 0.5
    strength, sharpness = _varied_judges(rng) if is_varied else _similar_judges(rng)
    slope = rng.uniform(0.2, 1.2)
    shared = rng.uniform(0, 0.8) if is_varied else rng.uniform(0.1, 0.6)
    noise = rng.uniform(0, 0.35)
    difficulty, common = rng.normal(size=(2, size, 1))
    own = rng.normal(size=(size, 3))
    margin = strength - slope * difficulty
    margin = margin + 1.6 * (np.sqrt(shared) * common + np.sqrt(1 - shared) * own)
    is_flipped = rng.uniform(size=(size, 1)) < noise * special.expit(1.5 * difficulty)
    wrong = ((margin < 0) ^ is_flipped).astype(np.float64)
    confidence = special.expit(sharpness * np.abs(margin))
    if is_varied:
        return _with_vices(confidence, wrong, rng)
    return World(np.round(confidence, 2) if rng.uniform() < 0.2 else confidence, wrong)


def _varied_judges(rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    return np.sort(rng.uniform(0.3, 3.5, 3)), rng.uniform(0.7, 4, 3)


def _similar_judges(rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    strength = np.sort(rng.uniform(0.8, 3) + rng.uniform(-0.3, 0.5, 3))
    return strength, rng.uniform(0.8, 3.5) * rng.uniform(0.8, 1.25, 3)


def _with_vices(confidence: FloatArray, wrong: FloatArray, rng: np.random.Generator) -> World:
    size = len(confidence)
    if rng.uniform() < 0.3:
        judge = rng.integers(3)
        is_top = confidence[:, judge] >= np.quantile(
            confidence[:, judge], 1 - rng.uniform(0.03, 0.3)
        )
        lapses = (rng.uniform(size=size) < rng.uniform(0.1, 0.5)).astype(np.float64)
        wrong[:, judge] = np.where(is_top, lapses, wrong[:, judge])
    if rng.uniform() < 0.2:
        is_low = confidence[:, 0] < np.quantile(confidence[:, 0], rng.uniform(0.3, 0.8))
        lapses = (rng.uniform(size=(size, 2)) < rng.uniform(0.1, 0.5)).astype(np.float64)
        wrong[:, 1:] = np.where(is_low[:, None], lapses, wrong[:, 1:])
    if rng.uniform() < 0.25:
        confidence = np.round(confidence, int(rng.integers(1, 3)))
    return World(confidence, wrong)
