from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

from calibration.arrays import BoolArray
from calibration.cascade import ABSTAINED, answered_loss, decide, rounded
from calibration.certify.evidence import path_counts
from calibration.certify.learned import learned_thresholds
from calibration.certify.paths import Ground, Start, reaching, scores, shared_path
from calibration.certify.walk import walk_path
from calibration.sample import Sample, checked_sample
from calibration.stack import margins as margins_of

NAN = float("nan")


def coarse_sample(seed: int, n: int = 60, k: int = 3) -> Sample:
    """Confidences with many ties and failures."""
    rng = np.random.default_rng(seed)
    confidence = np.round(rng.uniform(0.5, 1, (n, k)), 1)
    confidence[rng.uniform(size=(n, k)) < 0.2] = NAN
    return checked_sample(confidence, rng.uniform(size=(n, k)) < 0.7)


def ground(sample: Sample, *starts: Start, is_coarse: bool = False) -> Ground:
    return Ground(sample, sample.confidence, starts, is_coarse)


@given(
    st.integers(0, 1000), st.sampled_from([[True] * 3, [False, False, True], [True, False, True]])
)
def test_counts_along_a_shared_threshold_are_those_of_deciding(
    seed: int, is_on_path: list[bool]
) -> None:
    sample = coarse_sample(seed)
    path = shared_path(ground(sample, Start(0.01, 1.0)), "any", 1.0, np.array(is_on_path))
    assert path is not None
    counts = path_counts(path, sample)
    for node in range(len(path.thresholds)):
        is_answered, loss = answered_loss(decide(sample.confidence, path.vector(node)), sample.loss)
        assert counts.answered[node] == is_answered.sum()
        assert counts.lost[node] == pytest.approx(loss.sum())


@given(st.integers(0, 1000))
def test_nodes_are_the_starts_and_every_break_point_below(seed: int) -> None:
    sample = coarse_sample(seed)
    path = shared_path(
        ground(sample, Start(0.2, 0.3), Start(0.5, 0.7)), "any", 1.0, np.ones(3, bool)
    )
    assert path is not None
    nodes = path.thresholds[:, 0]
    assert (np.diff(nodes) < 0).all()
    assert path.entry_weights[0] > 0
    assert path.entry_weights.sum() == pytest.approx(1.0)
    # Between neighbouring nodes nothing changes, so no threshold in between was left untested.
    for upper, lower in pairwise(nodes):
        middle = decide(sample.confidence, np.full(3, (upper + lower) / 2)) == ABSTAINED
        assert (middle == (decide(sample.confidence, np.full(3, upper)) == ABSTAINED)).all()


def test_the_start_is_the_threshold_that_answers_its_share_of_the_pool() -> None:
    sample = checked_sample(np.linspace(0.5, 0.6, 11)[:, None], np.ones((11, 1)))
    pool = np.array([[0.9], [0.8], [0.7], [-np.inf]])
    path = shared_path(
        Ground(sample, pool, (Start(0.5, 1.0),), False), "any", 1.0, np.ones(1, bool)
    )
    assert path is not None
    assert path.thresholds[0, 0] == 0.8


def test_a_pool_that_can_never_be_answered_starts_no_path() -> None:
    sample = coarse_sample(0)
    pool = np.full((5, 3), -np.inf)
    assert (
        shared_path(Ground(sample, pool, (Start(0.5, 1.0),), False), "any", 1.0, np.ones(3, bool))
        is None
    )


def test_coarse_nodes_are_fixed_by_the_pool_alone() -> None:
    pool = coarse_sample(1).confidence
    paths = [
        shared_path(
            Ground(coarse_sample(seed), pool, (Start(0.5, 1.0),), True),
            "any",
            1.0,
            np.ones(3, bool),
        )
        for seed in (2, 3)
    ]
    assert paths[0] is not None
    assert paths[1] is not None
    np.testing.assert_array_equal(paths[0].thresholds, paths[1].thresholds)


@pytest.mark.parametrize("k", [1, 2, 4])
def test_a_learned_path_only_loosens(k: int) -> None:
    rng = np.random.default_rng(5)
    confidence = rng.uniform(0.5, 1, (300, k))
    training = checked_sample(confidence, rng.uniform(size=(300, k)) < confidence)
    thresholds = learned_thresholds(training, np.arange(1.0, k + 1), 0.15, 0.1, 3.0)
    assert len(thresholds) > 1
    # An infinite threshold minus itself is no number; only real changes are compared.
    changed = thresholds[1:] != thresholds[:-1]
    assert (thresholds[1:][changed] < thresholds[:-1][changed]).all()
    assert changed.any(axis=1).all()


