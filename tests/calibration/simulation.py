"""How often a rule breaks its promise in a world with known truth."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from calibration.arrays import FloatArray
from calibration.certify import Certificate, Method, certify_cascade
from tests.calibration.worlds.populations import World

Rule = Callable[[FloatArray, FloatArray, np.random.Generator], Certificate]


def rule(
    method: Method, target_risk: float, failure_probability: float, pool: FloatArray | None
) -> Rule:
    def certify(
        confidence: FloatArray, correct: FloatArray, rng: np.random.Generator
    ) -> Certificate:
        return certify_cascade(
            confidence,
            correct,
            target_risk=target_risk,
            failure_probability=failure_probability,
            pool=pool,
            method=method,
            rng=rng,
        )

    return certify


def broken_share(
    world: World,
    n: int,
    target_risk: float,
    *,
    draws: int,
    method: Method = "auto",
    failure_probability: float = 0.1,
    pool_size: int | None = None,
    seed: int = 0,
) -> float:
    """Share of draws whose deployed thresholds have a true risk that reaches the target."""
    broken = 0
    for draw in range(draws):
        rng = np.random.default_rng([seed, draw])
        sample = world.draw(n, rng)
        pool = None if pool_size is None else world.pool(pool_size, rng)
        certificate = rule(method, target_risk, failure_probability, pool)(*sample, rng)
        if np.isfinite(certificate.thresholds).any():
            broken += world.breaks(certificate.thresholds, target_risk)
    return broken / draws


def allowed_share(failure_probability: float, draws: int) -> float:
    """The failure probability plus three standard errors of its estimate."""
    spread = np.sqrt(failure_probability * (1 - failure_probability) / draws)
    return failure_probability + 3 * float(spread)
