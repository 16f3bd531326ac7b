from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from calibration.certify import certify_cascade
from calibration.errors import InvalidArgument
from calibration.intervals import ClusterBootstrap
from calibration.monitor import (
    Drift,
    detection_delay,
    draw_audits,
    draw_prompt_audits,
    start_monitor,
)
from calibration.plan import compare_rules, frontier
from calibration.reliability import cross_fitted, fit_temperature

DATA: Any = (np.full((40, 1), 0.9), np.ones((40, 1)))
SURE, RIGHT = np.linspace(0.6, 0.9, 40), np.arange(40) % 3 > 0
MONITOR, DRIFT = start_monitor(0.3), Drift(0.1, 0.9, 0)
ENTRIES: dict[str, Callable[[Any], object]] = {
    "certify_cascade": lambda rng: certify_cascade(*DATA, target_risk=0.2, rng=rng),
    "frontier": lambda rng: frontier(DATA[0], DATA[1], [0.2], rng=rng),
    "compare_rules": lambda rng: compare_rules(*DATA, target_risks=[0.2], rng=rng),
}
SEEDED: dict[str, Callable[[Any], Any]] = {
    "ClusterBootstrap": lambda rng: ClusterBootstrap.over([1, 2], rng).seed,
    "cross_fitted": lambda rng: cross_fitted(SURE, RIGHT, np.arange(40), fit_temperature, rng),
    "detection_delay": lambda rng: detection_delay(MONITOR, DRIFT, rng, runs=9, horizon=9).delays,
    "draw_audits": lambda rng: draw_audits(np.full(90, 0.5), rng),
    "draw_prompt_audits": lambda rng: draw_prompt_audits(np.arange(90), 0.5, rng),
}


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("rng", [0, None, np.random, np.random.RandomState(0)])
def test_what_is_no_generator_is_refused_with_the_type_that_is_wanted(
    entry: str, rng: object
) -> None:
    with pytest.raises(InvalidArgument, match=r"rng must be a numpy\.random\.Generator"):
        ENTRIES[entry](rng)


@pytest.mark.parametrize("entry", SEEDED)
def test_a_seed_gives_what_its_generator_gives(entry: str) -> None:
    drawn = SEEDED[entry]
    assert np.array_equal(drawn(7), drawn(np.random.default_rng(7)))
    drawn(None)


@pytest.mark.parametrize("entry", SEEDED)
@pytest.mark.parametrize("rng", [-1, True, 0.5, np.random, np.random.RandomState(0)])
def test_what_is_no_source_of_chance_is_refused(entry: str, rng: object) -> None:
    with pytest.raises(InvalidArgument, match="rng must be a seed"):
        SEEDED[entry](rng)
