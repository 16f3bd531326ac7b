"""`certify_preferences`: stacked evidence, the raw portfolio, learned stacks, shifts, decisions."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
import pytest

from calibration import certify_cascade, certify_preferences, decide_in_slices, preference
from calibration.arrays import FloatArray, IntArray
from calibration.binomial import upper_bound
from calibration.certify import Certificate, Method
from calibration.certify.prepare import shift_between
from calibration.errors import InvalidArgument, UnavailableMethod
from calibration.labels import A

COSTS = (1.0, 5.0, 100.0)


def judged(
    n: int, seed: int = 0, right: tuple[float, ...] = (0.7, 0.75, 0.85)
) -> tuple[FloatArray, IntArray]:
    """Judges that err independently, and know how often they are right."""
    rng = np.random.default_rng(seed)
    people = rng.integers(0, 2, n)
    sure = np.clip(np.array(right) + rng.uniform(-0.14, 0.14, (n, len(right))), 0.5, 0.999)
    is_right = rng.uniform(size=sure.shape) < sure
    return np.where(is_right == (people == 1)[:, None], sure, 1 - sure), people


def certified(n: int = 400, **given: Any) -> Certificate:
    p_a, people = judged(n)
    return certify_preferences(p_a, people, **{"target_risk": 0.15, "rng": 0, **given})


def same(one: Certificate, other: Certificate, left_out: tuple[str, ...]) -> bool:
    """Equal in all fields but some."""
    names = [field.name for field in fields(one) if field.name not in left_out]
    return all(str(getattr(one, name)) == str(getattr(other, name)) for name in names)


@pytest.mark.parametrize("method", ["auto_raw", "diagonal", "strongest", "stagewise", "sequential"])
@pytest.mark.parametrize("n", [250, 700])
def test_raw_methods_are_those_of_certify_cascade(method: Method, n: int) -> None:
    p_a, people = judged(n)
    said = preference(p_a)
    correct = np.where(said.label == A, people[:, None], 1 - people[:, None])
    given: dict[str, Any] = {"target_risk": 0.15, "costs": COSTS, "rng": 3}
    raw = certify_cascade(said.confidence, correct, method=method, **given)
    assert same(certify_preferences(p_a, people, method=method, **given), raw, ())
    if method == "auto_raw":
        usual = certify_cascade(said.confidence, correct, **given)
        assert same(raw, usual, ("method", "paths"))


def test_judges_that_err_independently_answer_more_together() -> None:
    together, alone = certified(), certified(method="auto_raw")
    assert (together.columns, together.clip) == ("stacked", 1e-4)
    assert together.coverage > alone.coverage + 0.1


def test_one_judge_is_heard_alone() -> None:
    p_a, people = judged(300, right=(0.85,))
    found = certify_preferences(p_a, people, target_risk=0.2, rng=0)
    assert (found.columns, found.clip, found.is_certified) == ("raw", None, True)


def test_the_cost_counts_judges_whose_own_tier_is_closed() -> None:
    """A tier of a stack needs every judge before it, also those that may never answer."""
    found = certified(costs=COSTS, method="auto")
    assert found.columns == "stacked"
    decided = found.decide(judged(400)[0])
    assert decided.asked[decided.answered_by == 2].all()
    assert decided.asked[decided.answered_by == -1].all()
    p_a, _ = judged(5_000, seed=9)
    spent = found.decide(p_a).asked @ np.array(COSTS)
    assert found.cost_per_pair == pytest.approx(spent.mean(), rel=0.1)


def test_decisions_are_those_that_were_counted() -> None:
    p_a, people = judged(400)
    pool, _ = judged(300, seed=5)
    found = certify_preferences(p_a, people, target_risk=0.15, pool=pool, rng=0)
    said = found.decide(p_a)
    is_answered = said.answered_by >= 0
    assert found.answered == is_answered.sum()
    assert found.disagreements == (said.label[is_answered] != people[is_answered]).sum()
    assert np.isnan(said.confidence[~is_answered]).all()
    assert set(said.label[~is_answered].tolist()) <= {-1}


def test_answers_of_judges_that_need_not_be_asked_are_not_read() -> None:
    p_a, _ = judged(300, seed=7)
    found = certified()
    said = found.decide(p_a)
    unasked = np.where(said.asked, p_a, np.nan)
    again = found.decide(unasked)
    assert np.array_equal(again.label, said.label)
    assert np.array_equal(again.answered_by, said.answered_by)


@pytest.mark.parametrize("ties", ["exclude", "error", "half"])
def test_ties_of_people(ties: Any) -> None:
    p_a, people = judged(600)
    label = people.astype(float)
    label[::10] = 0.5
    pool, _ = judged(300, seed=5)
    found = certify_preferences(p_a, label, target_risk=0.3, ties=ties, pool=pool, rng=0)
    assert found.is_certified
    assert found.n == (540 if ties == "exclude" else 600)
    decided = found.decide(p_a)
    is_answered, is_tied = decided.answered_by >= 0, label == 0.5
    wrong = (is_answered & ~is_tied & (decided.label != label)).sum()
    lost = {"exclude": 0.0, "error": 1.0, "half": 0.5}[ties]
    assert found.disagreements == wrong + lost * (is_answered & is_tied).sum()


def test_a_learned_stack_turns_contrary_judges_round() -> None:
    rng = np.random.default_rng(4)
    people = rng.integers(0, 2, 600)
    is_right = rng.uniform(size=(600, 3)) < [0.25, 0.3, 0.7]
    p_a = np.where(is_right == (people == 1)[:, None], 0.9, 0.1)
    given: dict[str, Any] = {"target_risk": 0.25, "rng": 0}
    learned = certify_preferences(p_a, people, method="learned_stack", **given)
    usual = certify_preferences(p_a, people, **given)
    assert learned.is_certified
    assert learned.coverage > usual.coverage + 0.2
    assert (learned.columns, learned.learning) == ("learned", 150)
    assert learned.weights is not None
    assert learned.weights[0].sum() < 0
    assert learned.n + learned.set_aside + learned.learning == 600
    assert learned.decide(p_a).asked.all()


def test_groups_that_taught_a_stack_test_nothing() -> None:
    p_a, people = judged(600)
    groups = np.repeat(np.arange(200), 3)
    found = certify_preferences(
        p_a, people, target_risk=0.2, groups=groups, method="learned_stack", rng=0
    )
    assert found.learning == 150
    assert found.n + found.set_aside == 150


def test_slices_are_decided_by_their_own_thresholds_and_unknown_ones_abstain() -> None:
    p_a, people = judged(600)
    slices = np.where(np.arange(600) % 2, "maths", "poems")
    found = certify_preferences(p_a, people, target_risk=0.2, slices=slices, rng=0)
    with pytest.raises(InvalidArgument, match="slice"):
        found.decide(p_a)
    decided = found.decide(p_a, slices=np.where(slices == "maths", "law", slices))
    assert (decided.answered_by[slices == "maths"] == -1).all()
    assert not decided.asked[slices == "maths"].any()
    assert (decided.answered_by[slices == "poems"] >= 0).any()


@pytest.mark.parametrize("rule", ["joint", "each", "common"])
def test_a_certificate_of_slices_answers_no_pair_without_one(rule: Any) -> None:
    """Also where one vector of thresholds is common to all slices: an unknown slice abstains."""
    p_a, people = judged(600)
    slices = np.where(np.arange(600) % 2, "maths", "poems")
    found = certify_preferences(
        p_a, people, target_risk=0.25, slices=slices, slice_rule=rule, method="auto_raw", rng=0
    )
    assert found.is_certified
    assert (found.decide(p_a, slices=["law"] * 600).answered_by == -1).all()
    confidence = preference(p_a).confidence
    assert (decide_in_slices(found, confidence, ["law"] * 600) == -1).all()
    with pytest.raises(InvalidArgument, match="slice"):
        found.decide(p_a)


def test_without_slices_none_are_expected() -> None:
    with pytest.raises(InvalidArgument, match="without slices"):
        certified().decide(judged(3)[0], slices=["maths"] * 3)


def test_a_declared_shift_is_tested_at_the_smaller_risk() -> None:
    plain, careful = certified(1_000), certified(1_000, max_shift=1.5)
    alpha = 0.15 / (0.15 + 1.5**2 * 0.85)
    stricter = certified(1_000, target_risk=alpha)
    assert careful.target_risk == 0.15
    assert np.array_equal(careful.thresholds, stricter.thresholds)
    assert careful.coverage <= plain.coverage
    assert careful.shift_margin is not None
    assert careful.shift_margin >= 1.5
    assert "1.5 times" in careful.claim


@pytest.mark.parametrize("shift", [0.9, np.inf, np.nan])
def test_a_shift_below_one_is_refused(shift: float) -> None:
    with pytest.raises(InvalidArgument, match="max_shift"):
        certified(max_shift=shift)


def test_the_margin_grows_with_how_clearly_the_test_was_passed() -> None:
    margins = []
    for target in (0.16, 0.25, 0.4):
        p_a, people = judged(1_000, right=(0.85, 0.86))
        found = certify_preferences(p_a, people, target_risk=target, rng=0, method="strongest")
        assert found.shift_margin is not None
        margins.append(found.shift_margin)
    assert margins == sorted(margins)
    assert margins[-1] > margins[0] >= 1.0


def test_a_margin_at_the_end_of_a_path_is_that_of_its_exact_bound() -> None:
    """One judge that is equally sure of everything: one node, and the whole level left for it."""
    p_a, people = np.full((300, 1), 0.9), (np.arange(300) >= 18).astype(float)
    pool = np.full((50, 1), 0.9)
    found = certify_preferences(p_a, people, target_risk=0.15, pool=pool, rng=0)
    bound = float(upper_bound(18, 300, found.level))
    odds = 0.15 / 0.85 * (1 - bound) / bound
    assert found.shift_margin == pytest.approx(np.sqrt(odds))
    assert "shown by the same test" in found.claim


def test_a_margin_at_the_end_counts_all_that_the_end_may_be() -> None:
    """The last break point was not fixed beforehand: thresholds above it in the end count, too."""
    p_a = np.column_stack([np.linspace(0.99, 0.6, 400)])
    people = np.ones(400)
    people[340:360] = 0  # wrong at the beginning of the last tenth, right after it
    pool = np.linspace(0.99, 0.6, 400)[:, None]
    found = certify_preferences(p_a, people, target_risk=0.2, pool=pool, rng=0)
    assert found.answered == 400
    at_end = float(upper_bound(20, 400, found.level))
    before = float(upper_bound(20, 360, found.level))
    assert found.shift_margin is not None
    assert found.shift_margin == pytest.approx(shift_between(before, 0.2))
    assert found.shift_margin < shift_between(at_end, 0.2)


@pytest.mark.parametrize(
    "given",
    [
        {"ties": "half"},
        {"groups": np.arange(900) // 3, "max_group_size": 3},
        {"slices": np.arange(900) % 2, "slice_rule": "common"},
        {"method": "sequential"},
        {"randomized": True},
    ],
)
def test_every_test_shows_a_margin(given: dict[str, Any]) -> None:
    p_a, people = judged(900, right=(0.9,))
    label = people.astype(float)
    if "ties" in given:
        label[::50] = 0.5
    found = certify_preferences(p_a, label, target_risk=0.4, rng=0, **given)
    for part in found.certificates or (found,):
        assert part.shift_margin is not None
        assert part.shift_margin > 1.3


def test_nothing_certified_has_no_margin() -> None:
    found = certified(60, target_risk=0.01)
    assert not found.is_certified
    assert found.shift_margin is None


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"label": [1.0, 2.0]}, "label"),
        ({"label": [1.0]}, "label"),
        ({"ties": "class"}, "ties"),
        ({"groups": [1]}, "groups"),
        ({"pool": [[0.5]]}, "pool"),
        ({"p_a": [0.5, 0.6]}, "p_a"),
        ({"pooled_evidence": [[0.5, 1.0]] * 2}, "pooled_evidence"),
    ],
)
def test_bad_arguments_are_named(given: dict[str, Any], named: str) -> None:
    usual: dict[str, Any] = {"p_a": [[0.9, 0.8], [0.2, 0.4]], "label": [1, 0]}
    with pytest.raises(InvalidArgument, match=named):
        certify_preferences(**{**usual, "target_risk": 0.2, "rng": 0, **given})


def test_a_learned_stack_needs_preferences() -> None:
    with pytest.raises(UnavailableMethod, match="certify_preferences"):
        certify_cascade([[0.9]], [[1]], target_risk=0.2, method="learned_stack", rng=0)
