"""From comparisons to the rows of a leaderboard, whole and by slice. No database, no HTTP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from app.leaderboards.findings import connected, rankable
from app.leaderboards.gathering import Inputs
from app.leaderboards.powered import powered_standings
from app.leaderboards.rows import Silence, row_of
from app.leaderboards.schemas import LeaderboardIn
from app.leaderboards.table import Table
from app.slices import slice_names
from calibration.arrays import BoolArray, IntArray
from calibration.errors import CalibrationError
from calibration.ranking import (
    Comparisons,
    Criterion,
    DisconnectedComparisons,
    EloOptions,
    Leaderboard,
    RankingOptions,
    rank_by_criteria,
    rank_models,
)

# comparisons and the pair that each is of
_Compared = tuple[Comparisons, IntArray]


def standings(inputs: Inputs, request: LeaderboardIn) -> dict[str, Any]:
    """Rank the models and count what was left out; with `group_by` for each slice, too.

    A slice whose models cannot be ranked has no rows and says why in `error`.

    Raises:
        CalibrationError: The models of the whole cannot be ranked.
    """
    table = Table.of(inputs, request)
    whole = _ranked(table, np.ones(len(inputs.keys), dtype=np.bool_))
    return {**whole, "groups": _slices(table)}


def _slices(table: Table) -> list[dict[str, Any]]:
    if table.request.group_by is None:
        return []
    names = np.array(slice_names(table.inputs.keys, table.request.group_by), dtype=object)
    found = []
    for name in sorted({name for name in names if name is not None}):
        members = names == name
        try:
            ranked = _ranked(table, members)
        except CalibrationError as error:
            ranked = {**_unranked(table, members), **_of_error(error)}
        found.append({"group": name, **ranked})
    return found


def _unranked(table: Table, members: BoolArray) -> dict[str, Any]:
    return {**table.counts(members), "rows": [], "rankable": False, "warnings": []}


def _of_error(error: CalibrationError) -> dict[str, Any]:
    return {
        "error": str(error),
        "not_rankable_because": str(error),
        "components": components_of(error),
    }


def _ranked(table: Table, members: BoolArray) -> dict[str, Any]:
    if table.inputs.labelled is not None:
        ranked = powered_standings(table, members)
    elif table.request.has_several_criteria:
        ranked = _by_criteria(table, members)
    else:
        ranked = _by_one(table, members)
    warning = Silence.of(table, members).warning()
    warnings = [*ranked.pop("warnings"), *([warning] if warning else [])]
    return {**ranked, **table.counts(members), "warnings": warnings}


def _by_one(table: Table, members: BoolArray) -> dict[str, Any]:
    (outcomes,) = table.inputs.outcomes.values()
    comparisons, rows = table.comparisons(outcomes, members)
    covariates = table.inputs.covariates
    board = rank_models(
        comparisons,
        _options(table.request),
        table.bootstrap.take(rows),
        None if covariates is None else covariates.take(rows),
    )
    return _shown(table, members, board, [(comparisons, rows)])


def _by_criteria(table: Table, members: BoolArray) -> dict[str, Any]:
    weights = table.request.weights
    criteria, compared = [], []
    for name, outcomes in table.inputs.outcomes.items():
        comparisons, rows = table.comparisons(outcomes, members)
        compared.append((comparisons, rows))
        criteria.append(Criterion(name, weights[name], comparisons, table.bootstrap.take(rows)))
    found = rank_by_criteria(criteria, _options(table.request))
    total = sum(weights.values())
    by_criterion = [
        {
            "criterion": one.name,
            "weight": one.weight / total,
            "comparisons": board.n_comparisons,
            "rows": _rows(table, members, board, [own]),
        }
        for one, own, board in zip(criteria, compared, found.criteria, strict=True)
    ]
    shown = _shown(table, members, found.combined, compared)
    return {**shown, "by_criterion": by_criterion}


def _shown(
    table: Table, members: BoolArray, board: Leaderboard, compared: Sequence[_Compared]
) -> dict[str, Any]:
    log_tie = board.log_tie
    links = [connected(comparisons) for comparisons, _ in compared]
    return {
        "rows": _rows(table, members, board, compared),
        **rankable(board.rows, board.intervals, table.request.confidence_level),
        "components": links[0].components,
        "log_tie": log_tie if log_tie is not None and np.isfinite(log_tie) else None,
        "intervals": board.intervals,
        "resamples": board.n_resamples,
        "resamples_undefined": board.n_resamples_undefined,
        "coefficients": [asdict(one) for one in board.coefficients],
        "warnings": [*_undefined(board), *(link.warning for link in links if link.warning)],
    }


def _undefined(board: Leaderboard) -> list[str]:
    if not board.n_resamples_undefined:
        return []
    return [
        f"{board.n_resamples_undefined} of {board.n_resamples} resamples had no ratings, because a "
        "model was missing or the points won did not link all models; beyond a fifth there are no "
        "intervals"
    ]


def _rows(
    table: Table, members: BoolArray, board: Leaderboard, compared: Sequence[_Compared]
) -> list[dict[str, Any]]:
    silence, distinct = Silence.of(table, members), table.distinct_pairs(compared)
    has_baseline = table.request.baseline is not None
    return [row_of(rating, silence, distinct, has_baseline=has_baseline) for rating in board.rows]


def _options(request: LeaderboardIn) -> RankingOptions:
    constants = EloOptions(**request.options.model_dump()) if request.options else EloOptions()
    return RankingOptions(request.method, request.ties, request.baseline, constants)


def components_of(error: CalibrationError) -> list[list[str]] | None:
    """Return the sets of models that no chain of points won links, where that is the error."""
    if isinstance(error, DisconnectedComparisons):
        return [list(names) for names in error.components]
    return None
