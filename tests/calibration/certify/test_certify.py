from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration import Certificate, CertifyOptions, certify_cascade, decide, decide_in_slices
from calibration.arrays import FloatArray
from calibration.binomial import p_value, upper_bound
from calibration.certify import METHODS
from calibration.errors import CalibrationError, InvalidArgument, UnavailableMethod, UndeclaredBound
from tests.calibration.worlds.populations import (
    COSTS,
    just_above,
    overconfident_top,
    random_labels,
    wrong_on_the_remainder,
)

NAN = float("nan")


def friendly(n: int, seed: int = 0, k: int = 3) -> tuple[FloatArray, FloatArray]:
    """Judges that are the surer the more often they are right."""
    rng = np.random.default_rng(seed)
    confidence = rng.uniform(0.5, 1, (n, k))
    return confidence, (rng.uniform(size=(n, k)) < 0.5 + 0.5 * confidence).astype(np.float64)


def certified(n: int = 400, seed: int = 0, **options: Any) -> Certificate:
    confidence, correct = friendly(n, seed)
    options = {"target_risk": 0.2, "pool": friendly(300, 99)[0], **options}
    return certify_cascade(confidence, correct, rng=np.random.default_rng(seed), **options)


def same(one: Certificate, other: Certificate) -> None:
    np.testing.assert_array_equal(one.thresholds, other.thresholds)
    assert (one.answered, one.disagreements, one.claim) == (
        other.answered,
        other.disagreements,
        other.claim,
    )


@pytest.mark.parametrize(
    "method",
    ["auto", "diagonal", "strongest", "learned", "pareto_testing", "stagewise", "simultaneous",
     "sequential"],
)  # fmt: skip
@pytest.mark.parametrize("n", [150, 400, 1200])
def test_certificate_says_what_its_thresholds_do(method: Any, n: int) -> None:
    confidence, correct = friendly(n)
    certificate = certified(n, method=method, costs=COSTS)
    assert certificate.is_certified
    assert certificate.is_valid
    assert certificate.agreement is not None
    assert certificate.risk_upper_bound <= 0.2
    assert certificate.disagreements == pytest.approx(
        certificate.answered * (1 - certificate.agreement)
    )
    assert certificate.coverage == pytest.approx(certificate.answered / certificate.n)
    assert certificate.composition.sum() == pytest.approx(certificate.coverage)
    if certificate.path not in ("learned", "pareto"):
        judge = decide(confidence, certificate.thresholds)
        answered = judge >= 0
        wrong = 1 - correct[np.arange(n), judge][answered]
        assert (certificate.n, certificate.answered) == (n, answered.sum())
        assert certificate.disagreements == wrong.sum()


def test_exact_evidence_is_reported_as_it_was_tested() -> None:
    certificate = certified(3000, method="diagonal")
    counts = certificate.disagreements, certificate.answered
    assert certificate.p_value == pytest.approx(float(p_value(*counts, 0.2)))
    assert certificate.p_value <= certificate.level <= 0.1 + 1e-12
    assert certificate.risk_upper_bound == pytest.approx(
        float(upper_bound(*counts, certificate.level))
    )


def test_the_walk_stops_at_the_first_node_that_fails() -> None:
    # Right in the top 60%, wrong below: the walk must end soon after the errors begin.
    confidence = np.linspace(1, 0.5, 300)[:, None]
    correct = (np.arange(300) < 180).astype(np.float64)[:, None]
    certificate = certify_cascade(
        confidence, correct, target_risk=0.1, pool=confidence, rng=np.random.default_rng(0)
    )
    assert certificate.is_certified
    assert 180 <= certificate.answered < 200


def test_a_good_region_below_a_bad_one_is_not_reached() -> None:
    confidence = np.linspace(1, 0.5, 300)[:, None]
    correct = np.ones((300, 1))
    correct[155:200] = 0
    certificate = certify_cascade(
        confidence, correct, target_risk=0.16, pool=confidence, rng=np.random.default_rng(0)
    )
    assert 150 <= certificate.answered < 180


def test_nothing_certified_means_nobody_answers() -> None:
    sample = random_labels().draw(500, np.random.default_rng(0))
    certificate = certify_cascade(*sample, target_risk=0.2, rng=np.random.default_rng(0))
    assert not certificate.is_certified
    assert np.isposinf(certificate.thresholds).all()
    assert (certificate.coverage, certificate.answered, certificate.agreement) == (0.0, 0, None)
    assert (certificate.risk_upper_bound, certificate.cost_per_pair) == (1.0, 0.0)
    assert "abstains" in certificate.claim
    assert certificate.path is None


