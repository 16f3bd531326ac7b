"""From comparisons to the rows of a leaderboard, whole and by slice. No database, no HTTP."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from app.datasets.service import PairKey
from app.leaderboards.comparing import Outcomes
from app.leaderboards.schemas import LeaderboardIn
from app.slices import slice_names
from calibration.bradley_terry import DisconnectedComparisons
from calibration.comparisons import Comparisons
from calibration.elo import EloOptions
from calibration.errors import CalibrationError, InvalidArgument
from calibration.ranking import Leaderboard, ModelRating, RankingOptions, rank_models
from calibration.resampling import ClusterBootstrap

BoolArray = npt.NDArray[np.bool_]

# what a pair without a comparison may be counted under
REASONS: Final = (
    "abstained", "failed", "missing", "unlabelled", "undecided", "without_models", "same_model",
)  # fmt: skip
_OPEN: Final = ("abstained", "failed", "missing")  # a verdict may exist and is not known


@dataclass(frozen=True, slots=True)
class _Table:
    """Everything that rows are made of; the rows of one slice are a subset of the pairs."""

    keys: Sequence[PairKey]
    outcomes: Outcomes
    request: LeaderboardIn
    bootstrap: ClusterBootstrap


def standings(
    keys: Sequence[PairKey], outcomes: Outcomes, request: LeaderboardIn
) -> dict[str, Any]:
    """Rank the models and count what was left out; with `group_by` for each slice, too.

    A slice whose models cannot be ranked has no rows and says why in `error`.

    Raises:
        CalibrationError: The models of the whole cannot be ranked.
    """
    outcomes = _between_two_models(keys, outcomes)
    bootstrap = ClusterBootstrap.over(
        [key.group for key in keys] or np.zeros(0, dtype=np.int64),
        np.random.default_rng(request.seed),
        confidence_level=request.confidence_level,
    )
    table = _Table(keys, outcomes, request, bootstrap)
    whole = _ranked(table, np.ones(len(keys), dtype=np.bool_))
    return {**whole, "groups": _slices(table)}


def _between_two_models(keys: Sequence[PairKey], outcomes: Outcomes) -> Outcomes:
    reason = outcomes.reason.copy()
    reason[[key.model_a is None or key.model_b is None for key in keys]] = "without_models"
    reason[[key.model_a is not None and key.model_a == key.model_b for key in keys]] = "same_model"
    kept = reason[outcomes.row] == ""
    return Outcomes(outcomes.row[kept], outcomes.score[kept], reason)


def _slices(table: _Table) -> list[dict[str, Any]]:
    if table.request.group_by is None:
        return []
    names = np.array(slice_names(table.keys, table.request.group_by), dtype=object)
    found = []
    for name in sorted({name for name in names if name is not None}):
        try:
            ranked = _ranked(table, names == name)
        except CalibrationError as error:
            ranked = {**_counts(table, names == name), "rows": [], "error": str(error)}
        found.append({"group": name, **ranked})
    return found


def _ranked(table: _Table, members: BoolArray) -> dict[str, Any]:
    chosen = members[table.outcomes.row]
    rows = table.outcomes.row[chosen]
    if rows.size == 0:
        counts = Counter(table.outcomes.reason[members].tolist())
        why = ", ".join(f"{n} {reason}" for reason, n in counts.items()) or "there are no pairs"
        raise InvalidArgument(f"no comparison to rank the models by ({why})")
    comparisons = Comparisons.between(
        [str(table.keys[row].model_a) for row in rows],
        [str(table.keys[row].model_b) for row in rows],
        table.outcomes.score[chosen],
    )
    board = rank_models(comparisons, _options(table.request), table.bootstrap.take(rows))
    unresolved = _unresolved(table, members)
    return {
        "rows": [_row(rating, unresolved, table.request) for rating in board.rows],
        **_counts(table, members),
        **_resampling(board),
    }


def _options(request: LeaderboardIn) -> RankingOptions:
    constants = EloOptions(**request.options.model_dump()) if request.options else EloOptions()
    return RankingOptions(request.method, request.ties, request.baseline, constants)


def _counts(table: _Table, members: BoolArray) -> dict[str, int]:
    rows = table.outcomes.row[members[table.outcomes.row]]
    reasons = Counter(table.outcomes.reason[members].tolist())
    return {
        "pairs": int(np.unique(rows).size),
        "comparisons": int(rows.size),
        **{reason: reasons[reason] for reason in REASONS},
    }


def _unresolved(table: _Table, members: BoolArray) -> Counter[str]:
    """Count by model the pairs whose verdict is not known."""
    found: Counter[str] = Counter()
    for row in np.flatnonzero(members & np.isin(table.outcomes.reason, _OPEN)).tolist():
        found.update({str(table.keys[row].model_a), str(table.keys[row].model_b)})
    return found


def _row(rating: ModelRating, unresolved: Counter[str], request: LeaderboardIn) -> dict[str, Any]:
    return {
        "model": rating.model,
        "rating": asdict(rating.rating),
        "strength": rating.strength,
        "win_rate": asdict(rating.win_rate),
        "rank": rating.rank,
        "rank_low": rating.rank_low,
        "rank_high": rating.rank_high,
        "pairs": rating.n,
        "wins": rating.wins,
        "losses": rating.losses,
        "ties": rating.ties,
        "unresolved": unresolved[rating.model],
        "win_rate_bounds": _bounds(rating, unresolved[rating.model], request),
    }


def _bounds(
    rating: ModelRating, unresolved: int, request: LeaderboardIn
) -> dict[str, float] | None:
    """The win rate if every unresolved pair were lost, and if every one were won."""
    value = rating.win_rate.value
    if unresolved == 0 or value is None or request.baseline is not None:
        return None
    points, total = value * rating.n, rating.n + unresolved
    return {"low": points / total, "high": (points + unresolved) / total}


def _resampling(board: Leaderboard) -> dict[str, Any]:
    log_tie = board.log_tie
    return {
        "log_tie": log_tie if log_tie is not None and np.isfinite(log_tie) else None,
        "resamples": board.n_resamples,
        "resamples_undefined": board.n_resamples_undefined,
    }


def components_of(error: CalibrationError) -> list[list[str]] | None:
    """Return the sets of models that no chain of points won links, where that is the error."""
    if isinstance(error, DisconnectedComparisons):
        return [list(names) for names in error.components]
    return None
