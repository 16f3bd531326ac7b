"""Worlds as preferences: what judges say of a and b, and which of the two people prefer.

A world gives each judge a confidence and a probability of being wrong. `as_judges` takes these for
the judges themselves. `as_tiers` takes them for what the judges say *together*, and finds judges
whose log-odds add up to it: then the stacked path is exactly the world's path.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import special

from calibration.arrays import BoolArray, FloatArray, IntArray
from calibration.certify import Certificate, Heard, Rule
from calibration.certify.prepare import risk_before_shift
from tests.calibration.worlds.adversarial import ALL_WORLDS
from tests.calibration.worlds.populations import Truth, World

# so that the judges' own log-odds, differences of those of tiers, lie within the clip
_SUREST = 4.2


@dataclass(frozen=True, eq=False)  # no slots: what follows from the population is kept
class Told:
    """A population by what judges say where people prefer a; the rest is its mirror image.

    Attributes:
        p_a: Shape (rows, k), nan where a judge failed.
        mass: Shape (rows,), adds up to 1.
    """

    p_a: FloatArray
    mass: FloatArray

    def draw(self, n: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
        """Return p_a, shape (n, k), and the outcome, shape (n,), 1 for a."""
        rows = np.searchsorted(self._reached, rng.uniform(size=n) * self._reached[-1])
        label = rng.integers(0, 2, n)
        said = self.p_a[rows]
        return np.where(label[:, None] == 1, said, 1.0 - said), label.astype(np.float64)

    def pool(self, m: int, rng: np.random.Generator) -> FloatArray:
        return self.draw(m, rng)[0]

    def truth(self, certificate: Certificate, weight: FloatArray | None = None) -> Truth:
        """Return the true risk and coverage of a certificate, over pairs that count by weight."""
        is_answered, is_wrong = self._verdicts(certificate)
        mass = self.mass if weight is None else self.mass * weight / (self.mass @ weight)
        coverage = float(mass @ is_answered)
        risk = float(mass @ (is_answered & is_wrong)) / coverage if coverage > 0 else 0.0
        return Truth(risk, coverage)

    def breaks(
        self, certificate: Certificate, shift: float = 1.0, weight: FloatArray | None = None
    ) -> bool:
        """Whether the promise is broken by the worst traffic that a shift allows."""
        if not certificate.is_certified:
            return False
        truth = self.truth(certificate, weight)
        allowed = risk_before_shift(certificate.target_risk, shift)
        return truth.coverage > 0 and truth.risk >= allowed - 1e-9

    @cached_property
    def _reached(self) -> FloatArray:
        return np.cumsum(self.mass)

    def _verdicts(self, certificate: Certificate) -> tuple[BoolArray, BoolArray]:
        n_judges = self.p_a.shape[1]
        if certificate.columns == "learned":
            heard = Heard("learned", n_judges, certificate.weights)
            said = heard.said(self.p_a, None)
        else:
            heard, said = Heard("stacked", n_judges), self._columns
        label, confidence = said
        if certificate.columns == "raw":
            heard, (label, confidence) = Heard("raw", n_judges), self._raw
        rule = Rule(certificate.columns, certificate.thresholds)
        scores = np.where(np.isnan(confidence), -np.inf, confidence)
        _, column = heard.layout.decided(scores, rule)
        is_answered = column >= 0
        return is_answered, label[np.arange(len(label)), np.maximum(column, 0)] == 1

    @cached_property
    def _columns(self) -> tuple[IntArray, FloatArray]:
        return Heard("stacked", self.p_a.shape[1]).said(self.p_a, None)

    @cached_property
    def _raw(self) -> tuple[IntArray, FloatArray]:
        return Heard("raw", self.p_a.shape[1]).said(self.p_a, None)


def as_judges(world: World) -> Told:
    """Judges that are as sure, and as often wrong, as those of the world."""
    confidence, is_wrong, mass = _patterns(world)
    return Told(np.where(is_wrong, 1.0 - confidence, confidence), mass)


def as_tiers(world: World) -> Told:
    """Judges that say together, tier by tier, what those of the world say alone."""
    confidence, is_wrong, mass = _patterns(world)
    sure = special.logit(np.clip(np.nan_to_num(confidence, nan=0.5), 0.5, 1 - 1e-12))
    total = np.where(is_wrong, -1.0, 1.0) * np.minimum(sure, _SUREST)
    own = np.diff(total, axis=1, prepend=0.0)
    return Told(special.expit(own), mass)


def _patterns(world: World) -> tuple[FloatArray, BoolArray, FloatArray]:
    """Return confidences, which judges are wrong and masses, a row for each way to be wrong.

    Judges of one pair share their luck: those are wrong whose probability lies above one number.
    """
    size, n_judges = world.error_probability.shape
    mass = np.full(size, 1.0 / size) if world.mass is None else world.mass
    ends = np.sort(np.column_stack([world.error_probability, np.ones(size)]), axis=1)
    starts = np.column_stack([np.zeros(size), ends[:, :-1]])
    parts = [
        (world.confidence, world.error_probability >= ends[:, [i]], mass * (ends - starts)[:, i])
        for i in range(n_judges + 1)
    ]
    confidence, is_wrong, masses = (np.concatenate(part) for part in zip(*parts, strict=True))
    kept = masses > 0
    return confidence[kept], is_wrong[kept], masses[kept]


def two_halves(target_risk: float, size: int = 4_000) -> Told:
    """The last judge is sure on one half, the others on the other: two tests, hardly dependent."""
    rng = np.random.default_rng(31)
    is_first = np.arange(size) % 2 == 0
    low, high = rng.uniform(0.05, 0.3, (size, 3)), rng.uniform(1.5, 3.0, (size, 3))
    sure = np.where(is_first[:, None] == np.array([True, True, False]), high, low)
    p_right = special.expit(sure)
    wrong = target_risk + 1e-6
    return Told(
        np.concatenate([p_right, 1.0 - p_right]),
        np.concatenate([np.full(size, (1 - wrong) / size), np.full(size, wrong / size)]),
    )


def few_answers(target_risk: float, size: int = 4_000) -> Told:
    """Judges give verdicts without probabilities, and are wrong together as often as the target."""
    rng = np.random.default_rng(32)
    verdict = np.where(rng.uniform(size=(size, 3)) < 0.8, 1.0, 0.5)
    verdict[:, 2] = 1.0
    wrong = target_risk + 1e-6
    return Told(
        np.concatenate([verdict, 1.0 - verdict]),
        np.concatenate([np.full(size, (1 - wrong) / size), np.full(size, wrong / size)]),
    )


def _told(
    world: Callable[[float], World], hear: Callable[[World], Told], target_risk: float
) -> Told:
    # fewer pairs than in a raw world: every pattern of wrong judges is a row of its own
    has_size = "size" in inspect.signature(world).parameters
    return hear(world(target_risk, size=4_000) if has_size else world(target_risk))  # type: ignore[call-arg]


TOLD_WORLDS: Mapping[str, Callable[[float], Told]] = {
    **{
        f"{name}, {how}": functools.partial(_told, world, hear)
        for name, world in ALL_WORLDS.items()
        for how, hear in (("judges", as_judges), ("tiers", as_tiers))
    },
    "two halves": two_halves,
    "few answers": few_answers,
}
