"""The order of admission is a permutation, the same for the same seed, and looks random."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from app.batches.admission import positions_admitted, ranges_of


@given(seed=st.integers(0, 2**63 - 1), n=st.integers(1, 3000), cut=st.integers(0, 3000))
def test_it_is_a_permutation_however_it_is_cut(seed: int, n: int, cut: int) -> None:
    cut = min(cut, n)
    parts = [positions_admitted(seed, n, 0, cut), positions_admitted(seed, n, cut, n)]
    assert sorted(np.concatenate(parts).tolist()) == list(range(n))


def test_places_and_positions_have_nothing_to_do_with_each_other() -> None:
    n = 997
    orders = np.array([positions_admitted(seed, n, 0, n) for seed in range(400)])
    # where a position comes from is uniform: mean and variance of the first place and of a middle one
    for place in (0, 1, n // 2, n - 1):
        values = orders[:, place] / (n - 1)
        assert abs(values.mean() - 0.5) < 4.5 * np.sqrt(1 / 12 / 400)
        assert abs(values.var() - 1 / 12) < 0.02
    correlation = [np.corrcoef(np.arange(n), order)[0, 1] for order in orders]
    assert abs(np.mean(correlation)) < 4.5 / np.sqrt(n * 400)
    assert np.std(correlation) * np.sqrt(n) < 1.2


@given(
    chosen=st.lists(st.booleans(), min_size=1, max_size=200).filter(any),
    size=st.integers(1, 50),
    seed=st.none() | st.integers(0, 100),
)
def test_shards_cover_every_chosen_pair_once(
    chosen: list[bool], size: int, seed: int | None
) -> None:
    mask = np.array(chosen)
    covered = []
    for first, last, pairs in ranges_of(mask, size, seed):
        positions = (
            list(range(first, last))
            if seed is None
            else positions_admitted(seed, len(mask), first, last).tolist()
        )
        held = [position for position in positions if mask[position]]
        assert pairs == len(held) > 0
        covered += held
    assert sorted(covered) == np.flatnonzero(mask).tolist()