def test_a_learned_path_avoids_the_judge_that_is_wrong() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.5, 1, (2000, 2))
    correct = np.stack([rng.uniform(size=2000) < 0.5, rng.uniform(size=2000) < 0.97], axis=1)
    thresholds = learned_thresholds(checked_sample(confidence, correct), np.ones(2), 0.1, 0.1, 3.0)
    assert np.isinf(thresholds[0, 0])
    assert np.isfinite(thresholds[0, 1])


def test_too_few_labels_teach_no_path() -> None:
    sample = checked_sample([[0.9], [0.8]], [[1], [1]])
    assert learned_thresholds(sample, np.ones(1), 0.1, 0.1, 3.0).shape == (0, 1)


def walk(p_values: list[float], weights: list[float]) -> tuple[int, float, int]:
    values = np.array(p_values)

    def rejects(nodes: slice, level: float) -> BoolArray:
        return np.asarray(values[nodes] <= level + 1e-12)

    found = walk_path(np.array(weights), rejects)
    return found.last, round(found.level, 12), found.tested


@pytest.mark.parametrize(
    ("p_values", "weights", "expected"),
    [
        ([0.01, 0.05, 0.2], [0.1, 0, 0], (1, 0.1, 3)),
        ([0.2, 0.01, 0.01], [0.1, 0, 0], (-1, 0.0, 1)),
        ([0.01, 0.01, 0.09], [0.02, 0, 0.08], (2, 0.1, 3)),
        ([0.05, 0.01, 0.07, 0.09], [0.02, 0, 0.08, 0], (2, 0.08, 3)),
        ([0.01, 0.03, 0.09], [0.02, 0, 0.08], (0, 0.02, 3)),
        ([0.01], [0.1], (0, 0.1, 1)),
    ],
)
def test_level_flows_along_a_path_until_a_node_fails(
    p_values: list[float], weights: list[float], expected: tuple[int, float, int]
) -> None:
    assert walk(p_values, weights) == expected


def test_a_long_walk_is_the_same_in_chunks() -> None:
    p_values = [0.0] * 3000 + [1.0] * 10
    assert walk(p_values, [0.1] + [0.0] * 3009) == (2999, 0.1, 3001)


def test_a_judge_that_always_fails_is_left_out_of_a_learned_path() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.5, 1, (400, 2))
    confidence[:, 1] = NAN
    sample = checked_sample(confidence, rng.uniform(size=(400, 2)) < 0.95)
    thresholds = learned_thresholds(sample, np.ones(2), 0.2, 0.1, 3.0)
    assert len(thresholds)
    assert np.isposinf(thresholds[:, 1]).all()


def test_judges_that_all_fail_teach_no_path() -> None:
    nothing = np.full((50, 2), NAN)
    sample = checked_sample(nothing, nothing)
    assert learned_thresholds(sample, np.ones(2), 0.2, 0.1, 3.0).shape == (0, 2)


def test_margins_decide_every_pair_as_the_scores_do() -> None:
    """A shared threshold on log-odds less margins is one threshold a judge on confidences."""
    rng = np.random.default_rng(3)
    confidence = rounded(special.expit(np.abs(rng.normal(0, 6, (400, 3)))))
    confidence[rng.uniform(size=(400, 3)) < 0.1] = -np.inf
    margins = np.array([2.5, 0.7, 0.0])
    shared = scores(confidence, margins)
    for threshold in rng.choice(shared[np.isfinite(shared)], 60).tolist():
        limits = reaching(threshold, margins)
        np.testing.assert_array_equal(decide(confidence, limits), decide(shared, [threshold] * 3))


def test_a_tier_closes_where_no_confidence_reaches_its_margin() -> None:
    assert reaching(10.0, np.array([20.0, 0.0])).tolist()[0] == np.inf


def test_margins_are_what_later_judges_take_away() -> None:
    """In nine of ten pairs the last judge agrees; in one it turns a weak verdict round."""
    said = np.array([[1.0, 3.0]] * 8 + [[1.0, -2.0]] * 2)
    np.testing.assert_allclose(margins_of(said), [3.0, 0.0])
    np.testing.assert_allclose(margins_of(-said), [3.0, 0.0])
    assert margins_of(said[:0]).tolist() == [0.0, 0.0]


def test_a_path_with_margins_ends_where_most_of_the_pool_is_answered() -> None:
    """The end is compared with what its nodes are: log-odds less the margins, not confidences."""
    rng = np.random.default_rng(4)
    confidence = rounded(special.expit(np.abs(rng.normal(0, 2, (200, 2)))))
    sample = checked_sample(confidence, rng.uniform(size=(200, 2)) < 0.7)
    margins = np.array([1.5, 0.0])
    wide = Ground(sample, sample.confidence, (Start(0.5, 1.0),), is_coarse=False, margins=margins)
    path = shared_path(wide, "diagonal", 1.0, np.ones(2, dtype=np.bool_))
    assert path is not None
    assert path.end is not None
    answered = path_counts(path, sample).answered
    assert answered[path.end] == 180
