from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from calibration.cascade import decide
from calibration.errors import InvalidArgument, UnavailableMethod
from calibration.plan import DEFAULT_RULES, Design, Experiment, RuleFigures, compare_rules
from calibration.plan.rules import Labels, rule_of
from calibration.sample import checked_sample
from tests.calibration.simulation import allowed_share
from tests.calibration.worlds.populations import COSTS, World, draw_clusters, random_world

SPLITS = 300


def a_world() -> World:
    """Judges who are overconfident, as most are."""
    return random_world(np.random.default_rng(4))


def experiment(seed: int = 0, **options: Any) -> Experiment:
    rng = np.random.default_rng(seed)
    sample = a_world().draw(1500, rng)
    given: dict[str, Any] = {
        "target_risks": [0.15],
        "design": Design(20, calibration_pairs=300),
        **options,
    }
    return compare_rules(*sample, rng=rng, **given)


def by_rule(found: Experiment) -> dict[str, RuleFigures]:
    return {figures.rule: figures for figures in found.figures}


def test_a_certificate_keeps_its_promise_and_a_point_estimate_does_not() -> None:
    rng = np.random.default_rng(0)
    sample = a_world().draw(10_000, rng)  # so many that a held-out agreement is nearly the truth
    design = Design(SPLITS, calibration_pairs=500)
    rules = ("point_estimate", "auto", "no_selection", "cascaded_heuristic")
    found = by_rule(
        compare_rules(*sample, target_risks=[0.15], rng=rng, design=design, rules=rules)
    )
    allowed = allowed_share(0.1, SPLITS)
    for kind in ("success_rate", "population_success_rate"):
        assert 1 - getattr(found["auto"], kind).value <= allowed
        assert getattr(found["point_estimate"], kind).high < 0.6
        assert getattr(found["cascaded_heuristic"], kind).value == 0
    assert found["no_selection"].coverage.value == 1
    assert 0.5 < (found["auto"].coverage.value or 0) < (found["point_estimate"].coverage.value or 0)


def test_the_same_seed_gives_the_same_table_and_another_one_does_not() -> None:
    assert experiment(3) == experiment(3)
    assert experiment(3) != experiment(4)


def test_a_rule_meets_the_same_splits_whatever_rules_stand_beside_it() -> None:
    alone = by_rule(experiment(rules=["auto"]))["auto"]
    assert by_rule(experiment())["auto"] == alone
    wide = experiment(target_risks=[0.3, 0.15], rules=["auto"]).figures
    assert [figures.target_risk for figures in wide] == [0.3, 0.15]
    assert wide[1] == alone


def test_every_rule_has_a_row_whose_parts_add_up() -> None:
    found = experiment(costs=COSTS)
    assert [figures.rule for figures in found.figures] == list(DEFAULT_RULES)
    assert found.calibration_pairs == 300
    assert found.test_pairs == 1200
    for row in found.figures:
        shares = [share.value or 0.0 for share in row.composition]
        assert sum(shares) == pytest.approx(row.coverage.value)
        assert row.relative_cost is not None
    alone = by_rule(found)
    assert alone["no_selection"].relative_cost == alone["heuristic"].relative_cost
    assert all(row.relative_cost is None for row in experiment().figures)


def test_groups_stay_whole() -> None:
    (confidence, correct), group = draw_clusters(0.2, 60, 5, np.random.default_rng(0))
    design = Design(20, calibration_share=0.5)
    found = compare_rules(
        confidence, correct, target_risks=[0.3], rng=np.random.default_rng(0), design=design,
        groups=group, rules=["no_selection"],
    )  # fmt: skip
    assert found.calibration_pairs == 150
    assert found.test_pairs == 150
    # outcomes agree within a group: were groups split, half of the spread would be gone
    agreement = found.figures[0].agreement
    assert (agreement.high or 0) - (agreement.low or 0) > 0.02


def test_a_rule_that_these_labels_do_not_allow_says_why_and_spoils_nothing() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.5, 1, (200, 2))
    correct = rng.choice([0.0, 1 / 3, 1.0], (200, 2))
    found = by_rule(
        compare_rules(
            confidence, correct, target_risks=[0.3], rng=rng, design=Design(5),
            rules=["published_code", "auto"],
        )
    )  # fmt: skip
    assert "needs agreement of 0 or 1" in (found["published_code"].unavailable or "")
    assert found["published_code"].coverage.value is None
    assert found["auto"].unavailable is None
    assert found["auto"].coverage.n == 5


def test_silence_breaks_no_promise_and_is_counted() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.5, 1, (300, 2))
    correct = (rng.uniform(size=(300, 1)) < 0.5).astype(float).repeat(2, axis=1)
    found = by_rule(
        compare_rules(confidence, correct, target_risks=[0.1], rng=rng, design=Design(10))
    )
    assert found["auto"].silent_rate.value == found["auto"].success_rate.value == 1
    assert found["auto"].agreement.value is None
    assert found["no_selection"].success_rate.value == 0


def test_judges_that_fail_answer_nothing() -> None:
    rng = np.random.default_rng(0)
    confidence, correct = a_world().draw(600, rng)
    confidence = confidence.copy()
    confidence[::2, 2] = np.nan
    found = by_rule(
        compare_rules(confidence, correct, target_risks=[0.15], rng=rng, design=Design(10))
    )
    assert found["no_selection"].coverage.value == pytest.approx(0.5, abs=0.02)


def test_a_point_estimate_takes_the_lowest_threshold_that_meets_the_target() -> None:
    rng = np.random.default_rng(1)
    confidence, correct = a_world().draw(200, rng)
    confidence = np.round(confidence, 2)  # ties
    sample = checked_sample(confidence[:, :1], correct[:, :1])
    labels = Labels(sample, None, 0.2, {})
    (threshold,) = rule_of("point_estimate")(labels, rng)

    def risk(at: float) -> float:
        answered = decide(confidence[:, :1], [at]) == 0
        return float(1 - correct[answered, 0].mean())

    assert risk(threshold) <= 0.2
    lower = [at for at in np.unique(confidence[:, 0]).tolist() if at < threshold]
    assert lower
    assert all(risk(at) > 0.2 for at in lower)
    hopeless = replace(labels, target_risk=1e-9, sample=replace(sample, loss=sample.loss * 0 + 1))
    assert rule_of("point_estimate")(hopeless, rng) == [np.inf]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"design": Design(0)}, "n_splits"),
        ({"design": Design(calibration_share=1.0)}, "calibration_share"),
        ({"design": Design(calibration_pairs=1500)}, "calibration_pairs"),
        ({"target_risks": []}, "target_risks"),
        ({"target_risks": [1.0]}, "target_risks"),
        ({"costs": [1.0]}, "costs"),
        ({"groups": np.zeros(1500)}, "two groups"),
    ],
)
def test_what_is_wrong_is_named(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidArgument, match=said):
        experiment(**options)


def test_an_unknown_rule_is_refused_with_those_there_are() -> None:
    with pytest.raises(UnavailableMethod, match="point_estimate"):
        experiment(rules=["guess"])
