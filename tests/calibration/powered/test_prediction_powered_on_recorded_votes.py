"""Estimates from a tenth of recorded human labels against those from all of them."""

from __future__ import annotations

import numpy as np
import pytest

from calibration.labels import MISSING
from calibration.powered import (
    HumanLabels,
    predicted_comparisons,
    prediction_powered_mean,
    prediction_powered_strengths,
)
from calibration.ranking import Comparisons, PairLayout, fit_strengths
from tests.calibration.recorded_votes import human_counts, pairs, verdicts

SCORE = np.array([1.0, 0.0, 0.5])


def outcomes() -> np.ndarray:
    """The mean vote for the first side, over all annotators of a pair."""
    counts = human_counts(pairs("mtbench_human"))
    return np.asarray(counts @ SCORE / counts.sum(axis=1))


def predictions() -> np.ndarray:
    """GPT-4's verdict, an inconsistent one being no preference."""
    codes = verdicts(pairs("mtbench_human"), "gpt-4-pair")
    return np.asarray(np.where(codes == MISSING, 0.5, SCORE[codes]))


def test_a_tenth_of_the_labels_gives_the_win_rate_of_all() -> None:
    outcome, prediction = outcomes(), predictions()
    hits, widths = [], []
    for draw in range(300):
        rows = np.random.default_rng([21, draw]).choice(len(outcome), 181, replace=False)
        value = np.full(len(outcome), np.nan)
        value[rows] = outcome[rows]
        found = prediction_powered_mean(prediction, HumanLabels(value))
        low, high = found.estimate.low, found.estimate.high
        assert low is not None
        assert high is not None
        assert found.human_only.low is not None
        assert found.human_only.high is not None
        hits.append(low <= outcome.mean() <= high)
        widths.append((high - low) / (found.human_only.high - found.human_only.low))
    assert np.mean(hits) >= 0.93
    assert np.mean(widths) <= 0.85


@pytest.mark.slow
def test_a_quarter_of_the_prompts_gives_the_strengths_of_all() -> None:
    rows = pairs("mtbench_human")
    outcome, prompt = outcomes(), np.array([row["question_id"] for row in rows])
    left, right = ([row[side] for row in rows] for side in ("model_a", "model_b"))
    played = Comparisons.between(left, right, outcome)
    truth = fit_strengths(PairLayout.of(played).whole(), played.models).log_strength[0]
    predicted = predicted_comparisons(left, right, predictions())
    hits, saved = [], []
    for draw in range(200):
        rng = np.random.default_rng([22, draw])
        chosen = np.isin(prompt, rng.choice(np.unique(prompt), 20, replace=False))
        labels = HumanLabels(np.where(chosen, outcome, np.nan), groups=prompt)
        found = prediction_powered_strengths(predicted, labels, rng=rng)
        for row, strength in zip(found.rows, truth, strict=True):
            assert row.log_strength.low is not None
            assert row.log_strength.high is not None
            hits.append(row.log_strength.low <= strength <= row.log_strength.high)
        assert found.effective_labels is not None
        saved.append(found.effective_labels / found.n_labelled)
    print(f"covered {np.mean(hits):.4f}, saved {np.median(saved):.2f}")  # noqa: T201
    assert np.mean(hits) >= 0.93
    assert np.median(saved) > 1.1
