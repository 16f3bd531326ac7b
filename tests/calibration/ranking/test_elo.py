from __future__ import annotations

import evalica
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.errors import InvalidArgument
from calibration.ranking import Comparisons, EloOptions, elo_ratings
from tests.calibration.ranking.test_bradley_terry import WINNER, random_comparisons


@pytest.mark.parametrize("options", [EloOptions(), EloOptions(k=32, start=1500, scale=200)])
def test_ratings_are_those_of_evalica(options: EloOptions) -> None:
    played = random_comparisons(3)
    wanted = evalica.elo(
        [played.models[i] for i in played.left],
        [played.models[i] for i in played.right],
        [WINNER[score] for score in played.score.tolist()],
        initial=options.start,
        scale=options.scale,
        k=options.k,
    ).scores
    found = elo_ratings(played, options)[0]
    assert dict(zip(played.models, found, strict=True)) == pytest.approx(dict(wanted), abs=1e-9)


def test_first_step_is_half_of_k() -> None:
    assert elo_ratings(Comparisons.between(["p"], ["q"], [1])).tolist() == [[1002.0, 998.0]]


def test_order_of_play_matters() -> None:
    played = random_comparisons(5)
    backwards = elo_ratings(played.take(np.arange(len(played))[::-1]))
    assert np.abs(backwards - elo_ratings(played)).max() > 0.1


def test_comparisons_that_are_not_drawn_do_not_count() -> None:
    played = random_comparisons(6)
    times = np.zeros((2, len(played)))
    times[0, ::2], times[1] = 1, 2
    halved, doubled = elo_ratings(played, None, times)
    assert halved == pytest.approx(elo_ratings(played.take(times[0] > 0))[0])
    assert doubled == pytest.approx(elo_ratings(played, EloOptions(k=8))[0])


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), scale=st.floats(10, 1000))
def test_sample_alone_is_rated_like_a_resample_with_everything_once(
    seed: int, scale: float
) -> None:
    played = random_comparisons(seed, 60)
    options = EloOptions(scale=scale)
    every = elo_ratings(played, options, np.ones((1, 60)))
    assert elo_ratings(played, options) == pytest.approx(every, abs=1e-9)


@pytest.mark.parametrize("constants", [{"k": 0.0}, {"k": np.nan}, {"start": np.inf}, {"scale": -1}])
def test_constants_that_give_no_ratings_are_refused(constants: dict[str, float]) -> None:
    with pytest.raises(InvalidArgument, match=next(iter(constants))):
        EloOptions(**constants)


def test_ratings_far_apart_are_still_numbers() -> None:
    played = random_comparisons(5, 60, 3)
    options = EloOptions(scale=1e-4)
    alone = elo_ratings(played, options)
    assert np.isfinite(alone).all()
    np.testing.assert_allclose(elo_ratings(played, options, np.ones((1, 60))), alone)
