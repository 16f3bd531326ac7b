"""Leaderboards: models by rank, each rating with its interval and its rank set.

The methods differ in the rating alone; win rates and counts come with every one. Intervals and
rank sets respect groups of comparisons, usually those of one prompt: they come from a bootstrap of
the groups, or for Bradley-Terry from 50 groups on from the sandwich covariance.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from calibration.arrays import BoolArray, FloatArray, IntArray
from calibration.binomial import wilson_interval
from calibration.errors import InvalidArgument, UnavailableMethod
from calibration.estimate import Estimate
from calibration.intervals import (
    DEFAULT_CONFIDENCE_LEVEL,
    LARGEST_UNDEFINED_SHARE,
    NO_LIMITS,
    ClusterBootstrap,
    Limits,
    resampled_limits,
    share_limits,
)
from calibration.ranking.bradley_terry import (
    strength_shares,
)
from calibration.ranking.comparisons import (
    Comparisons,
    PairLayout,
    Support,
    count_groups,
    count_records,
    with_baseline,
)
from calibration.ranking.elo import Intervals, Method, RankingOptions, TieRule
from calibration.ranking.ranks import RankSets, Spread, rank_sets, ranks, trivial_rank_sets
from calibration.ranking.scores import Coefficient, ModelScores, Resampled, score_models
from calibration.ranking.style import Covariates

SHARES = ("win_rate", "average_win_rate")
_ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class ModelRating:
    """One row of a leaderboard.

    Attributes:
        model: Name of the model.
        rating: In the scale of the method; n is the number of comparisons of the model. No interval
            for a strength, an Elo rating or points where all groups gave the model the same share.
        strength: Bradley-Terry strength, summing to 1 over the models; None for other methods.
        win_rate: Points per comparison (against the baseline alone, if there is one).
        rank: 1 is the best; equal ratings share a rank.
        rank_low: Best rank the model may have. All sets hold together at the confidence level.
        rank_high: Worst rank the model may have.
        n: Number of comparisons of the model that were counted.
        wins: How many it won; a share above one half is a win.
        losses: How many it lost.
        ties: How many were tied.
    """

    model: str
    rating: Estimate
    strength: float | None
    win_rate: Estimate
    rank: int
    rank_low: int
    rank_high: int
    n: int
    wins: int
    losses: int
    ties: int


@dataclass(frozen=True, slots=True)
class Leaderboard:
    """Models by rank.

    Attributes:
        rows: Best first.
        method: The method of the ratings.
        n_comparisons: Number of comparisons that were counted.
        log_tie: Davidson's log nu (-inf without ties); None where ties are not modelled.
        n_resamples: Number of bootstrap resamples, 0 without a bootstrap.
        n_resamples_undefined: How many of them had no ratings, because some model was missing or
            the points won did not link all models. They are left out; beyond a fifth there are
            neither intervals nor rank sets.
        intervals: Where the intervals and rank sets of the ratings come from; None without any.
        is_rankable: Whether any two models can be told apart at the confidence level: False means
            that the noise exceeds the spread. None without intervals.
        coefficients: What each covariate does to the log-odds; empty without covariates.
    """

    rows: tuple[ModelRating, ...]
    method: Method
    n_comparisons: int
    log_tie: float | None
    n_resamples: int
    n_resamples_undefined: int
    intervals: Literal["bootstrap", "sandwich"] | None = None
    is_rankable: bool | None = None
    coefficients: tuple[Coefficient, ...] = ()


def rank_models(
    comparisons: Comparisons,
    options: RankingOptions | None = None,
    bootstrap: ClusterBootstrap | None = None,
    covariates: Covariates | None = None,
) -> Leaderboard:
    """Rank models by their comparisons.

    Args:
        comparisons: The comparisons, in the order of play for Elo.
        options: Method, tie rule, intervals and constants; default Bradley-Terry with half-wins.
        bootstrap: The comparisons' groups, usually their prompts, and resamples of them; None for
            no intervals.
        covariates: Features to control for (Bradley-Terry only): the ratings are then the
            strengths at equal style. Win rates stay what they are.

    Raises:
        DisconnectedComparisons: Bradley-Terry strengths are not finite.
        NoFiniteStrengths: Davidson's tie parameter, or a coefficient, is not finite.
        InvalidArgument: There is no comparison, the bootstrap is over another number of rows, the
            tie rule, the intervals or the covariates do not fit the method, or the baseline is not
            among the models.
        UnavailableMethod: The method, the tie rule or the intervals have no such name.

    >>> played = Comparisons.between(["x", "x", "y", "x"], ["y", "z", "z", "y"], [1, 1, 0.5, 0])
    >>> board = rank_models(played, RankingOptions(method="win_rate"))
    >>> [(row.model, row.rank, round(row.win_rate.value, 2)) for row in board.rows]
    [('x', 1, 0.67), ('y', 2, 0.5), ('z', 3, 0.25)]
    """
    chosen = RankingOptions() if options is None else options
    check_options(comparisons, chosen, covariates)
    if bootstrap is not None:
        bootstrap.check_rows(len(comparisons))
    if chosen.ties == "exclude":
        kept = ~comparisons.is_tie
        if len(comparisons) and not kept.any():
            raise InvalidArgument(
                f"no comparison to rank the models by: all {len(comparisons)} results are ties, which "
                "are excluded (ties half counts each as half a win)"
            )
        bootstrap = None if bootstrap is None else bootstrap.take(kept)
        covariates = None if covariates is None else covariates.take(kept)
        comparisons = comparisons.take(kept)
    if not comparisons.weight.any():
        raise InvalidArgument("no comparison to rank the models by")
    scores = score_models(comparisons, chosen, bootstrap, covariates)
    return leaderboard_of(comparisons, chosen, scores, bootstrap)


def check_options(
    comparisons: Comparisons, options: RankingOptions, covariates: Covariates | None
) -> None:
    """Refuse options that contradict each other.

    Raises:
        InvalidArgument: They do not fit the method or the comparisons.
        UnavailableMethod: The method, the tie rule or the intervals have no such name.
    """
    for name, choice, offered in (
        ("method", options.method, Method),
        ("ties", options.ties, TieRule),
        ("intervals", options.intervals, Intervals),
    ):
        if choice not in get_args(offered):
            listed = ", ".join(get_args(offered))
            raise UnavailableMethod(f"{name} must be one of {listed}, not {choice}")
    if options.method != "bradley_terry":
        for name, asked in (
            ("ties can follow Davidson", options.ties == "davidson"),
            ("intervals can be those of the sandwich", options.intervals == "sandwich"),
            ("covariates can be controlled for", covariates is not None),
        ):
            if asked:
                raise InvalidArgument(f"{name} only with the method bradley_terry")
    if covariates is not None and options.intervals == "bootstrap":
        raise InvalidArgument("with covariates there are no bootstrap intervals")
    if options.ties == "davidson" and not np.isin(comparisons.score, (0, 0.5, 1)).all():
        raise InvalidArgument("Davidson's model needs wins, ties and losses, not shares")
    _check_baseline(comparisons, options)


def _check_baseline(comparisons: Comparisons, options: RankingOptions) -> None:
    if options.baseline is None:
        return
    if options.method != "win_rate":
        raise InvalidArgument("a baseline is for the method win_rate")
    if options.baseline not in comparisons.models:
        raise InvalidArgument(f"the baseline {options.baseline} is not among the models")


def leaderboard_of(
    comparisons: Comparisons,
    options: RankingOptions,
    scores: ModelScores,
    bootstrap: ClusterBootstrap | None,
) -> Leaderboard:
    """Make the leaderboard of models whose scores are known.

    Args:
        comparisons: What the scores were made from, for the counts.
        options: How they were made.
        scores: Ratings and win rates, in the sample and in the resamples.
        bootstrap: The resamples, over the comparisons; None for no intervals.
    """
    support, sets = None, trivial_rank_sets(len(comparisons.models))
    log_tie, intervals, is_rankable = None, None, None
    if scores.strengths is not None and options.ties == "davidson":
        log_tie = float(scores.strengths.log_tie[0])
    if bootstrap is not None:
        intervals = _source(scores)
        support = find_support(comparisons, options, scores, bootstrap)
        sets = _rank_sets(options, scores, support, bootstrap)
        is_rankable = bool((sets.low > 1).any())
    return Leaderboard(
        rows=_rows(comparisons, options, scores, sets, support),
        method=options.method,
        n_comparisons=len(comparisons),
        log_tie=log_tie,
        n_resamples=0 if bootstrap is None else bootstrap.n_resamples,
        n_resamples_undefined=scores.rating.n_undefined,
        intervals=intervals,
        is_rankable=is_rankable,
        coefficients=scores.coefficients,
    )


def _source(scores: ModelScores) -> Literal["bootstrap", "sandwich"]:
    return "bootstrap" if scores.errors is None else "sandwich"


def _rank_sets(
    options: RankingOptions, scores: ModelScores, support: Support, bootstrap: ClusterBootstrap
) -> RankSets:
    rating = scores.rating
    if scores.errors is not None:
        m = len(rating.value)
        spread = Spread.of_covariance(
            scores.errors.covariance[:m, :m], np.random.default_rng(bootstrap.seed)
        )
    elif rating.n_undefined > LARGEST_UNDEFINED_SHARE * bootstrap.n_resamples:
        return trivial_rank_sets(len(rating.value))
    else:
        spread = Spread.of_draws(rating.draws)
    return rank_sets(rating.value, spread, support, is_share=options.method in SHARES)


def _rows(
    comparisons: Comparisons,
    options: RankingOptions,
    scores: ModelScores,
    sets: RankSets,
    support: Support | None,
) -> tuple[ModelRating, ...]:
    counted = with_baseline(comparisons, options.baseline)
    own = comparisons if options.baseline is None else comparisons.take(counted)
    record, rank = count_records(own), ranks(scores.rating.value)
    strength = None
    if scores.strengths is not None:
        strength = strength_shares(scores.strengths.log_strength[0]).tolist()
    estimates = RatingEstimates(options, scores, record.n, support)
    return tuple(
        ModelRating(
            model=comparisons.models[model],
            rating=estimates.rating(model),
            strength=None if strength is None else strength[model],
            win_rate=estimates.win_rate(model),
            rank=int(rank[model]),
            rank_low=int(sets.low[model]),
            rank_high=int(sets.high[model]),
            n=int(record.n[model]),
            wins=int(record.wins[model]),
            losses=int(record.n[model] - record.wins[model] - record.ties[model]),
            ties=int(record.ties[model]),
        )
        for model in np.argsort(rank, kind="stable").tolist()
    )


def find_support(
    comparisons: Comparisons,
    options: RankingOptions,
    scores: ModelScores,
    bootstrap: ClusterBootstrap,
) -> Support:
    """Find how many groups stand behind each model, and for which models they are unanimous.

    With a baseline only the comparisons with it count; its own rate of .5 is no estimate.
    """
    counted = with_baseline(comparisons, options.baseline)
    own = comparisons if options.baseline is None else comparisons.take(counted)
    groups = count_groups(own, bootstrap.group[counted], bootstrap.n_groups)
    is_unanimous = _never_changes(scores.win_rate)
    if options.baseline is not None:
        is_unanimous[comparisons.models.index(options.baseline)] = False
    unseen = None
    if options.method == "average_win_rate":
        unseen = _unseen_of_averages(comparisons, bootstrap)
    return Support(groups, is_unanimous, bootstrap.confidence_level, unseen)


def _unseen_of_averages(comparisons: Comparisons, bootstrap: ClusterBootstrap) -> FloatArray:
    """Return how far below and above an average win rate may lie, shape (2, models).

    Resamples never change a rate against an opponent that is the same in every group, such as five
    wins in five games. Each such rate has Wilson's interval with one trial a group; the distances
    to its ends are added as those of independent rates (Zou and Donner 2008).
    """
    layout = PairLayout.of(comparisons)
    pairs, whole = len(layout.first), layout.whole()
    won = layout.amounts[0] + layout.amounts[2] / 2
    counted = comparisons.weight > 0
    cell, place = np.unique(
        bootstrap.group[counted] * pairs + layout.pair[counted], return_inverse=True
    )
    of_group = np.bincount(place, won[counted]) / np.bincount(place, comparisons.weight[counted])
    pair = cell % pairs
    games = whole.games[0]
    rate = np.divide(whole.first_points[0], games, out=np.zeros(pairs), where=games > 0)
    differs = np.bincount(pair, np.abs(of_group - rate[pair]) > _ROUNDING, pairs) > 0
    trials = np.maximum(np.bincount(pair, minlength=pairs), 1)
    low, high = wilson_interval(trials * rate, trials, bootstrap.confidence_level)
    is_same = (games > 0) & ~differs
    below, above = (np.where(is_same, length, 0.0) ** 2 for length in (rate - low, high - rate))
    met = whole.by_model((games > 0)[None], (games > 0)[None])[0]
    summed = [
        whole.by_model(own[None], other[None])[0] for own, other in ((below, above), (above, below))
    ]
    return np.asarray(np.sqrt(np.array(summed)) / np.maximum(met, 1), dtype=np.float64)


def _never_changes(scores: Resampled) -> BoolArray:
    """Find models whose value is that of the sample in all resamples that have one."""
    moved = np.abs(scores.draws - scores.value) > _ROUNDING  # never true of nan
    return np.asarray(np.isfinite(scores.value) & ~moved.any(axis=0), dtype=np.bool_)


@dataclass(frozen=True, slots=True)
class RatingEstimates:
    """Makes estimates of the scores of each model.

    An interval is as wide as the groups demand in which the model itself was compared: all of them
    move a strength or an Elo rating, but those of its own decide how well it is known.

    Attributes:
        options: How the models were ranked.
        scores: Their scores.
        n: Number of comparisons of each model.
        support: The groups behind each model; None for values without intervals.
    """

    options: RankingOptions
    scores: ModelScores
    n: IntArray
    support: Support | None

    @property
    def confidence_level(self) -> float:
        """Coverage of the intervals."""
        level = DEFAULT_CONFIDENCE_LEVEL if self.support is None else self.support.confidence_level
        return float(level)

    def rating(self, model: int) -> Estimate:
        """Estimate the rating of one model.

        There is no interval for strengths, Elo ratings and points from unanimous groups: none of
        these has a scale on which that many equal trials could be placed.
        """
        if self.options.method in SHARES:
            found = self._share(self.scores.rating, model)
            is_average = self.options.method == "average_win_rate"
            return self._with_unseen(found, model) if is_average else found
        value, n = float(self.scores.rating.value[model]), int(self.n[model])
        if self.support is None or self.support.is_unanimous[model]:
            return Estimate(value, None, None, self.confidence_level, n)
        groups = int(self.support.groups[model])
        if self.scores.errors is not None:
            errors = self.scores.errors.resting_on(groups)
            return errors.estimate(model, value, self.confidence_level, n)
        limits = self._from_draws(value, self.scores.rating.draws[:, model], groups)
        return Estimate(value, limits.low, limits.high, self.confidence_level, n)

    def _with_unseen(self, found: Estimate, model: int) -> Estimate:
        """Add what unanimous results against some opponents may hide, independent of the rest."""
        if self.support is None or self.support.unseen is None or found.value is None:
            return found
        if found.low is None or found.high is None or self.support.is_unanimous[model]:
            return found
        below, above = self.support.unseen[:, model]
        low = found.value - float(np.hypot(found.value - found.low, below))
        high = found.value + float(np.hypot(found.high - found.value, above))
        return replace(found, low=max(low, 0.0), high=min(high, 1.0))

    def win_rate(self, model: int) -> Estimate:
        """Estimate the win rate of one model."""
        return self._share(self.scores.win_rate, model)

    def _share(self, scores: Resampled, model: int) -> Estimate:
        value, n = float(scores.value[model]), int(self.n[model])
        if not np.isfinite(value):
            return Estimate(None, None, None, self.confidence_level, n)
        if self.support is None:
            return Estimate(value, None, None, self.confidence_level, n)
        groups = int(self.support.groups[model])
        if self.support.is_unanimous[model] and (groups > 1 or value in (0.0, 1.0)):
            # one trial a group: equal resamples would give an interval of no width
            ends = wilson_interval(groups * value, groups, self.confidence_level)
            return Estimate(value, float(ends[0]), float(ends[1]), self.confidence_level, n)
        draws = _enough(scores.draws[:, model], groups)
        if draws is None:
            return Estimate(value, None, None, self.confidence_level, n)
        variance = float(np.var(draws)) * groups / (groups - 1)
        low, high = value, value
        if variance > _ROUNDING**2:
            low, high = share_limits(value, variance, groups, self.confidence_level)
        return Estimate(value, low, high, self.confidence_level, n)

    def _from_draws(self, value: float, draws: FloatArray, n_groups: int) -> Limits:
        """Return the interval that `ClusterBootstrap.interval` would, with groups counted already."""
        defined = _enough(draws, n_groups)
        if defined is None:
            return NO_LIMITS
        return resampled_limits(value, defined, n_groups, self.confidence_level)


def _enough(draws: FloatArray, n_groups: int) -> FloatArray | None:
    """Return the draws that have a value; None where they, or the groups, give no interval."""
    defined = draws[np.isfinite(draws)]
    needed = max(1.0, (1 - LARGEST_UNDEFINED_SHARE) * len(draws))
    return None if n_groups < 2 or defined.size < needed else defined
