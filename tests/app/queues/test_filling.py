from __future__ import annotations

from collections import Counter

import numpy as np

from app.datasets.records import PairKey
from app.queues.filling import by_stratum, uniformly


def _key(number: int, models: tuple[str, str] = ("x", "y")) -> PairKey:
    name = f"p{number}"
    return PairKey(number, number, name, name, name, name, name, *models, {})


def test_any_beginning_of_an_order_is_a_uniform_sample() -> None:
    """Whatever the place of a pair in the file, it is as likely to be labelled early."""
    keys = [_key(number) for number in range(8)]
    early = Counter(
        drawn.key.seq for seed in range(2_000) for drawn in uniformly(keys, seed, labels=2)
    )
    counts = np.array([early[key.seq] for key in keys])
    # 500 times each in the mean; the 99.9% quantile of chi-squared with 7 degrees is 24.3
    assert ((counts - 500) ** 2 / 500).sum() < 24.3


def test_couples_whose_ranks_are_tied_get_most_labels_and_all_their_probability() -> None:
    models = [("x", "y")] * 100 + [("x", "z")] * 300 + [("z", "y")] * 100
    keys = [_key(number, pair) for number, pair in enumerate(models)]
    drawn = by_stratum(keys, {frozenset("xy")}, seed=0, labels=50)
    labelled = Counter((one.key.model_a, one.key.model_b) for one in drawn)
    assert labelled == {("x", "y"): 46, ("x", "z"): 2, ("z", "y"): 2}
    probability = {(one.key.model_a, one.key.model_b): one.probability for one in drawn}
    assert probability == {("x", "y"): 0.46, ("x", "z"): 2 / 300, ("z", "y"): 0.02}


def test_strata_are_mixed_so_that_a_beginning_has_their_shares() -> None:
    keys = [_key(number, ("x", "y" if number < 50 else "z")) for number in range(100)]
    drawn = by_stratum(keys, set(), seed=0, labels=40)
    assert len(drawn) == 40
    assert sum(one.key.model_b == "y" for one in drawn[:10]) == 5


def test_swapped_sides_are_the_same_couple() -> None:
    keys = [_key(number, ("x", "y") if number % 2 else ("y", "x")) for number in range(10)]
    assert {one.probability for one in by_stratum(keys, set(), seed=0, labels=5)} == {0.5}
