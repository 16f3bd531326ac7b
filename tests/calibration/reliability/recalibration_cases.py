"""Confidences with labels to recalibrate by, and the fits to try on them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st
from scipy import special

from calibration.reliability import fit_beta, fit_isotonic, fit_platt, fit_temperature

NAN = float("nan")
FITS: list[Any] = [fit_temperature, fit_platt, fit_beta, fit_isotonic]
LOGISTIC = FITS[:3]
every_fit = pytest.mark.parametrize("fit", FITS, ids=lambda fit: fit.__name__)
every_logistic = pytest.mark.parametrize("fit", LOGISTIC, ids=lambda fit: fit.__name__)


def overconfident(n: int, seed: int = 0, sharpness: float = 2.5) -> tuple[np.ndarray, np.ndarray]:
    """Confidences whose logits are too large by a factor, and agreement."""
    rng = np.random.default_rng(seed)
    logit = np.abs(2 * rng.normal(size=n))
    return special.expit(sharpness * logit), rng.random(n) < special.expit(logit)


@st.composite
def some_labels(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Preferences with ties, one half, certainty and failures among them, and labels."""
    n = draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    p = np.round(rng.uniform(0, 1, n), draw(st.integers(1, 6)))
    p[rng.random(n) < 0.1] = NAN
    p[0] = draw(st.sampled_from([0.0, 0.3, 0.51, 1.0]))
    return p, (rng.random(n) < draw(st.floats(0, 1))).astype(float)
