from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from calibration.errors import InvalidArgument
from calibration.intervals import ClusterBootstrap, bootstrap
from calibration.reliability import (
    area_under_risk_coverage,
    estimate_area_under_risk_coverage,
    estimate_excess_area,
    estimate_generalised_area,
    excess_area_under_risk_coverage,
    generalised_area_under_risk_coverage,
)

NAN = float("nan")
ESTIMATES: list[Any] = [
    (estimate_area_under_risk_coverage, area_under_risk_coverage),
    (estimate_excess_area, excess_area_under_risk_coverage),
    (estimate_generalised_area, generalised_area_under_risk_coverage),
]
every_estimate = pytest.mark.parametrize(
    ("estimate", "measure"), ESTIMATES, ids=lambda function: function.__name__
)


def verdicts(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    confidence = np.round(rng.uniform(0.5, 1, n), 2)
    return confidence, rng.random(n) < confidence


def over(groups: Any, **options: Any) -> ClusterBootstrap:
    return ClusterBootstrap.over(groups, np.random.default_rng(1), **options)


@every_estimate
def test_value_is_that_of_the_sample_and_lies_inside(estimate: Any, measure: Any) -> None:
    confidence, correct = verdicts(200)
    found = estimate(confidence, correct, over(np.arange(200)))
    assert found.value == pytest.approx(measure(confidence, correct))
    assert found.n == 200
    assert 0 < found.low < found.value < found.high < 1


@every_estimate
def test_resamples_are_the_areas_of_the_drawn_rows(
    estimate: Any, measure: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    confidence, correct = verdicts(60)
    groups = np.arange(60) // 3
    boot = over(groups, n_resamples=40)
    areas = []
    for drawn in np.concatenate(list(boot.multiplicities(1))):
        rows = np.repeat(np.arange(60), drawn[groups])
        areas.append(measure(confidence[rows], correct[rows]))
    straight = estimate(confidence, correct, boot)
    scale = 2 if estimate is estimate_generalised_area else 1
    value = straight.value * scale
    half = np.log(straight.high * scale / (1 - straight.high * scale)) - np.log(value / (1 - value))
    spread = np.std(areas) * np.sqrt(20 / 19) * scale / (value * (1 - value))
    degrees = min(len(np.unique(groups[kind])) for kind in (correct, ~correct)) - 1
    assert half == pytest.approx(stats.t.isf(0.025, degrees) * spread)
    monkeypatch.setattr(bootstrap, "_BLOCK_CELLS", 500)
    assert estimate(confidence, correct, boot).low == pytest.approx(straight.low)


@every_estimate
def test_order_of_rows_and_a_monotone_map_change_nothing(estimate: Any, measure: Any) -> None:
    confidence, correct = verdicts(80)
    groups, order = np.arange(80) // 2, np.random.default_rng(3).permutation(80)
    straight = estimate(confidence, correct, over(groups))
    shuffled = estimate(confidence[order] ** 2, correct[order], over(groups[order]))
    assert shuffled.low == pytest.approx(straight.low)
    assert shuffled.high == pytest.approx(straight.high)
    assert measure(confidence, correct) == pytest.approx(shuffled.value)


@every_estimate
def test_pairs_of_one_prompt_are_not_independent(estimate: Any, measure: Any) -> None:
    confidence, correct = (np.repeat(column, 5) for column in verdicts(60))
    rows = estimate(confidence, correct, over(np.arange(300)))
    prompts = estimate(confidence, correct, over(np.arange(300) // 5))
    assert prompts.high - prompts.low > 1.5 * (rows.high - rows.low)
    assert rows.value == measure(confidence, correct)


@every_estimate
def test_failures_and_their_groups_do_not_count(estimate: Any, measure: Any) -> None:
    confidence, correct = verdicts(100)
    holes = np.where(np.arange(100) < 30, NAN, confidence)
    boot = over(np.arange(100))
    found = estimate(holes, correct, boot)
    assert found == estimate(confidence[30:], correct[30:], boot.take(np.arange(30, 100)))
    assert found.value == pytest.approx(measure(confidence[30:], correct[30:]))


@pytest.mark.parametrize(
    ("estimate", "worst"),
    [
        (estimate_area_under_risk_coverage, lambda r: r - r * np.log(r)),
        (estimate_excess_area, lambda r: -r * np.log(r) - (1 - r) * np.log(1 - r)),
        (estimate_generalised_area, lambda r: r - r**2 / 2),
    ],
)
def test_without_an_error_the_limit_is_what_the_bound_on_risk_leaves(
    estimate: Any, worst: Any
) -> None:
    confidence, _ = verdicts(60)
    found = estimate(confidence, np.ones(60), over(np.arange(60) // 2))
    assert (found.value, found.low) == (0, 0)
    assert found.high == pytest.approx(worst(1 - 0.025 ** (1 / 30)))


def test_worst_order_of_errors_reaches_the_limits() -> None:
    # A tenth of the pairs, all at the top, is wrong.
    wrong, n = 0.1, 100_000
    correct = np.arange(n) >= wrong * n
    area = area_under_risk_coverage(-np.arange(n), correct)
    excess = excess_area_under_risk_coverage(-np.arange(n), correct)
    generalised = generalised_area_under_risk_coverage(-np.arange(n), correct)
    assert area == pytest.approx(wrong - wrong * np.log(wrong), abs=1e-4)
    entropy = -wrong * np.log(wrong) - (1 - wrong) * np.log(1 - wrong)
    assert excess == pytest.approx(entropy, abs=1e-4)
    assert generalised == pytest.approx(wrong - wrong**2 / 2, abs=1e-4)


@every_estimate
def test_no_interval_without_groups_or_bootstrap(estimate: Any, measure: Any) -> None:
    confidence, correct = verdicts(20)
    assert estimate(confidence, correct).low is None
    alone = estimate(confidence, correct, over(["one"] * 20))
    assert (alone.value, alone.low, alone.high) == (measure(confidence, correct), None, None)
    nothing = estimate([NAN], [NAN], over([1]))
    assert (nothing.value, nothing.low, nothing.n) == (None, None, 0)


def test_no_interval_where_resamples_show_no_spread() -> None:
    confidence = np.linspace(0.5, 1, 30)
    assert estimate_excess_area(confidence, confidence > 0.7, over(np.arange(30))).low is None
    wrong = estimate_area_under_risk_coverage(confidence, np.zeros(30), over(np.arange(30)))
    assert (wrong.value, wrong.low) == (1, None)
    graded = estimate_generalised_area(confidence, np.full(30, 0.3), over(np.arange(30)))
    assert graded.value == pytest.approx(0.35)
    assert graded.low is None


@every_estimate
def test_resamples_of_other_rows_are_refused(estimate: Any, measure: Any) -> None:
    confidence, correct = verdicts(20)
    assert measure(confidence, correct) is not None
    with pytest.raises(InvalidArgument, match="bootstrap"):
        estimate(confidence, correct, over(np.arange(30)))


def test_empty_resamples_give_no_interval() -> None:
    kept = np.array([[0, 0, 3], [1, 2, 0]], dtype=np.uint8)
    boot = ClusterBootstrap(np.array([0, 1]), 3, 0, n_resamples=2, kept=kept)
    found = estimate_area_under_risk_coverage([0.7, 0.8], [1, 0], boot)
    assert found.value == pytest.approx(0.75)
    assert found.low is None
