"""Tests by betting, and of labels that come one by one, at any stopping time."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from scipy import integrate

from calibration import certify_cascade
from calibration.certify.evidence import arrival_p_value, following_bets, log_evidence, mean_p_value
from calibration.errors import UnavailableMethod
from tests.calibration.certify.test_certify import certified, friendly

NAN = float("nan")


@pytest.mark.parametrize("target", [0.05, 0.2, 0.5])
def test_evidence_is_the_mixture_of_likelihood_ratios(target: float) -> None:
    loss = (np.random.default_rng(1).uniform(size=40) < target).astype(np.float64)
    for n in (1, 7, 40):
        lost = loss[:n].sum()

        def ratio(risk: float, lost: float = float(lost), n: int = n) -> float:
            return float(
                (risk / target) ** lost * ((1 - risk) / (1 - target)) ** (n - lost) / target
            )

        mixed, _ = integrate.quad(ratio, 0, target)
        assert log_evidence(loss, target)[n - 1] == pytest.approx(np.log(mixed), abs=1e-6)


@pytest.mark.parametrize("target", [0.1, 0.3])
def test_evidence_expects_no_growth_at_the_target(target: float) -> None:
    for n in (1, 4, 8):
        expected = 0.0
        for losses in itertools.product((0.0, 1.0), repeat=n):
            chance = np.prod(np.where(losses, target, 1 - target))
            expected += chance * np.exp(log_evidence(np.array(losses), target)[-1])
        assert expected == pytest.approx(1.0)


def test_errors_without_end_are_no_evidence() -> None:
    assert arrival_p_value(np.ones(5000), 0.01) == 1.0
    assert arrival_p_value(np.empty(0), 0.1) == 1.0


def test_a_certificate_once_reached_stays_as_labels_arrive() -> None:
    confidence, correct = friendly(800)
    pool = friendly(300, 99)[0]
    reached: dict[str, list[float]] = {"diagonal": [], "strongest": []}
    for n in range(50, 801, 50):
        certificate = certify_cascade(
            confidence[:n],
            correct[:n],
            target_risk=0.15,
            method="sequential",
            pool=pool,
            rng=np.random.default_rng(n),
        )
        for path in certificate.paths:
            lowest = np.inf if path.thresholds is None else path.thresholds.min()
            reached[path.name].append(float(lowest))
    for thresholds in reached.values():
        assert thresholds == sorted(thresholds, reverse=True)
    assert reached["diagonal"][-1] < reached["diagonal"][0]
    assert "whatever number of labels" in certificate.claim


def test_arrivals_without_a_pool_give_their_first_confidences() -> None:
    few, many = (certified(n, method="sequential", pool=None) for n in (100, 700))
    assert few.set_aside == many.set_aside == 30


def test_arriving_groups_are_tested_by_their_first_pair() -> None:
    groups = np.arange(400) // 2
    certificate = certified(400, method="sequential", groups=groups, max_group_size=2)
    assert (certificate.n, certificate.dropped) == (200, 200)
    confidence, correct = friendly(400)
    alone = certify_cascade(
        confidence[::2],
        correct[::2],
        target_risk=0.2,
        method="sequential",
        pool=friendly(300, 99)[0],
        rng=np.random.default_rng(0),
    )
    np.testing.assert_array_equal(alone.thresholds, certificate.thresholds)


@pytest.mark.parametrize("options", [{}, {"weights": np.tile([1.0, 2.0], 200),
                                          "min_label_probability": 0.5}])  # fmt: skip
def test_arriving_shares_and_weights_are_bet_on(options: dict[str, Any]) -> None:
    confidence, _ = friendly(400)
    correct = np.full((400, 3), 0.95)
    certificate = certify_cascade(
        confidence,
        correct,
        target_risk=0.4,
        method="sequential",
        rng=np.random.default_rng(0),
        **options,
    )
    assert certificate.is_certified
    assert certificate.risk_upper_bound == 0.4


def test_weights_do_not_allow_one_pair_a_group() -> None:
    with pytest.raises(UnavailableMethod, match=r"sequential.*one pair a group"):
        certified(
            400,
            method="sequential",
            weights=np.tile([1.0, 2.0], 200),
            min_label_probability=0.5,
            groups=np.arange(400) // 2,
            max_group_size=2,
        )


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
