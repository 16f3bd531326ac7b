from __future__ import annotations

import numpy as np

from calibration.cascade import decide
from calibration.certify.methods import published_thresholds, stagewise_thresholds
from calibration.sample import checked_sample

NAN = float("nan")


def test_a_judge_that_is_always_right_answers_everything() -> None:
    confidence = np.linspace(1, 0.5, 300)[:, None]
    sample = checked_sample(confidence, np.ones((300, 1)))
    result = stagewise_thresholds(sample, confidence, 0.1, 0.1)
    assert result.thresholds.tolist() == [0.0]


def test_a_threshold_lies_just_above_where_the_walk_stopped() -> None:
    confidence = np.round(np.linspace(1, 0.5, 300), 6)[:, None]
    correct = (np.arange(300) < 150).astype(np.float64)[:, None]
    result = stagewise_thresholds(checked_sample(confidence, correct), confidence, 0.1, 0.1)
    answered = decide(confidence, result.thresholds) == 0
    stopped_at = confidence[~answered].max()
    assert answered.sum() > 150
    assert 0 < result.thresholds[0] - stopped_at < 2e-12


def test_later_judges_are_tested_on_what_is_left() -> None:
    rng = np.random.default_rng(0)
    first = rng.uniform(0.5, 1, 1200)
    confidence = np.column_stack([first, rng.uniform(0.5, 1, 1200)])
    # The second judge is right exactly where the first one is unsure.
    correct = np.column_stack([first > 0.75, first < 0.75]).astype(np.float64)
    result = stagewise_thresholds(checked_sample(confidence, correct), confidence, 0.1, 0.1)
    assert 0.7 < result.thresholds[0] < 0.75
    assert result.thresholds[1] < 0.6
    assert result.risk_upper_bound <= 0.1


def test_a_judge_that_fails_at_once_leaves_its_pairs_to_the_next() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.5, 1, (500, 2))
    correct = np.column_stack([np.zeros(500), np.ones(500)])
    result = stagewise_thresholds(checked_sample(confidence, correct), confidence, 0.1, 0.1)
    assert np.isposinf(result.thresholds[0])
    assert result.thresholds[1] == 0.0
    assert result.level == 0.1 / 2 / 2


def test_a_judge_that_nobody_asked_can_not_start() -> None:
    confidence = np.full((100, 1), NAN)
    sample = checked_sample(confidence, confidence)
    pool = np.full((10, 1), -np.inf)
    assert np.isposinf(stagewise_thresholds(sample, pool, 0.1, 0.1).thresholds).all()


def test_published_rule_answers_although_nothing_passes() -> None:
    confidence = np.linspace(1, 0.5, 200)[:, None]
    sample = checked_sample(confidence, np.zeros((200, 1)))
    thresholds = published_thresholds(sample, 0.1, 0.1)
    assert (decide(confidence, thresholds) == 0).sum() == 30


def test_published_rule_drops_pairs_with_a_failure() -> None:
    confidence = np.column_stack([np.linspace(1, 0.5, 40), np.full(40, 0.9)])
    confidence[:20, 1] = NAN
    sample = checked_sample(confidence, np.where(np.isnan(confidence), NAN, 1.0))
    assert np.isposinf(published_thresholds(sample, 0.2, 0.1)).all()


def test_pairs_at_which_a_walk_stopped_count_as_errors_of_later_judges() -> None:
    # The first judge stops at 60 pairs of one confidence, which the second would get right.
    first = np.repeat([0.9, 0.7, 0.5], [200, 60, 40])
    confidence = np.column_stack([first, np.full(300, 0.8)])
    correct = np.column_stack([first == 0.9, np.ones(300)]).astype(np.float64)
    result = stagewise_thresholds(checked_sample(confidence, correct), confidence, 0.2, 0.1)
    assert result.thresholds[0] > 0.7
    assert np.isposinf(result.thresholds[1])