@pytest.mark.parametrize("n", [0, 1, 5, 20])
def test_too_few_pairs_certify_nothing(n: int) -> None:
    confidence, correct = np.full((n, 2), 0.9), np.ones((n, 2))
    certificate = certify_cascade(
        confidence, correct, target_risk=0.1, rng=np.random.default_rng(0)
    )
    assert not certificate.is_certified


@pytest.mark.parametrize(("n", "set_aside"), [(20, 10), (100, 15), (400, 40), (2000, 100)])
def test_without_a_pool_some_pairs_give_only_their_confidences(n: int, set_aside: int) -> None:
    certificate = certified(n, pool=None, method="diagonal")
    assert (certificate.set_aside, certificate.n) == (set_aside, n - set_aside)


def test_published_code_is_marked_as_no_promise() -> None:
    sample = overconfident_top(0.1).draw(500, np.random.default_rng(0))
    certificate = certify_cascade(
        *sample, target_risk=0.1, method="published_code", rng=np.random.default_rng(0)
    )
    assert not certificate.is_valid
    assert not certificate.is_certified
    assert np.isfinite(certificate.thresholds).all()
    assert certificate.claim.startswith("No promise")


def test_published_code_inherits_a_threshold_with_too_few_pairs_left() -> None:
    confidence = np.column_stack([np.linspace(0.6, 1, 100), np.full(100, 0.7)])
    certificate = certify_cascade(
        confidence,
        np.ones((100, 2)),
        target_risk=0.2,
        method="published_code",
        rng=np.random.default_rng(0),
    )
    assert certificate.thresholds[1] == certificate.thresholds[0]


def test_a_weak_cheap_judge_is_carried_or_left_out() -> None:
    sample = wrong_on_the_remainder(0.1).draw(1000, np.random.default_rng(0))
    certificate = certify_cascade(
        *sample, target_risk=0.15, costs=COSTS, rng=np.random.default_rng(0)
    )
    assert certificate.is_certified
    assert certificate.coverage < 0.75


def test_equal_coverage_goes_to_the_cheaper_path() -> None:
    confidence = np.repeat(np.linspace(1, 0.5, 300)[:, None], 2, axis=1)
    options: dict[str, Any] = {"target_risk": 0.2, "pool": confidence}
    certificate = certify_cascade(
        confidence, np.ones((300, 2)), costs=[1, 100], rng=np.random.default_rng(0), **options
    )
    assert certificate.path == "diagonal"
    assert certificate.relative_cost == pytest.approx(0.01)


def test_failures_count_as_unanswered() -> None:
    confidence, correct = friendly(400)
    confidence[:100] = NAN
    correct[:100] = NAN
    certificate = certify_cascade(
        confidence, correct, target_risk=0.2, pool=confidence, rng=np.random.default_rng(0)
    )
    assert certificate.n == 400
    assert certificate.coverage <= 0.75


def test_a_strongest_judge_that_always_fails_leaves_the_others_certifiable() -> None:
    confidence, correct = friendly(400)
    confidence[:, 2] = NAN
    certificate = certify_cascade(
        confidence, correct, target_risk=0.2, rng=np.random.default_rng(0)
    )
    assert certificate.is_certified


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_order_of_rows_changes_nothing_with_a_given_pool(seed: int) -> None:
    confidence, correct = friendly(200, seed)
    order = np.random.default_rng(seed).permutation(200)
    options: dict[str, Any] = {"target_risk": 0.2, "pool": friendly(100, seed + 1)[0]}
    rngs = np.random.default_rng(1), np.random.default_rng(2)
    same(
        certify_cascade(confidence, correct, rng=rngs[0], **options),
        certify_cascade(confidence[order], correct[order], rng=rngs[1], **options),
    )


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 2))
def test_a_judge_that_always_fails_changes_nothing(seed: int, place: int) -> None:
    confidence, correct = friendly(200, seed)
    pool = friendly(100, seed + 1)[0]
    more = [np.insert(array, place, NAN, axis=1) for array in (confidence, correct, pool)]
    # What a failing judge costs may change which of two equal paths is the cheaper one.
    costs = np.ones(3), np.insert(np.ones(3), place, 0.0)
    rng = np.random.default_rng(0)
    here = certify_cascade(confidence, correct, target_risk=0.2, pool=pool, costs=costs[0], rng=rng)
    there = certify_cascade(
        more[0], more[1], target_risk=0.2, pool=more[2], costs=costs[1], rng=rng
    )
    np.testing.assert_array_equal(np.delete(there.thresholds, place), here.thresholds)
    assert (here.answered, here.disagreements) == (there.answered, there.disagreements)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000))
