"""Worlds in which a certification once promised what it had not tested."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from calibration import certify_cascade
from calibration.certify import Certificate
from calibration.certify.evidence import arrival_p_value, shares_as_they_come
from calibration.errors import UnavailableMethod
from tests.calibration.simulation import allowed_share

DELTA, DRAWS = 0.1, 200


def certified(correct: Any, target_risk: float, **options: Any) -> Certificate:
    """One judge, equally sure of every pair."""
    agreement = np.asarray(correct, np.float64)[:, None]
    return certify_cascade(
        np.full(agreement.shape, 0.9),
        agreement,
        target_risk=target_risk,
        failure_probability=DELTA,
        pool=np.full((50, 1), 0.9),
        rng=np.random.default_rng(0),
        **options,
    )


# weights that are equal by chance


@pytest.mark.parametrize(("n", "target"), [(12, 0.2), (25, 0.1)])
def test_pairs_seldom_labelled_are_not_forgotten_where_none_was_drawn(
    n: int, target: float
) -> None:
    # half of the pairs are labelled always, the others, all wrong, once in a hundred times
    floor = 0.01
    rng = np.random.default_rng(1)
    broken = 0
    for _ in range(DRAWS):
        is_easy = rng.uniform(size=n) < 1 / (1 + floor)
        weights = np.where(is_easy, 1.0, 1 / floor)
        broken += certified(
            is_easy, target, weights=weights, min_label_probability=floor
        ).is_certified
    assert broken / DRAWS <= allowed_share(DELTA, DRAWS)


def test_equal_weights_are_ordinary_only_where_no_bound_says_otherwise() -> None:
    correct, weights = np.ones(30), np.ones(30)
    assert certified(correct, 0.1, weights=weights).is_certified
    declared = certified(correct, 0.1, weights=weights, min_label_probability=0.01)
    assert not declared.is_certified
    # at the bound itself the stakes are as large as they can be
    enough = certified(np.ones(300), 0.1, weights=np.full(300, 2.0), min_label_probability=0.5)
    assert enough.is_certified
    assert "label" in enough.claim
    with pytest.raises(UnavailableMethod, match="equal label probabilities"):
        certified(correct, 0.1, weights=weights, min_label_probability=0.5, method="simultaneous")


# slices that turn up one after another


def test_shares_of_slices_never_change_and_never_add_up_to_more_than_all() -> None:
    slices = np.array([3, 3, 0, 3, 1, 0, 2])
    np.testing.assert_allclose(shares_as_they_come(slices), [1 / 6, 1 / 12, 1 / 20, 1 / 2])
    np.testing.assert_allclose(shares_as_they_come(slices[:4]), [1 / 6, 1 / 2])
    assert shares_as_they_come(np.arange(1000)).sum() < 1


@pytest.mark.parametrize("rule", ["joint", "common"])
def test_a_slice_that_turns_up_later_leaves_the_levels_of_others_alone(rule: Any) -> None:
    correct = np.ones(400)
    slices = np.where(np.arange(400) < 200, "b", "a")
    looks = {}
    for n in (200, 400):
        certificate = certified(
            correct[:n], 0.1, method="sequential", slices=slices[:n], slice_rule=rule
        )
        looks[n] = {part.slice: part for part in certificate.certificates}
        assert all(part.is_certified for part in certificate.certificates)
    b = {n: parts["b"] for n, parts in looks.items()}
    if rule == "joint":
        assert b[200].level == b[400].level == pytest.approx(DELTA / 2)
        assert looks[400]["a"].level == pytest.approx(DELTA / 6)
    else:
        alone = arrival_p_value(np.zeros(200), 0.1)
        assert b[200].p_value == pytest.approx(2 * alone)
        assert b[400].p_value == pytest.approx(6 * alone)


def test_slices_looked_at_one_after_another_hold_together() -> None:
    # every slice is at the target, and each turns up when the one before has shown all it will
    rng = np.random.default_rng(2)
    target, runs = 0.2, 600
    shares = shares_as_they_come(np.arange(4))
    broken = 0
    for _ in range(runs):
        losses = (rng.uniform(size=(4, 1500)) < target).astype(np.float64)
        p_values = [arrival_p_value(loss, target) for loss in losses]
        broken += bool(np.any(np.array(p_values) <= DELTA * shares))
    assert broken / runs <= DELTA


@pytest.mark.parametrize("n", [1, 2, 29, 30, 31])
def test_common_thresholds_need_pairs_that_test_them(n: int) -> None:
    certificate = certify_cascade(
        np.full((n, 2), 0.9),
        np.ones((n, 2)),
        target_risk=0.1,
        slices=np.arange(n) % 2,
        slice_rule="common",
        method="sequential",
        rng=np.random.default_rng(0),
    )
    assert not certificate.is_certified
    assert np.isinf(certificate.thresholds).all()
    assert {part.slice for part in certificate.certificates} <= {"0", "1"}
    assert certificate.certificates


# what the words promise


def test_arriving_groups_promise_the_pair_that_is_labelled_first() -> None:
    # the first pair of each group is right and the second wrong: half of all verdicts
    correct = np.tile([1.0, 0.0], 200)
    certificate = certified(correct, 0.1, groups=np.arange(400) // 2, method="sequential")
    assert certificate.is_certified
    assert "labelled first" in certificate.claim
    assert "one pair drawn at random" not in certificate.claim


def test_an_average_over_groups_is_said_to_be_one() -> None:
    groups = np.arange(400) // 2
    of_groups = certified(np.ones(400), 0.1, groups=groups, method="average")
    assert "randomly drawn group" in of_groups.claim
    assert "group" not in certified(np.ones(400), 0.1, method="average").claim


@pytest.mark.parametrize("method", ["average", "published_code"])
def test_no_probability_is_made_up_for_several_averages(method: Any) -> None:
    menu = certified(np.ones(400), 0.1, method=method, menu=[0.2])
    for one in (menu, *menu.certificates):
        assert "with probability" not in one.claim.lower()
        assert "one of 2 targets" in one.claim
    for rule in ("joint", "each"):
        sliced = certified(
            np.ones(400), 0.1, method=method, slices=np.arange(400) % 2, slice_rule=rule
        )
        assert "with probability" not in sliced.claim.lower()
        assert "no probability is promised" in sliced.claim


def test_exposed_pairs_are_said_to_count_by_their_exposure() -> None:
    exposure = np.where(np.arange(400) % 2, 0.5, 1.0)
    assert "exposure" in certified(np.ones(400), 0.1, exposure=exposure).claim
    assert "exposure" not in certified(np.ones(400), 0.1, exposure=np.ones(400)).claim


# groups that are single by chance


@pytest.mark.parametrize("cap", [None, 100])
def test_large_groups_are_not_forgotten_where_none_was_drawn(cap: int | None) -> None:
    # two groups in a hundred have a hundred pairs, all wrong: two thirds of all pairs are
    rng = np.random.default_rng(3)
    broken = 0
    for _ in range(DRAWS):
        is_large = rng.uniform(size=30) < 0.02
        groups = np.repeat(np.arange(30), np.where(is_large, 100, 1))
        certificate = certified(~is_large[groups], 0.1, groups=groups, max_group_size=cap)
        broken += certificate.is_certified and "randomly drawn group" not in (certificate.claim)
    assert broken / DRAWS <= allowed_share(DELTA, DRAWS)


def test_declared_groups_are_in_the_promise_unless_they_are_single_by_declaration() -> None:
    groups, correct = np.arange(60), np.ones(60)
    assert "group" not in certified(correct, 0.1).claim
    assert "group" not in certified(correct, 0.1, groups=groups, max_group_size=1).claim
    assert "one pair drawn at random" in certified(correct, 0.1, groups=groups).claim
    first = certified(correct, 0.1, groups=groups, method="sequential").claim
    assert "labelled first" in first


def test_weighted_pairs_of_declared_groups_are_bet_on_with_their_cap() -> None:
    groups, correct = np.arange(300), np.ones(300)
    weights: dict[str, Any] = {
        "weights": np.tile([1.0, 2.0], 150),
        "min_label_probability": 0.5,
        "groups": groups,
    }
    assert not certified(correct, 0.1, max_group_size=100, **weights).is_certified
    single = certified(correct, 0.1, max_group_size=1, **weights)
    assert single.is_certified
    assert "only one of its group" not in single.claim
    assert "only one of its group" in certified(correct, 0.1, **weights).claim
