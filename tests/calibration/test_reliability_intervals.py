from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest

from calibration.brier import brier_parts
from calibration.reliability import equal_width_edges, measure_reliability
from calibration.reliability_intervals import (
    estimate_brier_score,
    estimate_log_loss,
    estimate_reliability,
)
from calibration.resampling import ClusterBootstrap
from tests.calibration.verdict_worlds import World


def test_all_figures_are_those_of_the_sample_with_intervals_around() -> None:
    sample = World(2.0, group_size=2).draw(200, np.random.default_rng(0))
    boot = ClusterBootstrap.over(sample.group, np.random.default_rng(1))
    found = estimate_reliability(sample.confidence, sample.correct, boot)
    plain = asdict(measure_reliability(sample.confidence, sample.correct))
    parts = brier_parts(sample.confidence, sample.correct, equal_width_edges(10))
    assert parts is not None
    plain |= {f"brier_{name}": value for name, value in asdict(parts).items()}
    for name, estimate in asdict(found).items():
        assert estimate["value"] == pytest.approx(plain[name]), name
        assert estimate["n"] == len(sample.group)
        assert estimate["low"] <= estimate["value"] <= estimate["high"], name
        assert {type(estimate[end]) for end in ("value", "low", "high")} == {float}, name


def test_no_verdicts_have_no_figures() -> None:
    boot = ClusterBootstrap.over([], np.random.default_rng(1))
    for estimate in asdict(estimate_reliability([], [], boot)).values():
        assert (estimate["value"], estimate["low"], estimate["n"]) == (None, None, 0)


def test_losses_without_resamples_have_no_interval() -> None:
    for estimate in (estimate_brier_score, estimate_log_loss):
        assert estimate([0.7, 0.8], [1, 0]).low is None