def test_the_same_seed_gives_the_same_certificate(seed: int) -> None:
    same(certified(700, seed, pool=None), certified(700, seed, pool=None))


def test_agreement_given_as_truth_values_is_the_same_as_numbers() -> None:
    confidence, correct = friendly(300)
    options: dict[str, Any] = {"target_risk": 0.2, "pool": confidence}
    same(
        certify_cascade(confidence, correct, rng=np.random.default_rng(0), **options),
        certify_cascade(confidence, correct == 1, rng=np.random.default_rng(0), **options),
    )


def test_one_pair_a_group_is_drawn_and_the_rest_counted() -> None:
    certificate = certified(600, groups=np.repeat(np.arange(200), 3))
    assert (certificate.n, certificate.groups, certificate.dropped) == (200, 200, 400)
    assert "randomly drawn group" in certificate.claim


def test_groups_may_have_any_names() -> None:
    names = np.repeat([f"prompt {i}" for i in range(200)], 3)
    same(
        certified(600, groups=names),
        certified(600, groups=np.unique(names, return_inverse=True)[1]),
    )


def test_a_declared_group_size_keeps_all_pairs_and_bets_over_groups() -> None:
    certificate = certified(900, groups=np.repeat(np.arange(300), 3), max_group_size=3)
    assert (certificate.n, certificate.groups, certificate.dropped) == (900, 300, 0)
    assert certificate.is_certified
    assert certificate.risk_upper_bound == 0.2


def test_mostly_single_groups_are_reduced_although_a_size_is_declared() -> None:
    groups = np.arange(400)
    groups[1] = 0
    assert certified(400, groups=groups, max_group_size=2).dropped == 1


def test_groups_are_set_aside_whole() -> None:
    certificate = certified(900, groups=np.repeat(np.arange(300), 3), max_group_size=3, pool=None)
    assert (certificate.set_aside, certificate.groups) == (90, 270)


def test_soft_labels_are_certified_by_betting() -> None:
    confidence, _ = friendly(500)
    correct = np.tile(np.array([[1.0], [1.0], [1.0], [2 / 3]]), (125, 3))
    certificate = certify_cascade(
        confidence, correct, target_risk=0.25, pool=confidence, rng=np.random.default_rng(0)
    )
    assert certificate.is_certified
    assert certificate.risk_upper_bound == 0.25
    assert certificate.disagreements == pytest.approx(certificate.answered / 12, rel=0.2)


def test_weights_count_in_coverage_and_agreement() -> None:
    confidence, _ = friendly(800)
    weights = np.where(np.arange(800) < 400, 1.0, 4.0)
    certificate = certified(800, weights=weights, min_label_probability=0.25)
    judge = decide(confidence, certificate.thresholds)
    assert certificate.is_certified
    if certificate.path not in ("learned", "pareto"):
        assert certificate.coverage == pytest.approx(weights[judge >= 0].sum() / weights.sum())
    assert "label" in certificate.claim


def test_weights_without_a_declared_bound_are_refused() -> None:
    with pytest.raises(UndeclaredBound, match="min_label_probability"):
        certified(100, weights=np.linspace(1, 2, 100))


def test_weights_on_groups_need_a_declared_size() -> None:
    options: dict[str, Any] = {
        "weights": np.linspace(1, 2, 100),
        "min_label_probability": 0.5,
        "groups": np.arange(100) // 2,
    }
    with pytest.raises(UndeclaredBound, match="max_group_size"):
        certified(100, **options)
    assert certified(100, max_group_size=2, **options).n == 100


def test_equal_weights_are_an_ordinary_sample() -> None:
    same(certified(300, weights=np.full(300, 2.0)), certified(300))


