from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from calibration.certify import certify_cascade
from calibration.errors import InvalidArgument
from calibration.intervals import ClusterBootstrap
from calibration.monitor.audits import draw_audits, draw_prompt_audits
from calibration.plan import compare_rules, frontier

DATA: Any = (np.full((40, 1), 0.9), np.ones((40, 1)))
ENTRIES: dict[str, Callable[[Any], object]] = {
    "certify_cascade": lambda rng: certify_cascade(*DATA, target_risk=0.2, rng=rng),
    "frontier": lambda rng: frontier(DATA[0], DATA[1], [0.2], rng=rng),
    "compare_rules": lambda rng: compare_rules(*DATA, target_risks=[0.2], rng=rng),
    "ClusterBootstrap": lambda rng: ClusterBootstrap.over([1, 2], rng),
    "draw_audits": lambda rng: draw_audits([0.5], rng),
    "draw_prompt_audits": lambda rng: draw_prompt_audits(["a"], 0.5, rng),
}


@pytest.mark.parametrize("entry", ENTRIES)
@pytest.mark.parametrize("rng", [0, None, np.random, np.random.RandomState(0)])
def test_what_is_no_generator_is_refused_with_the_type_that_is_wanted(
    entry: str, rng: object
) -> None:
    with pytest.raises(InvalidArgument, match=r"rng must be a numpy\.random\.Generator"):
        ENTRIES[entry](rng)
