"""Intervals of every agreement statistic in worlds with known truth, units in groups."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import pytest
from numpy.typing import NDArray

from calibration.agreement import (
    agreement_by_difficulty,
    agreement_rate,
    bins_by_edges,
    cohens_kappa,
    compare_with_ceiling,
    fleiss_kappa,
    gwets_ac1,
    krippendorffs_alpha,
    leave_one_out_agreement,
    percent_agreement,
)
from calibration.arrays import IntArray
from calibration.estimate import Estimate
from calibration.intervals import Groups
from calibration.labels import MISSING

CATEGORIES = 4
LEVEL = 0.95
LARGE = 30_000  # groups; their own error is a twentieth of that of a hundred


@dataclass(frozen=True)
class Sample:
    """Codes of three annotators, `MISSING` where there is none; difficulty and group of units."""

    codes: IntArray
    difficulty: NDArray[np.float64]
    group: IntArray

    @property
    def counts(self) -> IntArray:
        return np.stack([(self.codes == k).sum(axis=1) for k in range(CATEGORIES)], axis=1)


def draw(n_groups: int, noise: float, rng: np.random.Generator) -> Sample:
    """Units of one group are alike, and some groups are harder to agree on than others."""
    group = np.repeat(np.arange(n_groups), 4)
    quality = rng.normal(0, 0.8, n_groups)[group] + rng.normal(0, 0.8, len(group))
    hardness = rng.uniform(0.5, 1.5, n_groups)[group]
    seen = quality[:, None] + noise * hardness[:, None] * rng.normal(size=(len(group), 3))
    codes = np.clip(np.round(seen + 1.5), 0, CATEGORIES - 1).astype(np.int64)
    codes[rng.random(codes.shape) < 0.15] = MISSING
    return Sample(codes, hardness, group)


def fall(sample: Sample, bootstrap: Groups | None) -> Estimate:
    bins = bins_by_edges(sample.difficulty, [0.8, 1.2])
    return agreement_by_difficulty(sample.codes[:, 0], sample.codes[:, 1], bins, bootstrap).fall


Measure = Callable[[Sample, Groups | None], Estimate]
MEASURES: dict[str, Measure] = {
    "rate": lambda s, b: agreement_rate(s.codes[:, 0], s.codes[:, 1], b),
    "percent": lambda s, b: percent_agreement(s.counts, b),
    "ceiling": lambda s, b: leave_one_out_agreement(s.counts, b, tie=None),
    "gap": lambda s, b: compare_with_ceiling(
        s.codes[:, 0], s.counts - np.eye(CATEGORIES + 1, dtype=np.int64)[s.codes[:, 0]][:, :-1],
        b, tie=None,
    ).difference,
    "fall": fall,
    "fleiss": lambda s, b: fleiss_kappa(s.counts, b),
    "gwet": lambda s, b: gwets_ac1(s.counts, b),
}  # fmt: skip
for _weights in (None, "linear", "quadratic"):
    MEASURES[f"cohen-{_weights}"] = partial(
        lambda s, b, weights: cohens_kappa(
            s.codes[:, 0], s.codes[:, 1], b, n_categories=CATEGORIES, weights=weights
        ),
        weights=_weights,
    )
for _metric in ("nominal", "ordinal", "interval", "ratio"):
    MEASURES[f"krippendorff-{_metric}"] = partial(
        lambda s, b, metric: krippendorffs_alpha(
            s.counts, b, metric=metric, values=np.arange(1.0, CATEGORIES + 1)
        ),
        metric=_metric,
    )


def coverage(n_groups: int, noise: float, draws: int) -> dict[str, float]:
    large = draw(LARGE, noise, np.random.default_rng(2))
    truth = {name: measure(large, None).value or 0.0 for name, measure in MEASURES.items()}
    covered, given = dict.fromkeys(MEASURES, 0), dict.fromkeys(MEASURES, 0)
    for number in range(draws):
        rng = np.random.default_rng([n_groups, number])
        sample = draw(n_groups, noise, rng)
        bootstrap = Groups.of(sample.group, LEVEL)
        for name, measure in MEASURES.items():
            found = measure(sample, bootstrap)
            if found.low is not None and found.high is not None:
                given[name] += 1
                covered[name] += found.low <= truth[name] <= found.high
    assert min(given.values()) > 0.98 * draws  # a value that rests on one group has no interval
    return {name: count / given[name] for name, count in covered.items()}


def least(draws: int) -> float:
    return float(LEVEL - 3 * np.sqrt(LEVEL * (1 - LEVEL) / draws))


def test_intervals_cover_in_a_small_simulation() -> None:
    found = coverage(40, 0.7, 100)
    assert {name: share for name, share in found.items() if share < least(100)} == {}


def test_ignored_groups_are_flagged() -> None:
    """Units of one group answered alike: the kappa of one group repeated eight times."""
    truth = fleiss_kappa(draw(LARGE, 0.7, np.random.default_rng(2)).counts).value or 0.0
    covered = 0
    for number in range(200):
        counts = draw(12, 0.7, np.random.default_rng(number)).counts.repeat(8, axis=0)
        found = fleiss_kappa(counts, np.arange(len(counts)))
        covered += (found.low or 0) <= truth <= (found.high or 0)
    assert covered / 200 < least(200)


@pytest.mark.slow
@pytest.mark.parametrize("noise", [0.25, 0.7, 1.2])
@pytest.mark.parametrize("n_groups", [20, 50, 100])
def test_nominal_coverage(n_groups: int, noise: float) -> None:
    draws = 2_000
    found = coverage(n_groups, noise, draws)
    print(f"{n_groups} groups, noise {noise}: {found}")  # noqa: T201
    assert {name: share for name, share in found.items() if share < least(draws)} == {}