def test_a_menu_shares_the_failure_probability() -> None:
    certificate = certified(400, menu=[0.25, 0.3])
    assert [c.target_risk for c in certificate.certificates] == [0.25, 0.3]
    assert certificate.failure_probability == pytest.approx(0.1 / 3)
    alone = certified(400, failure_probability=0.1 / 3)
    np.testing.assert_array_equal(certificate.thresholds, alone.thresholds)
    coverage = [certificate.coverage, *(c.coverage for c in certificate.certificates)]
    assert coverage == sorted(coverage)


def test_slices_get_thresholds_of_their_own() -> None:
    confidence, correct = friendly(900)
    slices = np.repeat(["code", "prose", "wrong"], 300)
    correct[600:] = 0
    certificate = certify_cascade(
        confidence, correct, target_risk=0.2, slices=slices, rng=np.random.default_rng(0)
    )
    assert [c.slice for c in certificate.certificates] == ["code", "prose", "wrong"]
    assert [c.is_certified for c in certificate.certificates] == [True, True, False]
    assert certificate.is_certified
    assert certificate.claim.startswith("2 of 3 slices")
    assert np.isposinf(certificate.thresholds).all()
    first = certificate.certificates[0]
    assert first.failure_probability == pytest.approx(0.1 / 3)
    judge = decide_in_slices(certificate, confidence, slices)
    np.testing.assert_array_equal(judge[:300], decide(confidence[:300], first.thresholds))
    assert (judge[600:] == -1).all()
    assert (decide_in_slices(certificate, confidence, np.full(900, "new")) == -1).all()


def test_slices_with_a_menu_give_every_target_in_every_slice() -> None:
    certificate = certified(600, slices=np.repeat([1, 2], 300), menu=[0.3])
    found = [(c.slice, c.target_risk) for c in certificate.certificates]
    assert found == [("1", 0.2), ("1", 0.3), ("2", 0.2), ("2", 0.3)]
    assert certificate.certificates[0].failure_probability == pytest.approx(0.1 / 4)


def test_deciding_in_slices_needs_slices() -> None:
    confidence, _ = friendly(10)
    with pytest.raises(InvalidArgument, match="without slices"):
        decide_in_slices(certified(), confidence, np.zeros(10))
    sliced = certified(600, slices=np.repeat([1, 2], 300))
    with pytest.raises(InvalidArgument, match="slices"):
        decide_in_slices(sliced, confidence, np.zeros(9))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"method": "grid"}, "grid.*auto, diagonal"),
        ({"method": "stagewise", "randomized": True}, "stagewise.*randomized.*auto"),
        ({"method": "sequential", "randomized": True}, "randomized"),
    ],
)
def test_what_is_not_offered_is_refused_by_name(options: dict[str, Any], match: str) -> None:
    with pytest.raises(UnavailableMethod, match=match):
        certified(**options)


@pytest.mark.parametrize("method", ["stagewise", "simultaneous", "average", "published_code"])
def test_methods_of_counts_refuse_soft_labels(method: Any) -> None:
    confidence, correct = friendly(100)
    with pytest.raises(UnavailableMethod, match=method):
        certify_cascade(
            confidence, correct / 2, target_risk=0.2, method=method, rng=np.random.default_rng(0)
        )


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"target_risk": 0.0}, "target_risk"),
        ({"target_risk": NAN}, "target_risk"),
        ({"menu": [1.2]}, "target_risk"),
        ({"failure_probability": 1.0}, "failure_probability"),
        ({"costs": [1, 2]}, "costs"),
        ({"costs": [1, 2, -3]}, "costs"),
        ({"groups": np.arange(3)}, "groups"),
        ({"groups": np.zeros(400), "max_group_size": 5}, "max_group_size"),
        ({"max_group_size": 0}, "max_group_size"),
        ({"weights": np.arange(3)}, "weights"),
        ({"weights": np.linspace(0.5, 1, 400)}, "weights"),
        ({"weights": np.linspace(1, 3, 400), "min_label_probability": 0.5}, "weight"),
        ({"min_label_probability": 0.0}, "min_label_probability"),
        ({"pool": np.zeros((5, 2))}, "pool"),
        ({"pool": np.zeros(5)}, "pool"),
        ({"slices": np.arange(3)}, "slices"),
    ],
)
def test_bad_arguments_are_named(options: dict[str, Any], match: str) -> None:
    with pytest.raises(InvalidArgument, match=match):
        certified(**options)


