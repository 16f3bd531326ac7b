"""One leaderboard from several criteria: the weighted mean of what each criterion says.

A model's rating is sum_c w_c rating_c / sum_c w_c, and so is its win rate. Ratings of all criteria
come from the same resamples of the same groups, so the mean of the draws is a draw of the mean: how
much the criteria go together on one prompt is in the interval, whatever it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from calibration.arrays import FloatArray, IntArray
from calibration.errors import InvalidArgument
from calibration.estimate import Estimate
from calibration.intervals import ClusterBootstrap, jackknife_ratio
from calibration.ranking.bradley_terry import Strengths
from calibration.ranking.comparisons import Comparisons
from calibration.ranking.elo import RankingOptions
from calibration.ranking.leaderboard import Leaderboard, check_options, leaderboard_of
from calibration.ranking.scores import ModelScores, Resampled, score_models


@dataclass(frozen=True, slots=True, eq=False)
class Criterion:
    """The data of one criterion.

    Attributes:
        name: Its name, for messages.
        weight: Its weight, 0 or more; only the ratios to the others matter.
        comparisons: Comparisons by this criterion.
        bootstrap: Their groups, taken from the resamples that all criteria share.
    """

    name: str
    weight: float
    comparisons: Comparisons
    bootstrap: ClusterBootstrap


@dataclass(frozen=True, slots=True, eq=False)
class CriteriaLeaderboard:
    """The leaderboard of the weighted mean, and that of each criterion in the order given."""

    combined: Leaderboard
    criteria: tuple[Leaderboard, ...]


def rank_by_criteria(
    criteria: Sequence[Criterion], options: RankingOptions | None = None
) -> CriteriaLeaderboard:
    """Rank models by the weighted mean of their ratings by each criterion.

    Intervals come from the bootstrap, since only its draws can be averaged.

    Raises:
        InvalidArgument: There is no criterion, no positive weight, resamples differ, a criterion
            has no comparison, or a model is not compared by some criterion; or as `rank_models`.
    """
    chosen = replace(options or RankingOptions(), intervals="bootstrap")
    weights = _checked_weights(criteria)
    for one in criteria:
        check_options(one.comparisons, chosen, None)
    used = [_without_ties(one) if chosen.ties == "exclude" else one for one in criteria]
    _check_models(used)
    found = [score_models(one.comparisons, chosen, one.bootstrap) for one in used]
    own = tuple(
        leaderboard_of(one.comparisons, chosen, scores, one.bootstrap)
        for one, scores in zip(used, found, strict=True)
    )
    # what weighs nothing is no evidence, and its resamples without a value spoil none
    counted = np.flatnonzero(weights).tolist()
    mean = _mean([found[place] for place in counted], weights[counted])
    heard = [used[place] for place in counted]
    joined = leaderboard_of(_joined(heard), chosen, mean, _joined_groups(heard))
    return CriteriaLeaderboard(joined, own)


def _checked_weights(criteria: Sequence[Criterion]) -> FloatArray:
    weights = np.array([one.weight for one in criteria], dtype=np.float64)
    if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.any()):
        raise InvalidArgument("criteria need finite weights, none negative and one positive")
    first = criteria[0].bootstrap
    for one in criteria:
        one.bootstrap.check_rows(len(one.comparisons))
        shared = (one.bootstrap.seed, one.bootstrap.n_groups, one.bootstrap.n_resamples)
        if shared != (first.seed, first.n_groups, first.n_resamples):
            raise InvalidArgument(
                f"criterion {one.name}: its resamples are not those of the others"
            )
    return np.asarray(weights / weights.sum(), dtype=np.float64)


def _without_ties(one: Criterion) -> Criterion:
    kept = ~one.comparisons.is_tie
    return replace(one, comparisons=one.comparisons.take(kept), bootstrap=one.bootstrap.take(kept))


def _check_models(criteria: Sequence[Criterion]) -> None:
    every = {model for one in criteria for model in one.comparisons.models}
    for one in criteria:
        missing = sorted(every - set(one.comparisons.models))
        if missing:
            named = ", ".join(missing[:5])
            raise InvalidArgument(f"criterion {one.name}: no comparison of {named}")
        if not one.comparisons.weight.any():
            raise InvalidArgument(f"criterion {one.name}: no comparison to rank the models by")


def _mean(found: Sequence[ModelScores], weights: FloatArray) -> ModelScores:
    rating = _weighted([scores.rating for scores in found], weights)
    win_rate = _weighted([scores.win_rate for scores in found], weights)
    strengths = None
    if all(scores.strengths is not None for scores in found):
        # a tie parameter belongs to one criterion and has no mean
        strengths = Strengths(rating.value[None], np.array([-np.inf]))
    return ModelScores(rating, win_rate, strengths)


def _weighted(parts: Sequence[Resampled], weights: FloatArray) -> Resampled:
    return Resampled(
        np.tensordot(weights, np.array([part.value for part in parts]), 1),
        np.tensordot(weights, np.array([part.draws for part in parts]), 1),
    )


def _joined(criteria: Sequence[Criterion]) -> Comparisons:
    parts = [one.comparisons for one in criteria]
    return Comparisons(
        parts[0].models,
        *(
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("left", "right", "score", "weight")
        ),
    )


def _joined_groups(criteria: Sequence[Criterion]) -> ClusterBootstrap:
    group = np.concatenate([one.bootstrap.group for one in criteria])
    return replace(criteria[0].bootstrap, group=group)


@dataclass(frozen=True, slots=True)
class Meeting:
    """What two models got against each other.

    Attributes:
        first: Name of the one model, the earlier in the order that was given.
        second: Name of the other.
        n: Number of comparisons of the two.
        wins: How many the first model won; a share above one half is a win.
        losses: How many it lost.
        ties: How many were tied.
        win_rate: Points of the first model per comparison, by weight.
    """

    first: str
    second: str
    n: int
    wins: int
    losses: int
    ties: int
    win_rate: Estimate


def win_matrix(
    criteria: Sequence[Criterion], models: Sequence[str], *, without_ties: bool = False
) -> tuple[Meeting, ...]:
    """Return what every two models that met got against each other.

    The interval of a rate is that of a ratio whose groups are left out in turn. A comparison counts
    by its own weight times that of its criterion.

    Args:
        criteria: The comparisons by each criterion; those of one criterion are a single one.
        models: Models whose meetings are wanted, in the order in which they are shown.
        without_ties: Leave ties out instead of counting each as half a win.

    >>> from calibration.intervals import Groups
    >>> played = Comparisons.between(["x", "y", "x"], ["y", "x", "z"], [1, 0.5, 0])
    >>> drawn = ClusterBootstrap.over(Groups.of(["q1", "q2", "q3"]), 0)
    >>> found = win_matrix([Criterion("overall", 1.0, played, drawn)], ["x", "y", "z"])
    >>> [(one.first, one.second, one.wins, one.ties, one.win_rate.value) for one in found]
    [('x', 'y', 1, 1, 0.75), ('x', 'z', 0, 0, 0.0)]
    """
    if without_ties:
        criteria = [_without_ties(one) for one in criteria]
    place = {model: number for number, model in enumerate(models)}
    parts = [_meetings(one, place) for one in criteria]
    pair, score, weight = (np.concatenate([part[k] for part in parts]) for k in range(3))
    groups = _joined_groups(criteria).groups
    order = np.argsort(pair, kind="stable")
    kept = order[np.searchsorted(pair[order], 0) :]
    met, starts = np.unique(pair[kept], return_index=True)
    parted = np.split(kept, starts[1:]) if len(met) else []
    found = []
    for code, rows in zip(met.tolist(), parted, strict=True):
        first, second = divmod(code, len(models))
        rate = jackknife_ratio(weight[rows] * score[rows], weight[rows], groups.take(rows))
        wins, ties = int((score[rows] > 0.5).sum()), int((score[rows] == 0.5).sum())
        found.append(
            Meeting(
                models[first], models[second], len(rows), wins, len(rows) - wins - ties, ties,
                replace(rate, n=len(rows)),
            )
        )  # fmt: skip
    return tuple(found)


def _meetings(
    criterion: Criterion, place: dict[str, int]
) -> tuple[IntArray, FloatArray, FloatArray]:
    """Return code of the two models (-1: not wanted), score of the first, and weight by row."""
    played = criterion.comparisons
    number = np.array([place.get(model, -1) for model in played.models], dtype=np.int64)
    left, right = number[played.left], number[played.right]
    is_first = left < right
    code = np.minimum(left, right) * len(place) + np.maximum(left, right)
    is_counted = (left >= 0) & (right >= 0) & (played.weight > 0) & (criterion.weight > 0)
    score = np.where(is_first, played.score, 1 - played.score)
    return np.where(is_counted, code, -1), score, played.weight * criterion.weight
