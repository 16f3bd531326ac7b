from __future__ import annotations

from collections import Counter

import numpy as np

from app.datasets.records import PairKey
from app.queues.filling import Open, by_stratum, uniformly


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


def test_models_whose_order_is_open_get_the_labels_with_their_probability() -> None:
    models = [("x", "y")] * 100 + [("z", "x")] * 300 + [("z", "w")] * 100
    keys = [_key(number, pair) for number, pair in enumerate(models)]
    drawn = by_stratum(keys, [Open(("x", "y"), 0.05)], seed=0, labels=50)
    assert len(drawn) == 50
    labelled = Counter(one.key.model_b for one in drawn)
    # the order of x and y depends on what they meet: not on z against w
    assert labelled["w"] == 0 < labelled["x"] < labelled["y"]
    probability = {one.key.model_b: one.probability for one in drawn}
    assert probability == {"y": labelled["y"] / 100, "x": labelled["x"] / 300}


def test_strata_are_mixed_so_that_a_beginning_has_their_shares() -> None:
    keys = [_key(number, ("x", "y" if number < 50 else "z")) for number in range(100)]
    drawn = by_stratum(keys, [], seed=0, labels=40)
    assert len(drawn) == 40
    assert sum(one.key.model_b == "y" for one in drawn[:10]) == 5


def test_swapped_sides_are_the_same_couple() -> None:
    keys = [_key(number, ("x", "y") if number % 2 else ("y", "x")) for number in range(10)]
    assert {one.probability for one in by_stratum(keys, [], seed=0, labels=5)} == {0.5}