@pytest.mark.parametrize(
    ("confidence", "correct", "match"),
    [
        ([0.5], [1.0], "confidence must have shape"),
        ([[0.5]], [1.0], "correct must have shape"),
        ([[0.5]], [[NAN]], "correct is nan"),
        ([[0.5]], [[2.0]], "correct must lie"),
        ([[1.5]], [[1.0]], "confidence must lie"),
        ([[]], [[]], "confidence must have shape"),
    ],
)
def test_bad_data_are_named(confidence: Any, correct: Any, match: str) -> None:
    with pytest.raises(CalibrationError, match=match):
        certify_cascade(confidence, correct, target_risk=0.1, rng=np.random.default_rng(0))


def test_no_rows_have_no_slices() -> None:
    with pytest.raises(InvalidArgument, match="slices"):
        certify_cascade(
            np.zeros((0, 1)),
            np.zeros((0, 1)),
            target_risk=0.1,
            slices=np.zeros(0),
            rng=np.random.default_rng(0),
        )


def test_thresholds_cannot_be_changed_afterwards() -> None:
    with pytest.raises(ValueError, match="read-only"):
        certified().thresholds[0] = 0.0


@pytest.mark.parametrize(
    "method", [one for one in METHODS if one not in ("learned_stack", "weighted")]
)
def test_large_samples_take_every_method(method: Any) -> None:
    sample = just_above(0.1).draw(6000, np.random.default_rng(0))
    certificate = certify_cascade(
        *sample, target_risk=0.35, method=method, rng=np.random.default_rng(0)
    )
    assert certificate.is_certified is (method != "published_code")


def test_a_single_judge_needs_one_path_only() -> None:
    confidence, correct = friendly(800, k=1)
    options: dict[str, Any] = {"target_risk": 0.25, "pool": confidence}
    auto = certify_cascade(confidence, correct, rng=np.random.default_rng(0), **options)
    alone = certify_cascade(
        confidence, correct, method="diagonal", rng=np.random.default_rng(0), **options
    )
    np.testing.assert_array_equal(auto.thresholds, alone.thresholds)


@pytest.mark.parametrize("n", [1, 30])
def test_a_learned_path_needs_labels_to_learn_from(n: int) -> None:
    assert not certified(n, method="learned", target_risk=0.02).is_certified


def test_stagewise_takes_one_pair_a_group_whatever_size_is_declared() -> None:
    groups = np.repeat(np.arange(300), 3)
    certificate = certified(900, groups=groups, max_group_size=3, method="stagewise")
    assert (certificate.n, certificate.dropped) == (300, 600)


def test_slices_are_decided_at_the_first_target_of_a_menu() -> None:
    slices = np.repeat([1, 2], 300)
    confidence, _ = friendly(600)
    certificate = certified(600, slices=slices, menu=[0.3])
    judge = decide_in_slices(certificate, confidence, slices)
    first = certificate.certificates[0]
    np.testing.assert_array_equal(judge[:300], decide(confidence[:300], first.thresholds))


def test_clearly_more_coverage_is_worth_its_cost() -> None:
    # Below its top 60% the cheap judge is wrong; the dear one is right everywhere, though unsure.
    confidence = np.column_stack([np.linspace(1, 0.6, 300), np.linspace(0.52, 0.5, 300)])
    correct = np.column_stack([np.arange(300) < 180, np.ones(300)])
    certificate = certify_cascade(
        confidence,
        correct,
        target_risk=0.1,
        costs=[1, 100],
        pool=confidence,
        rng=np.random.default_rng(0),
    )
    assert certificate.path == "strongest"
    assert certificate.coverage == 1.0


def test_rare_arguments_may_come_together() -> None:
    rare: Any = {"menu": [0.3], "randomized": True, "max_group_size": 1}
    together = certified(options=CertifyOptions(**rare))
    same(together, certified(**rare))
    assert together.uniform is not None
    assert [each.target_risk for each in together.certificates] == [0.3]


def test_a_keyword_wins_over_the_options() -> None:
    made = certified(options=CertifyOptions(menu=[0.3], randomized=True), menu=[0.4])
    assert [each.target_risk for each in made.certificates] == [0.4]
    assert made.uniform is not None


def test_an_unknown_keyword_is_refused() -> None:
    with pytest.raises(TypeError, match="max_group"):
        certified(max_group=1)
