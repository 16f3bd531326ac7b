from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.errors import InvalidArgument
from calibration.reliability import IsotonicMap, LogisticMap, fit_temperature, recalibration_from
from tests.calibration.reliability.recalibration_cases import (
    FITS,
    every_fit,
    overconfident,
    some_labels,
)


@settings(deadline=None, max_examples=60)
@given(some_labels(), st.floats(0, 1), st.sampled_from(FITS))
def test_swapping_the_responses_mirrors_the_map_exactly(
    labels: tuple[np.ndarray, np.ndarray], p: float, fit: Any
) -> None:
    fitted = fit(*labels)
    assert fitted.apply(1 - p) == 1 - fitted.apply(p)
    assert fitted.apply(0.5) == 0.5
    assert (fitted.apply(p) - 0.5) * (p - 0.5) >= 0  # no verdict is turned around


@settings(deadline=None, max_examples=60)
@given(some_labels(), st.sampled_from(FITS), st.booleans())
def test_maps_never_turn_the_ordering_around(
    labels: tuple[np.ndarray, np.ndarray], fit: Any, is_mirrored: bool
) -> None:
    fitted = fit(*labels, is_mirrored=is_mirrored)
    asked = np.sort(np.concatenate([np.linspace(0, 1, 1001), labels[0][~np.isnan(labels[0])]]))
    assert (np.diff(fitted.apply(asked)) >= -1e-15).all()
    assert ((fitted.apply(asked) >= 0) & (fitted.apply(asked) <= 1)).all()


@pytest.mark.parametrize("is_mirrored", [True, False])
@every_fit
def test_maps_survive_json(fit: Any, is_mirrored: bool) -> None:
    fitted = fit(*overconfident(80), is_mirrored=is_mirrored)
    again = recalibration_from(json.loads(json.dumps(fitted.parameters())))
    assert again == fitted


PLATT = {"method": "platt", "is_mirrored": True, "a": 1.0, "b": 1.0, "intercept": 0.0}
ISOTONIC = {
    "method": "isotonic",
    "is_mirrored": True,
    "confidence": [0.6, 0.8],
    "probability": [0.5, 0.9],
}


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"method": "platt", "is_mirrored": True, "a": 1.0},
        {**ISOTONIC, "confidence": 3},
        {**PLATT, "method": "oracle"},
        {**PLATT, "a": -1.0},
        {**PLATT, "b": np.nan},
        {**PLATT, "intercept": -0.1},
        {**PLATT, "intercept": np.inf},
        {**PLATT, "is_mirrored": "false"},
        {**ISOTONIC, "is_mirrored": 1},
        {**ISOTONIC, "confidence": [0.6]},
        {**ISOTONIC, "confidence": [], "probability": []},
        {**ISOTONIC, "confidence": [0.8, 0.6]},
        {**ISOTONIC, "confidence": [0.6, 1.2]},
        {**ISOTONIC, "confidence": [0.6, np.nan]},
        {**ISOTONIC, "probability": [0.9, 0.5]},
        {**ISOTONIC, "probability": [0.4, 0.9]},
        {**ISOTONIC, "probability": [0.5, 1.1]},
    ],
)
def test_parameters_of_no_map_are_refused(parameters: dict[str, object]) -> None:
    assert recalibration_from(PLATT).apply(0.7) == pytest.approx(0.7)
    assert recalibration_from(ISOTONIC).apply(0.7) == pytest.approx(0.7)
    assert recalibration_from({**PLATT, "intercept": -0.1, "is_mirrored": False}).apply(0.5) < 0.5
    with pytest.raises(InvalidArgument):
        recalibration_from(parameters)


def test_shape_is_kept_and_certainty_is_finite() -> None:
    fitted = LogisticMap("temperature", 0.1, 0.1, 0.0, True)
    assert fitted.apply(np.full((2, 3), 0.7)).shape == (2, 3)
    assert 0.9 < float(fitted.apply(1.0)) < 1
    assert fitted.apply([]).shape == (0,)


def test_isotonic_map_is_level_beyond_its_ends() -> None:
    fitted = IsotonicMap((0.6, 0.8), (0.55, 0.9), False)
    assert fitted.apply([0.5, 0.7, 1.0]).tolist() == pytest.approx([0.55, 0.725, 0.9])


def test_numbers_that_are_no_confidences_are_refused() -> None:
    with pytest.raises(InvalidArgument):
        fit_temperature([0.8], [1]).apply([0.7, -0.1])
