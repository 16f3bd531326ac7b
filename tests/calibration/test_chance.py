"""Every public function that draws takes a Generator, a seed, or None for fresh entropy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, is_dataclass
from typing import Any

import numpy as np
import pytest

from calibration.certify import certify_cascade
from calibration.errors import InvalidArgument, as_generator
from calibration.intervals import ClusterBootstrap
from calibration.monitor import (
    Drift,
    detection_delay,
    draw_audits,
    draw_prompt_audits,
    observe_canaries,
    start_canaries,
    start_monitor,
)
from calibration.plan import (
    Design,
    certification_power,
    compare_cascades,
    compare_rules,
    frontier,
    plan_labels,
)
from calibration.reliability import cross_fitted, fit_temperature

CHANCE = np.random.default_rng(5)
DATA: tuple[Any, Any] = (CHANCE.uniform(0.5, 1.0, (60, 1)), CHANCE.uniform(size=(60, 1)) < 0.8)
SURE, RIGHT = np.linspace(0.6, 0.9, 40), np.arange(40) % 3 > 0
MONITOR, DRIFT = start_monitor(0.3), Drift(0.1, 0.9, 0)
ENTRIES: dict[str, Callable[[Any], object]] = {
    "certify_cascade": lambda rng: certify_cascade(*DATA, target_risk=0.4, rng=rng),
    "frontier": lambda rng: frontier(*DATA, [0.4], rng=rng),
    "compare_rules": lambda rng: compare_rules(
        *DATA, target_risks=[0.4], design=Design(n_splits=9), rng=rng
    ),
    "compare_cascades": lambda rng: compare_cascades(*DATA, [0.4, 0.3], rng=rng),
    "certification_power": lambda rng: certification_power(
        *DATA, 40, target_risk=0.4, rng=rng, runs=5
    ),
    "plan_labels": lambda rng: plan_labels(*DATA, target_risk=0.4, rng=rng, most_labels=40, runs=5),
    "ClusterBootstrap": lambda rng: ClusterBootstrap.over([1, 2], rng).seed,
    "cross_fitted": lambda rng: cross_fitted(SURE, RIGHT, np.arange(40), fit_temperature, rng),
    "detection_delay": lambda rng: detection_delay(MONITOR, DRIFT, rng, runs=9, horizon=9).delays,
    "draw_audits": lambda rng: draw_audits(np.full(90, 0.5), rng),
    "observe_canaries": lambda rng: observe_canaries(start_canaries(), [0.0] * 9, rng).to_dict(),
    "draw_prompt_audits": lambda rng: draw_prompt_audits(np.arange(90), 0.5, rng),
}


@pytest.mark.parametrize("entry", ENTRIES)
def test_a_seed_draws_as_the_generator_of_that_seed_does(entry: str) -> None:
    draw = ENTRIES[entry]
    for seed in (3, np.int64(4)):
        assert _plain(draw(seed)) == _plain(draw(np.random.default_rng(seed)))
    draw(None)


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("rng", [np.random, np.random.RandomState(0), "0", 0.5, True, -1])
def test_what_is_no_source_of_chance_is_refused(entry: str, rng: object) -> None:
    with pytest.raises(InvalidArgument, match="rng must be a seed"):
        ENTRIES[entry](rng)


def test_nothing_is_fresh_entropy() -> None:
    assert as_generator(None).integers(2**63) != as_generator(None).integers(2**63)


def test_a_generator_is_used_and_advanced() -> None:
    rng = np.random.default_rng(0)
    assert as_generator(rng) is rng


def _plain(value: Any) -> str:
    """Return a result as text in which arrays are lists, so that two can be compared."""
    if isinstance(value, tuple):
        return str([_plain(each) for each in value])
    if is_dataclass(value) and not isinstance(value, type):
        value = {name: np.asarray(each, object) for name, each in asdict(value).items()}
    return str(value)
