"""Ranks models by comparisons, as a whole and by slice, also corrected by labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol, cast

import numpy as np

from app.core.names import shown
from app.datasets.slices import slice_names
from app.leaderboards.gathering import Inputs
from app.leaderboards.outcomes import judge_first
from app.leaderboards.rows import (
    OUT_OF_SCOPE,
    Table,
    Unanswered,
    powered_row_of,
    row_of,
)
from app.leaderboards.schemas import LeaderboardIn
from calibration.arrays import BoolArray, IntArray
from calibration.errors import CalibrationError, InvalidArgument
from calibration.intervals import FEWEST_GROUPS_FOR_PERCENTILES
from calibration.powered import HumanLabels, PoweredLeaderboard, PoweredMethod, rank_by_predictions
from calibration.ranking import (
    Comparisons,
    Criterion,
    DisconnectedComparisons,
    EloOptions,
    Leaderboard,
    PairLayout,
    RankingOptions,
    connected_components,
    count_groups,
    rank_by_criteria,
    rank_models,
    win_matrix,
)

_STEP_DOWN = (
    "all differences of two models at once: studentised, by groups of pairs, stepping down "
    "(simultaneous rank sets)"
)
_INTERVALS = "intervals of all models at once (each at 1 - error / models), where they do not meet"


class Ranked(Protocol):
    """A row with its set of ranks."""

    @property
    def model(self) -> str:
        """Name of the model."""

    @property
    def rank_low(self) -> int:
        """Best rank it may have."""

    @property
    def rank_high(self) -> int:
        """Worst rank it may have."""


def rankable(
    rows: Sequence[Ranked], intervals: str | None, confidence_level: float
) -> dict[str, Any]:
    """Return whether any two models differ significantly, and by which test."""
    n = len(rows)
    told_apart = sum(row.rank_low - 1 for row in rows)
    pairs = n * (n - 1) // 2
    why = None
    if intervals is None:
        why = "there are no intervals, so that no difference can be told from chance"
    elif not told_apart:
        why = _within_chance([row.model for row in rows], confidence_level)
    return {
        "rankable": why is None,
        "not_rankable_because": why,
        "ranking_test": {
            "test": _INTERVALS if intervals == "intervals" else _STEP_DOWN,
            "confidence_level": confidence_level,
            "model_pairs": pairs,
            "told_apart": told_apart,
        },
    }


def _within_chance(models: Sequence[str], confidence_level: float) -> str:
    if len(models) < 2:
        return "there is only one model"
    which, so = f"any two of {len(models)} models", "every model may have any rank"
    if len(models) == 2:
        which, so = " and ".join(sorted(models)), "either may rank first"
    return (
        f"the difference between {which} may be chance alone (confidence level "
        f"{confidence_level:g}): {so}. More pairs would show a difference if there is one. (An "
        "interval beside a model is about that model alone, and may look clearer)"
    )


@dataclass(frozen=True, slots=True)
class Links:
    """Sets of models that chains of points won link both ways; ratings need a single set."""

    components: list[list[str]]

    @property
    def warning(self) -> str | None:
        """Return a warning if there is more than one set."""
        if len(self.components) < 2:
            return None
        return (
            f"the models fall into {len(self.components)} sets, and between two of them points went "
            "one way or not at all: numbers of models of different sets say more about their "
            "opponents than about them"
        )


def connected(comparisons: Comparisons) -> Links:
    """Find the sets of linked models."""
    found = connected_components(PairLayout.of(comparisons).whole(), comparisons.models)
    return Links([list(names) for names in found])


_ASSUMED = (
    "labels are taken to be a random sample of the pairs (where rows name the probability with which "
    "they were labelled, by that): intervals do not cover another choice"
)
_BOUNDED = (
    "pairs without a verdict were not labelled like the others, so win rates are bounds: each such "
    "pair as lost, and as won"
)


def powered_standings(table: Table, members: BoolArray) -> dict[str, Any]:
    """Rank the models by predictions of all pairs and labels of some."""
    rows = np.flatnonzero(members & ~np.isin(table.reason, OUT_OF_SCOPE))
    if not rows.size:
        raise InvalidArgument("no pair that verdicts could be corrected on")
    predicted = _predicted(table, rows)
    if np.isnan(predicted.score).all():
        dataset = str(table.inputs.rests_on.get("dataset"))
        raise InvalidArgument(
            f"no verdict is known of any of the {rows.size} pairs. {judge_first(dataset)}"
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
    unanswered = Unanswered.of(table, members)
    links = connected(replace(predicted, score=np.nan_to_num(predicted.score, nan=0.5)))
    return {
        "rows": [powered_row_of(row, unanswered) for row in board.rows],
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
    """Return all pairs with their predictions, nan for a pair without one."""
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
    """Return what the correction is based on."""
    return {
        "labelled": board.n_labelled,
        "labelled_groups": board.n_labelled_groups,
        "predicted": board.n_predicted,
        "without_verdict": board.n_abstained,
        "are_abstentions_audited": board.are_abstentions_audited,
        "prediction_weight": board.prediction_weight,
        "effective_labels": board.effective_labels,
    }


# comparisons and the pair that each is of
_Compared = tuple[Comparisons, IntArray]


def standings(inputs: Inputs, request: LeaderboardIn) -> dict[str, Any]:
    """Rank the models and count what was left out, also for each slice if `group_by` is given.

    A slice whose models cannot be ranked has no rows and says why in `error`.
    """
    table = Table.of(inputs, request)
    whole = _ranked(table, table.weight > 0)
    # within one slice its weight changes nothing, and one that weighs nothing is shown all the same
    evenly = replace(table, weight=np.ones(len(table.weight)))
    left_out = _weightless(request)
    if left_out:
        whole["warnings"] = [left_out, *whole["warnings"]]
    return {**whole, "groups": _slices(evenly)}


def _weightless(request: LeaderboardIn) -> str | None:
    names = [name for name, weight in (request.slice_weights or {}).items() if not weight]
    if not names:
        return None
    listed = ", ".join(map(shown, names[:5])) + (" and others" if len(names) > 5 else "")
    return (
        f"of the slices by {request.group_by}, {listed} weighs nothing: its pairs are not counted"
    )


def matrix(inputs: Inputs, request: LeaderboardIn, models: Sequence[str]) -> list[dict[str, Any]]:
    """Return who won how often against whom, for every two of these models that met.

    Comparisons count by the weights of their slice and criterion, as on the board.

    Raises:
        InvalidArgument: the verdicts are corrected by labels, which has no such table.
    """
    if request.is_powered:
        raise InvalidArgument("verdicts that labels correct have no table of who beat whom")
    table = Table.of(inputs, request)
    weights, members = request.weights, table.weight > 0
    compared = []
    for name, outcomes in table.inputs.outcomes.items():
        if weights[name]:
            comparisons, rows = table.comparisons(outcomes, members)
            groups = table.bootstrap.take(rows)
            compared.append(Criterion(name, weights[name], comparisons, groups))
    met = win_matrix(compared, models, without_ties=request.ties == "exclude")
    return [asdict(one) for one in met]


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
    warning = Unanswered.of(table, members).warning()
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
        "warnings": [
            *_undefined(board),
            *_few_groups(table, compared),
            *(link.warning for link in links if link.warning),
        ],
    }


def _few_groups(table: Table, compared: Sequence[_Compared]) -> list[str]:
    """Warn of models whose comparisons lie in few groups, with the numbers."""
    own: Counter[str] = Counter()
    for comparisons, rows in compared:
        groups = count_groups(comparisons, table.bootstrap.group[rows], table.bootstrap.n_groups)
        own |= Counter(dict(zip(comparisons.models, groups.tolist(), strict=True)))
    few = {name: n for name, n in own.items() if n < FEWEST_GROUPS_FOR_PERCENTILES}
    if not few:
        return []
    least, most = min(few.values()), max(few.values())
    numbers = f"{least}" if least == most else f"{least} to {most}"
    return [
        f"{len(few)} of {len(own)} models were compared in few groups of pairs ({numbers}, fewer "
        f"than {FEWEST_GROUPS_FOR_PERCENTILES}): their intervals are wide, with Student's quantile for "
        "the number of groups, and one group gives none"
    ]


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
    unanswered, distinct = Unanswered.of(table, members), table.distinct_pairs(compared)
    has_baseline = table.request.baseline is not None
    return [
        row_of(rating, unanswered, distinct, has_baseline=has_baseline) for rating in board.rows
    ]


def _options(request: LeaderboardIn) -> RankingOptions:
    constants = EloOptions(**request.options.model_dump()) if request.options else EloOptions()
    return RankingOptions(request.method, request.ties, request.baseline, constants)


def components_of(error: CalibrationError) -> list[list[str]] | None:
    """Return the sets of models that no chain of points won links, if that is the error."""
    if isinstance(error, DisconnectedComparisons):
        return [list(names) for names in error.components]
    return None
