from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.ranking import (
    Comparisons,
    DisconnectedComparisons,
    PairLayout,
    PairTotals,
    connected_components,
)
from calibration.ranking.bradley_terry import check_connected, has_finite_maximum
from tests.calibration.ranking.test_bradley_terry import random_comparisons


def resamples(seed: int, n: int, n_models: int) -> tuple[PairTotals, tuple[str, ...]]:
    """Resamples that leave many results out, so that some are connected and some are not."""
    played = random_comparisons(seed, n, n_models)
    layout = PairLayout.of(played)
    weights = np.random.default_rng(seed).integers(0, 2, size=(12, n)).astype(float)
    return layout.totals(weights @ layout.parts), played.models


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(4, 40), n_models=st.integers(2, 5))
def test_resamples_all_at_once_are_judged_like_one_by_one(seed: int, n: int, n_models: int) -> None:
    totals, models = resamples(seed, n, n_models)
    alone = [len(connected_components(totals.resamples([row]), models)) == 1 for row in range(12)]
    assert has_finite_maximum(totals, has_tie_parameter=False).tolist() == alone


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), n=st.integers(4, 40))
def test_ties_all_at_once_are_judged_like_one_by_one(seed: int, n: int) -> None:
    totals, _ = resamples(seed, n, 3)
    alone = [
        bool(has_finite_maximum(totals.resamples([row]), has_tie_parameter=True)[0])
        for row in range(12)
    ]
    assert has_finite_maximum(totals, has_tie_parameter=True).tolist() == alone


def test_a_ring_of_wins_links_without_any_pair_that_does_both_ways() -> None:
    ring = Comparisons.between(["p", "q", "r"], ["q", "r", "p"], [1, 1, 1])
    totals = PairLayout.of(ring).whole()
    assert has_finite_maximum(totals, has_tie_parameter=False).tolist() == [True]
    check_connected(totals, ring.models)


def test_pairs_that_link_both_ways_but_not_all_models_are_not_enough() -> None:
    played = Comparisons.between(["p", "p", "r"], ["q", "q", "p"], [1, 0, 1])
    totals = PairLayout.of(played).whole()
    assert has_finite_maximum(totals, has_tie_parameter=False).tolist() == [False]
    with pytest.raises(DisconnectedComparisons, match=r"\{p, q\} \| \{r\}"):
        check_connected(totals, played.models)


def test_a_ring_of_wins_opposes_ties_though_no_pair_does() -> None:
    names = ["p", "q", "r", "p"], ["q", "r", "p", "q"]
    totals = PairLayout.of(Comparisons.between(*names, [1, 1, 1, 0.5])).whole()
    assert has_finite_maximum(totals, has_tie_parameter=True).tolist() == [True]
