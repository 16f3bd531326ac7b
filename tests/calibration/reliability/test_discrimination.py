from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics

from calibration.estimate import Estimate
from calibration.intervals import Groups
from calibration.reliability import estimate_auprc, estimate_auroc
from tests.calibration.worlds.verdicts import World

every_area = pytest.mark.parametrize("estimate", [estimate_auroc, estimate_auprc])


def over(groups: Any) -> Groups:
    return Groups.of(groups)


def logit_error(found: Estimate, quantile: float) -> float:
    """Standard error that an interval on the logit scale was made from."""
    assert found.value is not None
    assert found.low is not None
    assert found.high is not None
    ends = np.log([found.low / (1 - found.low), found.high / (1 - found.high)])
    return float(np.diff(ends)[0] / 2 / quantile * found.value * (1 - found.value))


def verdicts(n: int, seed: int = 0, decimals: int = 2) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    confidence = np.round(rng.uniform(0.5, 1, n), decimals)
    return confidence, rng.random(n) < confidence


def test_auroc_of_independent_verdicts_has_delongs_variance() -> None:
    confidence, correct = verdicts(120)
    right, wrong = confidence[correct], confidence[~correct]
    kernel = (right[:, None] > wrong) + 0.5 * (right[:, None] == wrong)
    variance = kernel.mean(axis=1).var(ddof=1) / len(right)
    variance += kernel.mean(axis=0).var(ddof=1) / len(wrong)
    found = estimate_auroc(confidence, correct)
    assert found.value == pytest.approx(metrics.roc_auc_score(correct, confidence))
    quantile = stats.t.isf(0.025, 2 * (min(len(right), len(wrong)) - 1))
    assert logit_error(found, quantile) == pytest.approx(np.sqrt(variance))


@every_area
def test_error_by_group_is_the_jackknifes(estimate: Any) -> None:
    sample = World(group_size=3, decimals=2).draw(250, np.random.default_rng(3))
    kept = np.arange(len(sample.group))
    values = [
        estimate(sample.confidence[out], sample.correct[out]).value
        for out in (kept[sample.group != g] for g in range(250))
    ]
    jackknife = np.sqrt(249 / 250 * ((np.array(values) - np.mean(values)) ** 2).sum())
    found = estimate(sample.confidence, sample.correct, over(sample.group))
    rarer = min(len(np.unique(sample.group[kind])) for kind in (sample.correct, ~sample.correct))
    degrees = min(249, 2 * (rarer - 1)) if estimate is estimate_auroc else rarer - 1
    assert logit_error(found, stats.t.isf(0.025, degrees)) == pytest.approx(jackknife, rel=0.03)


@settings(deadline=None, max_examples=40)
@given(st.integers(5, 80), st.integers(1, 4), st.integers(0, 1000))
def test_auprc_is_that_of_scikit_learn_and_lies_inside(n: int, decimals: int, seed: int) -> None:
    confidence, correct = verdicts(n, seed, decimals)
    correct[:2] = True, False
    found = estimate_auprc(confidence, correct, over(np.arange(n) // 2))
    assert found.value == pytest.approx(metrics.average_precision_score(correct, confidence))
    if found.low is not None and found.high is not None and found.value is not None:
        assert 0 <= found.low <= found.value <= found.high <= 1


@every_area
@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 1000))
def test_order_of_rows_and_a_monotone_map_change_nothing(estimate: Any, seed: int) -> None:
    confidence, correct = verdicts(40, seed)
    groups, order = np.arange(40) // 2, np.random.default_rng(seed).permutation(40)
    straight = estimate(confidence, correct, over(groups))
    shuffled = estimate(confidence[order] ** 3, correct[order], over(groups[order]))
    for name in ("value", "low", "high"):
        one, other = getattr(straight, name), getattr(shuffled, name)
        assert one == pytest.approx(other, abs=1e-9) if one is not None else other is None


@every_area
def test_pairs_of_one_prompt_are_not_independent(estimate: Any) -> None:
    confidence, correct = (np.repeat(column, 5) for column in verdicts(80))
    rows = estimate(confidence, correct)
    prompts = estimate(confidence, correct, over(np.arange(400) // 5))
    once = estimate(*verdicts(80))
    assert prompts.high - prompts.low > 1.7 * (rows.high - rows.low)
    assert prompts.low == pytest.approx(once.low, abs=0.01)


@pytest.mark.parametrize("reversed_", [False, True])
def test_perfect_separation_still_has_a_width(reversed_: bool) -> None:
    confidence = np.linspace(0.5, 1, 40)
    correct = (confidence > 0.7) ^ reversed_
    found = estimate_auroc(confidence, correct)
    mirrored = estimate_auroc(1 - confidence, correct)
    assert found.value == (0.0 if reversed_ else 1.0)
    assert found.low is not None
    assert found.high is not None
    assert 0.1 < found.high - found.low < 0.3
    assert mirrored.low == pytest.approx(1 - found.high)
    assert mirrored.high == pytest.approx(1 - found.low)


def test_score_limit_solves_newcombes_equation() -> None:
    found = estimate_auroc([0.6] * 8 + [0.9] * 30, [False] * 8 + [True] * 30)
    assert found.low is not None
    theta = found.low
    shape = (1 - theta) / (2 - theta) + theta / (1 + theta)
    variance = theta * (1 - theta) * (1 + (38 / 2 - 1) * shape) / (8 * 30)
    assert (1 - theta) ** 2 == pytest.approx(1.959963984540054**2 * variance)


def test_auprc_without_an_error_is_bounded_by_the_worst_order() -> None:
    confidence, _ = verdicts(60)
    found = estimate_auprc(confidence, np.ones(60), over(np.arange(60) // 2))
    worst = 1 - 0.025 ** (1 / 30)
    assert (found.value, found.high) == (1, 1)
    assert found.low == pytest.approx(1 + worst * np.log(worst) / (1 - worst))
    wrong_first = np.arange(100_000) >= 100_000 * worst
    lowest = metrics.average_precision_score(wrong_first, -np.arange(100_000))
    assert found.low == pytest.approx(lowest, abs=1e-3)


def test_auprc_of_perfect_separation_has_no_interval() -> None:
    found = estimate_auprc([0.6, 0.7, 0.8, 0.9], [0, 0, 1, 1])
    assert (found.value, found.low) == (1, None)


def test_constant_confidence_has_no_interval() -> None:
    found = estimate_auroc(np.full(20, 0.8), np.arange(20) % 2)
    assert (found.value, found.low, found.high) == (0.5, None, None)


def test_one_wrong_verdict_leaves_almost_everything_open() -> None:
    found = estimate_auroc(np.linspace(0.5, 1, 30), np.arange(30) != 10)
    assert found.low is not None
    assert found.high is not None
    assert found.high - found.low > 0.5


@pytest.mark.parametrize("correct", [np.ones(6), np.zeros(6)])
def test_auroc_needs_both_kinds_of_verdicts(correct: np.ndarray) -> None:
    found = estimate_auroc(np.linspace(0.5, 1, 6), correct)
    assert (found.value, found.low, found.n) == (None, None, 6)
    assert estimate_auprc(np.linspace(0.5, 1, 6), np.zeros(6)).value is None


@every_area
def test_one_group_has_no_interval(estimate: Any) -> None:
    found = estimate([0.6, 0.7, 0.8], [0, 1, 0], over(["one"] * 3))
    assert found.value is not None
    assert found.low is None
