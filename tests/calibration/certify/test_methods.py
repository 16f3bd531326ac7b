"""The named alternatives of a certification."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from calibration import certify_cascade, decide
from calibration.binomial import upper_bound
from calibration.errors import InvalidArgument
from tests.calibration.certify.test_certify import certified, friendly, same
from tests.calibration.worlds.populations import COSTS, random_world

NAN = float("nan")


# what a certificate rests on


def test_a_certificate_keeps_the_paths_it_rests_on() -> None:
    certificate = certified(1200, costs=COSTS)
    names = [path.name for path in certificate.paths]
    assert names == ["diagonal", "strongest", "learned"]
    assert sum(path.share for path in certificate.paths) == pytest.approx(1.0)
    assert certificate.nodes_tested == sum(path.tested for path in certificate.paths)
    deployed = next(path for path in certificate.paths if path.name == certificate.path)
    np.testing.assert_array_equal(deployed.thresholds, certificate.thresholds)
    assert (deployed.answered, deployed.disagreements) == (
        certificate.answered,
        certificate.disagreements,
    )
    assert deployed.p_value == certificate.p_value
    assert all(path.tested <= path.nodes for path in certificate.paths)


def test_a_path_on_which_nothing_passed_says_so() -> None:
    rng = np.random.default_rng(0)
    scores = rng.uniform(0.5, 1, (200, 2))
    correct = np.stack([np.ones(200), np.zeros(200)], axis=1)
    certificate = certify_cascade(scores, correct, target_risk=0.45, rng=rng)
    last = next(path for path in certificate.paths if path.name == "strongest")
    assert (last.thresholds, last.answered, last.p_value, last.level) == (None, 0, 1.0, 0.0)
    assert last.tested == 1


# Pareto testing


def test_pareto_testing_tests_on_half_of_the_labels() -> None:
    certificate = certified(400, method="pareto_testing", costs=COSTS)
    assert (certificate.n, certificate.path) == (200, "pareto")


def test_pareto_testing_walks_to_ever_higher_coverage() -> None:
    sample = certified(1200, method="pareto_testing", target_risk=0.4)
    assert sample.coverage > 0.9


def test_pareto_testing_takes_many_judges() -> None:
    confidence, correct = friendly(400, k=13)
    certificate = certify_cascade(
        confidence,
        correct,
        target_risk=0.3,
        method="pareto_testing",
        pool=confidence[:100],
        rng=np.random.default_rng(0),
    )
    assert certificate.thresholds.shape == (13,)


# bounds for every target


def test_simultaneous_bounds_are_exact_and_share_the_failure_probability() -> None:
    certificate = certified(400, method="simultaneous")
    assert len(certificate.bounds) == certificate.nodes_tested == 14
    for bound in certificate.bounds:
        wanted = upper_bound(bound.disagreements, bound.answered, 0.1 / 14)
        assert bound.upper_bound == pytest.approx(float(wanted))
        assert bound.coverage == bound.answered / certificate.n
    assert certificate.risk_upper_bound <= 0.2
    assert "every target at once" in certificate.claim


def test_a_target_may_be_chosen_afterwards() -> None:
    certificate = certified(400, method="simultaneous")
    np.testing.assert_array_equal(certificate.at_target(0.2), certificate.thresholds)
    loose, strict = certificate.at_target(0.3), certificate.at_target(0.01)
    answered = [(decide(friendly(400)[0], each) >= 0).sum() for each in (loose, strict)]
    assert answered[0] >= certificate.answered
    assert answered[1] == 0
    assert np.isinf(certified(400).at_target(0.2)).all()


def test_a_menu_of_simultaneous_targets_costs_nothing() -> None:
    alone = certified(400, method="simultaneous")
    menu = certified(400, method="simultaneous", menu=[0.25, 0.3], pool=None)
    assert [part.failure_probability for part in menu.certificates] == [0.1, 0.1]
    assert {len(part.bounds) for part in (alone, *menu.certificates)} == {14}
    for part in menu.certificates:
        for one, other in zip(menu.bounds, part.bounds, strict=True):
            np.testing.assert_array_equal(one.thresholds, other.thresholds)


def test_a_single_judge_has_no_bounds_twice() -> None:
    confidence, correct = friendly(300, k=1)
    certificate = certify_cascade(
        confidence,
        correct,
        target_risk=0.3,
        method="simultaneous",
        rng=np.random.default_rng(0),
    )
    assert len(certificate.bounds) == 9


def test_a_pool_of_failures_bounds_nothing() -> None:
    confidence, correct = friendly(300)
    certificate = certify_cascade(
        confidence,
        correct,
        target_risk=0.3,
        method="simultaneous",
        pool=np.full((40, 3), NAN),
        rng=np.random.default_rng(0),
    )
    assert (certificate.bounds, certificate.is_certified) == ((), False)


# on average


def test_average_is_the_smallest_threshold_that_the_estimate_allows() -> None:
    confidence, correct = (np.round(part, 6) for part in friendly(500, k=1))
    pool = np.round(friendly(300, 99, k=1)[0], 6)
    certificate = certify_cascade(
        confidence,
        correct,
        target_risk=0.1,
        method="average",
        pool=pool,
        rng=np.random.default_rng(0),
    )

    def estimate(threshold: float) -> float:
        wrong = ((confidence >= threshold) & (correct == 0)).sum()
        return float(300 * (1 + wrong) / (501 * (pool >= threshold).sum()))

    threshold = float(certificate.thresholds[0])
    assert (pool < threshold).sum() > 10
    assert estimate(threshold) <= 0.1
    assert all(estimate(t) > 0.1 for t in pool[pool < threshold])
    assert "On average" in certificate.claim
    assert "With probability" not in certificate.claim
    assert certificate.risk_upper_bound == 1.0


def test_average_counts_pairs_that_were_ever_wrong() -> None:
    # the dear judge is sure and wrong, the cheap one takes over below and is right
    confidence = np.tile([0.6, 0.9], (99, 1))
    correct = np.tile([1.0, 0.0], (99, 1))
    certificate = certify_cascade(
        confidence,
        correct,
        target_risk=0.2,
        method="average",
        pool=confidence,
        rng=np.random.default_rng(0),
    )
    assert not certificate.is_certified


@pytest.mark.parametrize("pool", [np.full((40, 3), NAN), np.empty((0, 3))])
def test_average_answers_nothing_without_confidences(pool: Any) -> None:
    assert not certified(400, method="average", pool=pool).is_certified


def test_methods_answer_what_they_can_on_a_random_world() -> None:
    rng = np.random.default_rng(7)
    world = random_world(rng)
    sample, pool = world.draw(1000, rng), world.pool(300, rng)
    coverage = {
        method: certify_cascade(
            *sample, target_risk=0.3, pool=pool, method=method, rng=np.random.default_rng(0)
        ).coverage
        for method in ("auto", "sequential", "simultaneous", "average")
    }
    assert coverage["auto"] >= max(coverage["simultaneous"], coverage["sequential"])
    assert min(coverage["average"], coverage["simultaneous"]) > 0.9
    same(
        *(
            certify_cascade(
                *sample, target_risk=0.3, pool=pool, method="sequential",
                rng=np.random.default_rng(seed),
            )
            for seed in (1, 2)
        )
    )  # fmt: skip


def test_very_many_labels_are_tested_at_thresholds_that_the_pool_fixes() -> None:
    """Above 100,000 pairs not every break point is a node; thresholds still answer as they say."""
    rng = np.random.default_rng(3)
    n = 120_000
    confidence = rng.uniform(0.5, 1, (n, 2))
    correct = rng.uniform(size=(n, 2)) < confidence
    pool = rng.uniform(0.5, 1, (1000, 2))
    certificate = certify_cascade(
        confidence, correct, target_risk=0.2, method="diagonal", pool=pool, rng=rng
    )
    (path,) = certificate.paths
    assert path.nodes <= 2_002
    tier = decide(confidence, certificate.thresholds)
    assert (tier >= 0).mean() == pytest.approx(certificate.coverage)
    right = correct[np.arange(n), tier][tier >= 0].mean()
    assert 0.8 <= right <= 0.81


def test_one_pair_is_too_few_to_learn_an_order_from() -> None:
    certificate = certify_cascade(
        [[0.9, 0.8]], [[True, True]], target_risk=0.2, method="pareto_testing",
        pool=[[0.9, 0.8]], rng=np.random.default_rng(0),
    )  # fmt: skip
    assert not certificate.is_certified


@pytest.mark.parametrize(
    ("exposure", "match"),
    [([1.0], r"exposure must have shape \(2,\)"), ([0.0, 1.0], "exposure must lie in")],
)
def test_bad_exposure_is_named(exposure: list[float], match: str) -> None:
    with pytest.raises(InvalidArgument, match=match):
        certify_cascade(
            [[0.9], [0.8]], [[True], [True]], target_risk=0.2, exposure=exposure,
            rng=np.random.default_rng(0),
        )  # fmt: skip
