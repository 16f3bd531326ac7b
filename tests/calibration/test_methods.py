"""The named alternatives of a certification, and its variants."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats

from calibration import certify_cascade, decide, decide_in_slices
from calibration.arriving import arrival_p_value, log_evidence
from calibration.binomial import p_value, upper_bound
from calibration.errors import InvalidArgument, UnavailableMethod
from calibration.pooling import pooled_preference
from tests.calibration.test_certify import certified, friendly, same
from tests.calibration.worlds import COSTS, random_world

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


# labels one by one


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


# randomised tests


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


# pooled evidence


@settings(max_examples=50)
@given(st.lists(st.tuples(*[st.floats(0, 1)] * 3), min_size=1, max_size=5))
def test_swapping_the_responses_mirrors_the_pooled_preference(rows: Any) -> None:
    p_a = np.round(np.array(rows), 6)
    np.testing.assert_allclose(pooled_preference(1 - p_a), 1 - pooled_preference(p_a), atol=2e-12)


def test_pooled_preference_adds_log_odds() -> None:
    p_a = np.array([[0.8, 0.8], [0.9, NAN], [NAN, NAN], [1.0, 0.5], [0.999, 0.02]])
    odds = 16 / 1
    np.testing.assert_allclose(
        pooled_preference(p_a), [odds / (odds + 1), 0.9, NAN, 0.98, 0.5], atol=1e-12
    )


@pytest.mark.parametrize(
    ("p_a", "clip", "match"),
    [([0.5], 0.1, "p_a"), ([[1.5]], 0.1, "p_a"), ([[0.5]], 0.5, "clip"), ([[0.5]], 0.0, "clip")],
)
def test_bad_evidence_is_named(p_a: Any, clip: float, match: str) -> None:
    with pytest.raises(InvalidArgument, match=match):
        pooled_preference(p_a, clip=clip)


def test_pooled_evidence_is_a_last_tier_heard_after_everybody() -> None:
    rng = np.random.default_rng(3)
    scores = rng.uniform(0.5, 0.7, (400, 2))
    correct = (rng.uniform(size=(400, 2)) < 0.5).astype(np.float64)
    pooled = np.stack([rng.uniform(0.8, 1, 400), np.ones(400)], axis=1)
    certificate = certify_cascade(
        scores,
        correct,
        target_risk=0.2,
        costs=[1, 10],
        pooled_evidence=pooled,
        pool=np.column_stack([scores, pooled[:, 0]]),
        method="strongest",
        rng=rng,
    )
    assert certificate.thresholds.shape == (3,)
    assert np.isfinite(certificate.thresholds[2])
    assert certificate.composition[2] == pytest.approx(certificate.coverage)
    assert certificate.cost_per_pair == pytest.approx(11)
    assert certificate.relative_cost == pytest.approx(1.1)
    answered = decide(np.column_stack([scores, pooled[:, 0]]), certificate.thresholds)
    assert (answered == 2).sum() == certificate.answered


def test_pooled_evidence_that_never_answers_costs_nothing() -> None:
    confidence, correct = friendly(400)
    pooled = np.full((400, 2), [NAN, 0.0])
    certificate = certify_cascade(
        confidence,
        correct,
        target_risk=0.2,
        costs=[0, 0, 0],
        pooled_evidence=pooled,
        rng=np.random.default_rng(0),
    )
    assert certificate.is_certified
    assert certificate.thresholds[3] == np.inf or certificate.composition[3] == 0
    assert certificate.relative_cost is None


@pytest.mark.parametrize("shape", [(400,), (399, 2), (400, 3)])
def test_pooled_evidence_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidArgument, match="pooled_evidence must have shape"):
        certified(400, pooled_evidence=np.full(shape, 0.9))


def test_a_pool_must_have_the_pooled_tier_too() -> None:
    with pytest.raises(InvalidArgument, match="pool must have 4 columns"):
        certified(400, pooled_evidence=np.full((400, 2), 0.9))


def test_pooled_evidence_answers_more_where_judges_err_apart() -> None:
    rng = np.random.default_rng(4)
    truth = rng.uniform(size=(800, 1)) < 0.5
    votes = (rng.uniform(size=(800, 5)) < 0.75) == truth
    p_a = np.where(votes, 0.75, 0.25)
    pooled = pooled_preference(p_a)
    evidence = np.stack([np.maximum(pooled, 1 - pooled), (pooled > 0.5) == truth[:, 0]], axis=1)
    options: dict[str, Any] = {"target_risk": 0.15, "rng": rng}
    confidence, correct = np.full((800, 5), 0.75), (votes == truth).astype(np.float64)
    alone = certify_cascade(confidence, correct, **options)
    together = certify_cascade(confidence, correct, pooled_evidence=evidence, **options)
    assert not alone.is_certified
    assert together.coverage > 0.8


# slices


def _sliced(rule: Any, bad: float = 0.05, **options: Any) -> Any:
    rng = np.random.default_rng(6)
    names = np.array(["one", "two", "three"])[rng.integers(0, 3, 900)]
    risk = np.where(names == "two", bad, 0.05)
    confidence = rng.uniform(0.5, 1, (900, 2))
    correct = np.repeat(rng.uniform(size=(900, 1)) >= risk[:, None], 2, axis=1)
    certificate = certify_cascade(
        confidence,
        correct,
        target_risk=0.2,
        slices=names,
        slice_rule=rule,
        rng=np.random.default_rng(0),
        **options,
    )
    return certificate, confidence, names


def test_common_thresholds_hold_in_every_slice() -> None:
    certificate, confidence, names = _sliced("common")
    assert certificate.is_certified
    assert [part.slice for part in certificate.certificates] == ["one", "three", "two"]
    for part in certificate.certificates:
        np.testing.assert_array_equal(part.thresholds, certificate.thresholds)
        assert part.level <= 0.1
    assert sum(part.answered for part in certificate.certificates) == certificate.answered
    judge = decide_in_slices(certificate, confidence, names)
    np.testing.assert_array_equal(judge, decide(confidence, certificate.thresholds))
    assert "same thresholds" in certificate.claim


def test_one_bad_slice_leaves_no_common_thresholds() -> None:
    certificate, _, _ = _sliced("common", bad=0.4)
    assert not certificate.is_certified
    assert not any(part.is_certified for part in certificate.certificates)
    each, _, _ = _sliced("each", bad=0.4)
    assert [part.is_certified for part in each.certificates] == [True, True, False]


def test_slices_alone_have_the_whole_failure_probability() -> None:
    each, _, _ = _sliced("each")
    joint, _, _ = _sliced("joint")
    assert {part.failure_probability for part in each.certificates} == {0.1}
    assert {round(part.failure_probability, 9) for part in joint.certificates} == {
        round(0.1 / 3, 9)
    }
    assert "holds alone" in each.claim
    assert "hold together" in joint.claim


def test_common_thresholds_of_a_menu() -> None:
    certificate, _, _ = _sliced("common", menu=[0.3])
    assert len(certificate.certificates) == 6
    assert {part.target_risk for part in certificate.certificates} == {0.2, 0.3}


def test_common_thresholds_of_a_learned_path() -> None:
    certificate, _, _ = _sliced("common", method="learned")
    assert certificate.is_certified


def test_common_thresholds_need_a_path() -> None:
    with pytest.raises(UnavailableMethod, match="common to slices"):
        _sliced("common", method="simultaneous")


def test_an_unknown_rule_for_slices_is_named() -> None:
    with pytest.raises(InvalidArgument, match=r"slice_rule.*joint, each, common"):
        _sliced("all")


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
