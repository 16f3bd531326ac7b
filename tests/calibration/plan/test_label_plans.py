from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from calibration.certify import certify_preferences
from calibration.errors import InvalidArgument
from calibration.estimate import Estimate
from calibration.plan.labels import certification_power, plan_labels
from calibration.plan.rules import compare_cascades, sub_cascades
from tests.calibration.certify.test_certify import friendly
from tests.calibration.worlds.populations import (
    COSTS,
    just_above,
    random_labels,
    wrong_on_the_remainder,
)


def value(estimate: Estimate) -> float:
    assert estimate.value is not None
    return estimate.value


def test_power_grows_with_the_number_of_labels() -> None:
    pilot = friendly(2000)
    powers = [
        value(
            certification_power(*pilot, n, target_risk=0.15, runs=60, rng=np.random.default_rng(0))
        )
        for n in (40, 150, 600)
    ]
    assert powers == sorted(powers)
    assert powers[0] < 0.5 < powers[-1]


def test_power_asks_for_the_coverage_wanted() -> None:
    pilot = friendly(2000)
    options: dict[str, Any] = {"target_risk": 0.15, "runs": 40}
    anything, much = (
        certification_power(*pilot, 400, coverage=coverage, rng=np.random.default_rng(0), **options)
        for coverage in (0.0, 0.97)
    )
    assert value(anything) > value(much)
    assert anything.low is not None
    assert anything.high is not None
    assert anything.low <= value(anything) <= anything.high
    assert anything.n == 40


@pytest.mark.slow
@pytest.mark.parametrize("power", [0.6, 0.8])
def test_planned_power_is_reached_on_fresh_labels(power: float) -> None:
    """The pilot is the population, so only the plan itself can be off."""
    world = wrong_on_the_remainder(0.3)
    confidence, correct = world.draw(20_000, np.random.default_rng(1))
    plan = plan_labels(
        confidence,
        correct,
        target_risk=0.3,
        power=power,
        runs=150,
        is_pilot_uncertain=False,
        rng=np.random.default_rng(2),
    )
    assert plan.labels is not None
    fresh = certification_power(
        *world.draw(20_000, np.random.default_rng(3)),
        plan.labels,
        target_risk=0.3,
        runs=300,
        is_pilot_uncertain=False,
        rng=np.random.default_rng(4),
    )
    assert abs(value(fresh) - value(plan.power)) <= 0.07 + 3 * np.sqrt(0.25 / 300)


def test_a_small_pilot_says_how_unsure_it_is() -> None:
    rng = np.random.default_rng(5)
    plan = plan_labels(*friendly(150), target_risk=0.15, runs=40, rng=rng)
    assert plan.labels is not None
    assert plan.low is not None
    assert plan.high is None or plan.low <= plan.high


def test_no_number_of_labels_will_do_where_judges_guess() -> None:
    pilot = random_labels().draw(400, np.random.default_rng(6))
    plan = plan_labels(
        *pilot, target_risk=0.2, most_labels=200, runs=20, rng=np.random.default_rng(7)
    )
    assert (plan.labels, plan.high, plan.hopeless) == (None, None, 1.0)
    assert plan.low is None
    assert plan.power.value == 0.0


@pytest.mark.parametrize(
    "options", [{"power": 0.0}, {"power": 1.0}, {"most_labels": 10}, {"runs": 0}]
)
def test_impossible_plans_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgument, match="must"):
        plan_labels(*friendly(50), target_risk=0.2, rng=np.random.default_rng(0), **options)


def test_labels_are_planned_for_judges_that_are_heard_together() -> None:
    """Two judges of equal strength that err independently: together they certify, alone neither."""
    chance = np.random.default_rng(0)
    label = chance.integers(0, 2, 400)
    right = chance.uniform(size=(400, 2)) < 0.82
    p_a = np.where(right == (label == 1)[:, None], 0.82, 0.18)
    plan = plan_labels(
        p_a,
        label,
        target_risk=0.12,
        rng=0,
        most_labels=300,
        runs=20,
        certify=certify_preferences,
    )
    assert plan.labels is not None
    assert plan.low is not None
    with pytest.raises(InvalidArgument, match="same number of pairs"):
        certification_power(p_a, label[1:], 50, target_risk=0.1, rng=0, certify=certify_preferences)


def test_sub_cascades_are_all_choices() -> None:
    assert sub_cascades(2) == ((0,), (1,), (0, 1))
    assert len(sub_cascades(3)) == 7
    assert len(sub_cascades(3, all_orders=True)) == 15


def test_compared_cascades_share_the_failure_probability() -> None:
    pilot = friendly(600)
    plans = compare_cascades(
        *pilot,
        [0.15, 0.2],
        costs=COSTS,
        pool=friendly(200, 9)[0],
        rng=np.random.default_rng(0),
    )
    assert len(plans) == 14
    for plan in plans:
        assert plan.certificate.failure_probability == pytest.approx(0.1 / 14)
        assert plan.certificate.thresholds.shape == (len(plan.judges),)
    assert [plan.certificate.target_risk for plan in plans] == [0.15] * 7 + [0.2] * 7
    covered = [plan.certificate.coverage for plan in plans[:7]]
    assert covered == sorted(covered, reverse=True)
    best = [plan for plan in plans if plan.is_efficient]
    assert best
    assert plans[0].is_efficient
    assert all(plan.certificate.is_certified for plan in best)


def test_the_best_of_many_cascades_keeps_its_promise() -> None:
    broken = 0
    for draw in range(100):
        rng = np.random.default_rng([8, draw])
        confidence, correct = just_above(0.2).draw(150, rng)
        plans = compare_cascades(confidence, correct, [0.2], rng=rng)
        broken += any(plan.certificate.is_certified for plan in plans)
    assert broken / 100 <= 0.1 + 3 * np.sqrt(0.09 / 100)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"cascades": []}, "1 to 500 cascades"),
        ({"cascades": [(0,)] * 501}, "1 to 500 cascades"),
        ({"targets": []}, "at least one target"),
        ({"cascades": [()]}, "names judges 0 to 2"),
        ({"cascades": [(0, 3)]}, r"not \[0, 3\]"),
        ({"cascades": [(1, 1)]}, r"not \[1, 1\]"),
    ],
)
def test_impossible_comparisons_are_named(options: dict[str, Any], match: str) -> None:
    options = {"targets": [0.2], **options}
    with pytest.raises(InvalidArgument, match=match):
        compare_cascades(
            *friendly(50), options.pop("targets"), rng=np.random.default_rng(0), **options
        )


def test_compared_confidences_have_judges_in_columns() -> None:
    with pytest.raises(InvalidArgument, match="pairs, judges"):
        compare_cascades(np.ones(5), np.ones(5), [0.2], rng=np.random.default_rng(0))
