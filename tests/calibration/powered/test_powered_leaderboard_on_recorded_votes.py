"""A tenth of the human labels and all of GPT-4's verdicts, against all labels, 500 times over."""

from __future__ import annotations

import numpy as np
import pytest

from calibration.powered import (
    HumanLabels,
    PoweredMethod,
    predicted_comparisons,
    rank_by_predictions,
)
from calibration.ranking import Comparisons, PairLayout, fit_strengths, scores
from tests.calibration.powered.test_prediction_powered_on_recorded_votes import (
    outcomes,
    predictions,
)
from tests.calibration.recorded_votes import pairs

_DRAWS = 500


def truth(method: PoweredMethod, played: Comparisons) -> dict[str, float]:
    totals = PairLayout.of(played).whole()
    if method == "win_rate":
        found = scores.win_rates(totals)[0]
    else:
        found = fit_strengths(totals, played.models).log_strength[0]
    return dict(zip(played.models, found.tolist(), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("method", ["win_rate", "bradley_terry"])
def test_a_tenth_of_the_labels_covers_the_leaderboard_of_all(method: PoweredMethod) -> None:
    rows, outcome = pairs("mtbench_human"), outcomes()
    prompt = np.array([row["question_id"] for row in rows])
    left, right = ([row[side] for row in rows] for side in ("model_a", "model_b"))
    predicted = predicted_comparisons(left, right, predictions())
    expected = truth(method, Comparisons.between(left, right, outcome))
    true_rank = {
        model: 1 + sum(other > value for other in expected.values())
        for model, value in expected.items()
    }
    hits, alone_hits, widths, are_ranks_right = [], [], [], []
    for draw in range(_DRAWS):
        rng = np.random.default_rng([31, draw])
        chosen = rng.choice(len(outcome), 181, replace=False)
        value = np.full(len(outcome), np.nan)
        value[chosen] = outcome[chosen]
        labels = HumanLabels(value, groups=prompt)
        board = rank_by_predictions(predicted, labels, method=method, rng=rng)
        for row in board.rows:
            rating, alone = row.rating, row.human_only
            assert rating.low is not None
            assert rating.high is not None
            hits.append(rating.low <= expected[row.model] <= rating.high)
            if alone is None or alone.low is None or alone.high is None:
                continue
            alone_hits.append(alone.low <= expected[row.model] <= alone.high)
            widths.append((rating.high - rating.low) / (alone.high - alone.low))
        are_ranks_right.append(
            all(row.rank_low <= true_rank[row.model] <= row.rank_high for row in board.rows)
        )
    print(  # noqa: T201
        f"{method}: covered {np.mean(hits):.4f}, people alone {np.mean(alone_hits):.4f}, width over "
        f"people alone {np.mean(widths):.4f}, all ranks right {np.mean(are_ranks_right):.4f}"
    )
    # the standard error of 3,000 intervals is .004, more where those of a draw go together
    assert np.mean(hits) >= 0.94
    assert np.mean(are_ranks_right) >= 0.94
    assert np.mean(widths) < (0.92 if method == "win_rate" else 0.98)
