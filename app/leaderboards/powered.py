"""Standings from verdicts everywhere that are corrected by the labels there are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import numpy as np

from app.leaderboards.findings import connected, rankable
from app.leaderboards.rows import Silence, powered_row_of
from app.leaderboards.table import OUT_OF_SCOPE, Table
from calibration.arrays import BoolArray
from calibration.errors import InvalidArgument
from calibration.powered import HumanLabels, PoweredLeaderboard, PoweredMethod, rank_by_predictions
from calibration.ranking import Comparisons

_ASSUMED = (
    "labels are taken to be a random sample of the pairs (by the chances in "
    "metadata.label_probability, where given): intervals do not cover another choice"
)
_BOUNDED = (
    "pairs without a verdict were not labelled like the others, so win rates are bounds: each such "
    "pair as lost, and as won"
)


def powered_standings(table: Table, members: BoolArray) -> dict[str, Any]:
    """Rank the models by predictions of all pairs and labels of some.

    Raises:
        CalibrationError: The models cannot be ranked.
    """
    rows = np.flatnonzero(members & ~np.isin(table.reason, OUT_OF_SCOPE))
    if not rows.size:
        raise InvalidArgument("no pair that verdicts could be corrected on")
    predicted = _predicted(table, rows)
    if np.isnan(predicted.score).all():
        raise InvalidArgument(
            f"no verdict is known of any of the {rows.size} pairs: judge them first, with a batch"
        )
    labels = _labels(table, rows)
    board = rank_by_predictions(
        predicted,
        labels,
        method=cast(PoweredMethod, table.request.method),
        baseline=table.request.baseline,
        confidence_level=table.request.confidence_level,
        rng=np.random.default_rng(table.request.seed),
    )
    silence = Silence.of(table, members)
    links = connected(replace(predicted, score=np.nan_to_num(predicted.score, nan=0.5)))
    return {
        "rows": [powered_row_of(row, silence) for row in board.rows],
        **rankable(board.rows, board.rank_rule, table.request.confidence_level),
        "components": links.components,
        "prediction_powered": _powered(board),
        "log_tie": None,
        "intervals": "prediction_powered",
        "resamples": 0,
        "resamples_undefined": 0,
        "coefficients": [],
        "warnings": [_ASSUMED, *([] if board.are_abstentions_audited else [_BOUNDED])],
    }


def _predicted(table: Table, rows: np.ndarray[Any, np.dtype[np.intp]]) -> Comparisons:
    """All pairs with their predictions, nan where there is none."""
    (outcomes,) = table.inputs.outcomes.values()
    score = np.full(len(table.left), np.nan)
    score[outcomes.row] = outcomes.score
    return table.between(rows.astype(np.int64), score[rows])


def _labels(table: Table, rows: np.ndarray[Any, np.dtype[np.intp]]) -> HumanLabels:
    labelled = table.inputs.labelled
    assert labelled is not None
    probability = None if labelled.probability is None else labelled.probability[rows]
    return HumanLabels(labelled.value[rows], table.bootstrap.group[rows], probability)


def _powered(board: PoweredLeaderboard) -> dict[str, Any]:
    """What the correction rests on."""
    return {
        "labelled": board.n_labelled,
        "labelled_groups": board.n_labelled_groups,
        "predicted": board.n_predicted,
        "without_verdict": board.n_abstained,
        "are_abstentions_audited": board.are_abstentions_audited,
        "prediction_weight": board.prediction_weight,
        "effective_labels": board.effective_labels,
    }
