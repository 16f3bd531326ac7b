"""Worlds whose traffic has other frequencies of kinds of pairs than the labelled pairs.

On the traffic every threshold has a risk just above the target, so that any certificate for it
breaks its promise; among the labelled pairs the risk is far smaller.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from scipy import special

from calibration.arrays import FloatArray

_JUST_ABOVE = 1e-6


@dataclass(frozen=True, eq=False)
class Drawn:
    """Pairs: what two judges say, the outcome, the kind of each pair, and its density ratio."""

    p_a: FloatArray
    label: FloatArray
    kind: FloatArray
    ratio: FloatArray


@dataclass(frozen=True, eq=False)
class ShiftedWorld:
    """Kinds of pairs, of which the traffic has other shares.

    Attributes:
        kinds: The kinds, shape (rows,).
        labelled: Share of each among the pairs that are labelled.
        traffic: Share of each in the traffic.
        risk: Probability that the judges are wrong together.
        largest: A bound on the density ratio that was known beforehand.
    """

    kinds: FloatArray
    labelled: FloatArray
    traffic: FloatArray
    risk: FloatArray
    largest: float

    def draw(self, n: int, rng: np.random.Generator, *, of_traffic: bool = False) -> Drawn:
        shares = self.traffic if of_traffic else self.labelled
        rows = rng.choice(self.kinds.size, n, p=shares)
        label = rng.integers(0, 2, n).astype(np.float64)
        sure = special.expit(rng.uniform(0.3, 2.5, (n, 2)))
        is_wrong = rng.uniform(size=n) < self.risk[rows]
        says_a = (label == 1) != is_wrong
        p_a = np.where(says_a[:, None], sure, 1.0 - sure)
        return Drawn(p_a, label, self.kinds[rows], (self.traffic / self.labelled)[rows])


def two_kinds(target: float) -> ShiftedWorld:
    """A hard kind makes up a fifth of the labelled pairs and half of the traffic."""
    hard = 1.75 * target
    easy = 2 * target - hard + 2 * _JUST_ABOVE
    shares = np.array([0.8, 0.2]), np.array([0.5, 0.5])
    return ShiftedWorld(np.array([0.0, 1.0]), *shares, np.array([easy, hard]), 2.5)


def rare_kind(target: float) -> ShiftedWorld:
    """A kind that is mostly wrong is one labelled pair in a hundred, and three in ten in traffic."""
    rare = 3 * target
    easy = (target - 0.3 * rare) / 0.7 + 2 * _JUST_ABOVE
    shares = np.array([0.99, 0.01]), np.array([0.7, 0.3])
    return ShiftedWorld(np.array([0.0, 1.0]), *shares, np.array([easy, rare]), 30.0)


def gradient(target: float) -> ShiftedWorld:
    """The harder, the more frequent in the traffic; the ratio is log-linear in the difficulty."""
    kinds = np.linspace(-2.5, 2.5, 101)
    labelled = np.exp(-(kinds**2) / 2)
    traffic = labelled * np.exp(0.8 * kinds)
    labelled, traffic = labelled / labelled.sum(), traffic / traffic.sum()
    steep = special.expit(1.2 * kinds - 2.5)
    risk = steep * (target + _JUST_ABOVE) / float(traffic @ steep)
    return ShiftedWorld(kinds, labelled, traffic, risk, float((traffic / labelled).max()))


SHIFTED_WORLDS: Mapping[str, Callable[[float], ShiftedWorld]] = {
    "two kinds": two_kinds,
    "rare kind": rare_kind,
    "gradient": gradient,
}
