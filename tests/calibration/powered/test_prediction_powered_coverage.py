"""How often intervals for win rates hold the truth, in worlds where it is known."""

from __future__ import annotations

import numpy as np
import pytest

from tests.calibration.worlds.preferences import (
    DESIGNS,
    JUDGES,
    Estimator,
    coverage,
    predictions_alone,
    without_groups,
    without_probabilities,
)


def least(draws: int) -> float:
    return 0.95 - 3 * float(np.sqrt(0.95 * 0.05 / draws))


@pytest.mark.parametrize(
    ("judge", "design"),
    [
        ("three_judges", "label_any"),
        ("self_preferring", "label_groups"),
        ("contrary", "label_unsure"),
        ("useless", "label_weak"),
        ("verdicts", "label_strata"),
    ],
)
def test_intervals_hold_the_truth(judge: str, design: str) -> None:
    assert coverage(judge, design, 200, draws=200).share >= least(200)


@pytest.mark.parametrize(
    ("judge", "design", "wrong"),
    [
        ("useless", "label_groups", without_groups),
        ("three_judges", "label_weak", without_probabilities),
        ("self_preferring", "label_any", predictions_alone),
    ],
)
def test_harness_flags_what_is_wrong(judge: str, design: str, wrong: Estimator) -> None:
    assert coverage(judge, design, 200, draws=200, estimator=wrong).share < 0.85


def test_mean_probability_of_judges_makes_intervals_narrower() -> None:
    found = coverage("three_judges", "label_any", 200, draws=100)
    assert found.relative_width <= 0.8
    assert found.effective >= 1.5


@pytest.mark.slow
@pytest.mark.parametrize("judge", JUDGES)
@pytest.mark.parametrize(
    ("design", "n"), [*((design, 100) for design in DESIGNS), ("label_any", 400)]
)
def test_intervals_cover_as_promised(judge: str, design: str, n: int) -> None:
    found = coverage(judge, design, n, draws=2_000)
    print(f"{judge} {design} n={n}: {found}")  # noqa: T201
    assert 0.93 <= found.share <= 0.97
    assert found.relative_width <= 1.02


@pytest.mark.slow
def test_judges_of_78_percent_accuracy_save_a_fifth_of_the_width() -> None:
    found = coverage("three_judges", "label_any", 200, draws=2_000)
    print(f"three judges of .78, N = 2,000, n = 200: {found}")  # noqa: T201
    assert found.relative_width <= 0.8
    assert found.effective >= 1.5


@pytest.mark.slow
@pytest.mark.parametrize("n", [12, 25, 50])
@pytest.mark.parametrize("judge", JUDGES)
def test_few_labels_cover_at_least_as_promised(judge: str, n: int) -> None:
    found = coverage(judge, "label_any", n, draws=2_000)
    print(f"{judge} n={n}: {found}")  # noqa: T201
    assert found.share >= 0.93
