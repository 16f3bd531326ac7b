"""A scalar opinion is the array's, bit for bit."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.cascade import accepts, decide
from calibration.preference import TieRule, opinion, preference

RULES: tuple[TieRule, ...] = ("exclude", "error", "half", "class")
PROBABILITIES = st.one_of(
    st.floats(0, 1),
    st.sampled_from([0.0, 0.17, 0.5, 0.83, 1.0, 1 / 3, 5e-13, 1 - 5e-13]),
    st.integers(0, 10**12).map(lambda n: n / 10**12),
)


@given(p_a=PROBABILITIES, share=st.none() | PROBABILITIES, ties=st.sampled_from(RULES))
@settings(max_examples=2_000)
def test_it_is_the_opinion_of_the_arrays(p_a: float, share: float | None, ties: TieRule) -> None:
    p_tie = None if share is None else min(share, 1.0 - p_a)
    said = preference([p_a], None if p_tie is None else [p_tie], ties=ties)
    own = opinion(p_a, p_tie, ties=ties)
    assert own.label == said.label[0]
    np.testing.assert_array_equal(own.confidence, said.confidence[0])


@given(
    confidence=st.floats(0, 1) | st.just(math.nan),
    threshold=st.floats(0, 1) | st.sampled_from([math.inf, 0.83, 1 - 0.17]),
)
@settings(max_examples=1_000)
def test_it_accepts_where_the_cascade_does(confidence: float, threshold: float) -> None:
    assert accepts(confidence, threshold) == (decide([[confidence]], [threshold])[0] == 0)


@pytest.mark.parametrize("mass", [1e-12, 0.3])
def test_almost_no_mass_beside_the_tie_is_no_trap(mass: float) -> None:
    said = preference([mass], [1.0 - mass], ties="exclude")
    assert opinion(mass, 1.0 - mass).confidence == said.confidence[0]
