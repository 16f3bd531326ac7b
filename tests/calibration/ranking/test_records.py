from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from calibration.ranking import comparisons, count_groups, count_records, with_baseline
from tests.calibration.ranking.test_bradley_terry import random_comparisons


def test_every_comparison_is_counted_for_both_of_its_models() -> None:
    played = random_comparisons(1, 200, 5)
    found = count_records(played)
    for model in range(5):
        own = (played.left == model) | (played.right == model)
        points = np.where(played.left == model, played.score, 1 - played.score)[own]
        assert found.n[model] == own.sum()
        assert found.wins[model] == (points == 1).sum()
        assert found.ties[model] == (points == 0.5).sum()


@pytest.mark.parametrize("cells", [0, 10**6])
def test_groups_are_counted_once_however_many_comparisons_they_have(
    cells: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparisons, "_TABLE_CELLS", cells)
    played, group = random_comparisons(2, 100, 6), np.arange(100) // 8
    found = count_groups(played, group, 20)
    for model in range(6):
        own = (played.left == model) | (played.right == model)
        assert found[model] == len(set(group[own]))


def test_only_comparisons_with_the_baseline_count() -> None:
    played = random_comparisons(3, 50, 4)
    with_it = (played.left == 2) | (played.right == 2)
    assert with_baseline(played, "m2").tolist() == with_it.tolist()
    assert with_baseline(played, None).all()


def test_comparisons_without_weight_stand_behind_nothing() -> None:
    played = random_comparisons(2, 100, 6)
    is_free_of_it = (played.left != 0) & (played.right != 0)
    weighed = replace(played, weight=is_free_of_it.astype(np.float64))
    found = count_groups(weighed, np.arange(100) // 8, 13)
    assert found[0] == 0
    assert found[1:].min() > 0
