"""Several methods declared together: one promise, at a shared failure probability."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from calibration import Certificate, certify_cascade, certify_preferences
from calibration.certify import Method
from calibration.errors import InvalidArgument, UnavailableMethod
from tests.calibration.certify.test_panel import TARGET, draw
from tests.calibration.simulation import allowed_share

TOGETHER: tuple[Method, ...] = ("auto_raw", "learned_stack", "stagewise")
ALWAYS_AT_THE_TARGET = (0.0, 0.0, "")


def together(seed: int) -> Certificate:
    drawn = draw(ALWAYS_AT_THE_TARGET, 250, 1, seed)
    return certify_preferences(
        drawn.p_a,
        drawn.votes[:, 0],
        target_risk=TARGET,
        failure_probability=0.1,
        costs=[1, 10],
        pool=drawn.pool,
        method=TOGETHER,
        rng=seed,
    )


def test_the_best_of_them_keeps_the_promise_of_all() -> None:
    broken = sum(together(seed).is_certified for seed in range(40)) / 40
    assert broken <= allowed_share(0.1, 40)


@pytest.mark.slow
def test_the_best_of_them_keeps_the_promise_of_all_over_many_draws() -> None:
    broken = sum(together(seed).is_certified for seed in range(2000)) / 2000
    print(f"{len(TOGETHER)} methods together: {broken:.4f}")  # noqa: T201
    assert broken <= allowed_share(0.1, 2000)


def test_each_has_an_equal_part_of_the_failure_probability() -> None:
    chance = np.random.default_rng(4)
    drawn = draw(ALWAYS_AT_THE_TARGET, 300, 1, 5, risk=0.05)
    label = drawn.votes[:, 0]
    asked: dict[str, Any] = {"target_risk": TARGET, "costs": [1, 10], "pool": drawn.pool}
    both = certify_preferences(
        drawn.p_a, label, method=("strongest", "auto"), failure_probability=0.1, rng=chance, **asked
    )
    auto = certify_preferences(
        drawn.p_a, label, method="auto", failure_probability=0.05, rng=0, **asked
    )
    assert (both.method, both.methods) == ("auto", ("strongest", "auto"))
    assert np.array_equal(both.thresholds, auto.thresholds)
    assert both.level == auto.level
    assert both.failure_probability == 0.1
    assert [path.name for path in both.paths] == ["strongest", "diagonal", "strongest"]
    assert both.claim.startswith("With probability at least 0.9 over")


def test_what_cannot_be_declared_together_is_refused() -> None:
    sure, right = np.full((60, 1), 0.9), np.ones((60, 1))
    refused: list[tuple[Any, type[Exception]]] = [
        (("auto", "sequential"), UnavailableMethod),
        (("auto", "auto"), InvalidArgument),
        (("auto",), InvalidArgument),
    ]
    for methods, error in refused:
        with pytest.raises(error):
            certify_cascade(sure, right, target_risk=0.2, method=methods, rng=0)
    with pytest.raises(UnavailableMethod, match="no menu"):
        certify_cascade(
            sure, right, target_risk=0.2, method=("auto", "strongest"), menu=[0.1], rng=0
        )
