"""Tests that draw a number, and spend the whole of their level."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from calibration import certify_cascade
from calibration.binomial import p_value
from calibration.errors import UnavailableMethod
from tests.calibration.certify.test_certify import certified, friendly

NAN = float("nan")


def test_a_randomized_test_reports_its_number_and_spends_the_whole_level() -> None:
    certificate = certified(400, randomized=True)
    assert certificate.uniform is not None
    assert 0 < certificate.uniform < 1
    counts = certificate.disagreements, certificate.answered
    above, below = p_value(*counts, 0.2), p_value(counts[0] - 1, counts[1], 0.2)
    mixed = float(below + certificate.uniform * (above - below))
    assert certificate.p_value == pytest.approx(mixed)
    assert certificate.p_value <= certificate.level
    assert certified(400).uniform is None


def test_randomized_p_values_are_uniform_at_the_target() -> None:
    rng = np.random.default_rng(2)
    confidence, p_values = np.full((30, 1), 0.9), []
    for draw in range(400):
        wrong = rng.uniform(size=(30, 1)) < 0.3
        certificate = certify_cascade(
            confidence,
            1.0 - wrong,
            target_risk=0.3,
            failure_probability=1 - 1e-9,
            pool=confidence,
            randomized=True,
            rng=np.random.default_rng(draw),
        )
        p_values.append(certificate.p_value)
    assert stats.kstest(p_values, "uniform").pvalue > 0.001


def test_a_randomized_test_certifies_nothing_on_no_answer() -> None:
    confidence = np.full((50, 1), 0.6)
    for seed in range(30):
        certificate = certify_cascade(
            confidence,
            np.ones((50, 1)),
            target_risk=0.2,
            pool=np.full((50, 1), 0.9),
            randomized=True,
            rng=np.random.default_rng(seed),
        )
        assert not certificate.is_certified


def test_randomized_tests_need_counts() -> None:
    with pytest.raises(UnavailableMethod, match="randomized tests need agreement of 0 or 1"):
        certify_cascade(
            friendly(400)[0],
            np.full((400, 3), 0.9),
            target_risk=0.2,
            randomized=True,
            rng=np.random.default_rng(0),
        )
