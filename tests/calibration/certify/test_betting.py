from __future__ import annotations

import numpy as np
import pytest

from calibration.certify.evidence import following_bets, mean_p_value


def test_no_terms_prove_nothing() -> None:
    assert mean_p_value(np.zeros(0), 1.0) == 1.0
    assert mean_p_value(np.zeros(50), 1.0) == 1.0


def test_losses_never_drive_the_p_value_above_one() -> None:
    assert mean_p_value(np.full(50, 0.9), 0.9) == 1.0


def test_clear_gains_prove_much() -> None:
    assert mean_p_value(np.full(200, -0.2), 0.8) < 1e-6


@pytest.mark.parametrize("spread", [0.2, 0.8])
def test_a_mean_of_zero_is_rejected_no_more_often_than_the_level(spread: float) -> None:
    rng = np.random.default_rng(0)
    signs = rng.uniform(size=(1500, 150)) < 0.2 / (0.2 + spread)
    terms = np.where(signs, spread, -0.2)
    rejected = np.mean([mean_p_value(row, spread) <= 0.1 for row in terms])
    assert rejected <= 0.1 + 3 * np.sqrt(0.09 / 1500)


def test_power_against_a_lower_mean() -> None:
    rng = np.random.default_rng(1)
    terms = (rng.uniform(size=(300, 250)) < 0.12) - 0.2
    assert np.mean([mean_p_value(row, 0.8) <= 0.1 for row in terms]) > 0.8


@pytest.mark.parametrize("place", [0, 5, 30])
def test_a_bet_looks_only_at_the_past(place: int) -> None:
    terms = np.random.default_rng(2).uniform(-0.5, 0.45, 60)
    changed = terms.copy()
    changed[place] = 0.8
    here, there = following_bets(terms), following_bets(changed)
    np.testing.assert_allclose(here[: place + 1], there[: place + 1], atol=1e-12)
    assert (here[place + 1 :] != there[place + 1 :]).any()


def test_a_bad_last_term_cannot_undo_the_wealth_reached() -> None:
    terms = np.random.default_rng(2).uniform(-0.2, 0.1, 60)
    assert mean_p_value(np.append(terms, 0.8), 0.8) <= mean_p_value(terms, 0.8)
