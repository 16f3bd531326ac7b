from __future__ import annotations

import numpy as np
import pytest

from calibration.intervals import ClusterBootstrap
from calibration.ranking import Comparisons, PairLayout, PairTotals, scores
from calibration.ranking.scores import resampled_totals
from tests.calibration.ranking.test_bradley_terry import random_comparisons


def drawn(played: Comparisons, bootstrap: ClusterBootstrap) -> np.ndarray:
    blocks: list[PairTotals] = list(resampled_totals(PairLayout.of(played), bootstrap))
    return np.concatenate(
        [np.hstack([each.first_wins, each.second_wins, each.ties]) for each in blocks]
    )


def over(groups: np.ndarray, n: int = 70) -> ClusterBootstrap:
    return ClusterBootstrap.over(groups, np.random.default_rng(4), n_resamples=n)


def test_resamples_are_those_of_the_bootstrap_itself() -> None:
    played, groups = random_comparisons(1, 90), np.arange(90) // 3
    bootstrap = over(groups)
    wanted = np.concatenate(list(bootstrap.totals(PairLayout.of(played).parts)))
    assert drawn(played, bootstrap) == pytest.approx(wanted)


@pytest.mark.parametrize("groups", [np.arange(90), np.arange(90) // 3])
def test_blocks_are_of_any_size(groups: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    played = random_comparisons(1, 90)
    monkeypatch.setattr(scores, "_BLOCK_CELLS", 10 * PairLayout.of(played).n_sums)
    blocks = list(resampled_totals(PairLayout.of(played), over(groups)))
    assert sum(len(each.ties) for each in blocks) == 70
    assert drawn(played, over(groups)).sum(axis=1).tolist() == [90] * 70


def test_single_comparisons_are_drawn_as_often_as_chance_says() -> None:
    """Results of equal kind are exchanged: mean and covariance are the multinomial ones."""
    played, n = random_comparisons(2, 60, 3), 60
    sums = drawn(played, over(np.arange(n), 20_000))
    totals = PairLayout.of(played).whole()
    share = np.hstack([totals.first_wins, totals.second_wins, totals.ties])[0] / n
    assert sums.mean(axis=0) / n == pytest.approx(share, abs=0.003)
    wanted = n * (np.diag(share) - np.outer(share, share))
    assert np.cov(sums, rowvar=False) == pytest.approx(wanted, abs=0.25)


def test_single_comparisons_out_of_more_groups_are_not_always_as_many() -> None:
    played = random_comparisons(2, 60, 3)
    bootstrap = over(np.arange(120), 2_000).take(np.arange(60))
    size = drawn(played, bootstrap).sum(axis=1)
    assert size.mean() == pytest.approx(60, abs=0.5)
    assert size.var() == pytest.approx(30, rel=0.15)  # binomial: 120 draws, one half each


def test_shares_and_weights_are_drawn_by_group() -> None:
    played = Comparisons.between(["p", "q", "p"], ["q", "r", "r"], [0.7, 0.4, 0.1], [1, 2, 3])
    bootstrap = over(np.arange(3))
    wanted = np.concatenate(list(bootstrap.totals(PairLayout.of(played).parts)))
    assert drawn(played, bootstrap) == pytest.approx(wanted)
    unequal = Comparisons.between(["p", "q", "p"], ["q", "r", "r"], [1, 0, 1], [1, 2, 3])
    wanted = np.concatenate(list(bootstrap.totals(PairLayout.of(unequal).parts)))
    assert drawn(unequal, bootstrap) == pytest.approx(wanted)
