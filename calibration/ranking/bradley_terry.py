"""Strengths of models by maximum likelihood, with ties as half-wins or after Davidson.

P(i beats j) = s_i / (s_i + s_j) (Bradley and Terry 1952); Davidson (1970) gives a tie the
probability nu sqrt(s_i s_j) / (s_i + s_j + nu sqrt(s_i s_j)). With d the log-odds of a win against
a loss, P(win) : P(tie) : P(loss) = exp(d / 2) : nu : exp(-d / 2): an exponential family in
(d, log nu) whose statistics are the points (half a point for a tie) and the number of ties, so
gradient and curvature of the log-likelihood are their moments. A damped Newton method finds the
maximum, for many resamples at once. A score between 0 and 1, such as the probability that a judge
gives to one side, enters like a result: each model gets the points that its strength predicts.

The likelihood has a finite maximum exactly if every model can be reached from every other along
points won (Ford 1957); a tie counts for both sides.

Half-wins and Davidson's model answer different questions. With half-wins s_i / (s_i + s_j) is the
expected score, ties included, and the strengths are compressed: many ties look like models of equal
strength. Davidson's strengths are the odds of a win among decided comparisons and are not
compressed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy

from calibration.arrays import BoolArray, FloatArray, IntArray
from calibration.ranking.comparisons import PairTotals
from calibration.ranking.not_finite import (
    NoFiniteStrengths,
    disconnected,
    only_ties,
    too_far_apart,
    unopposed_ties,
)

# A smaller share of the points of a pair is a residue of rounding and links nothing.
_SMALLEST_LINK = 1e-12
_RIDGE = 1e-14  # relative; keeps the equations solvable and leaves their solution alone
# The error left after a step is about the square of its length.
STEP_TOLERANCE = 1e-7
LARGEST_STEPS = 100
_STALLED = 1e-6  # ill-conditioned resamples may never come down to the tolerance
# Differences of log-strengths beyond this are a likelihood that grows for ever.
LARGEST_LOG_STRENGTH = 30.0


@dataclass(frozen=True, slots=True, eq=False)
class Strengths:
    """Fitted log-strengths.

    Attributes:
        log_strength: Natural logarithm of the strengths with mean 0, shape (resamples, models);
            nan in a resample without finite strengths.
        log_tie: log nu of Davidson's model, shape (resamples,); -inf without ties.
    """

    log_strength: FloatArray
    log_tie: FloatArray


def strength_shares(log_strength: FloatArray) -> FloatArray:
    """Return strengths that sum to 1, from log-strengths along the last axis.

    >>> strength_shares(np.log([[3.0, 1.0]])).tolist()
    [[0.75, 0.25]]
    """
    raised = np.exp(log_strength - log_strength.max(axis=-1, keepdims=True))
    shares: FloatArray = raised / raised.sum(axis=-1, keepdims=True)
    return shares


def fit_strengths(
    totals: PairTotals, models: tuple[str, ...], *, has_tie_parameter: bool = False
) -> Strengths:
    """Fit the sample itself (totals of one resample).

    Args:
        totals: Results by pair of models.
        models: Names of the models, for the error message.
        has_tie_parameter: Davidson's model; else a tie is half a win for each side.

    Raises:
        DisconnectedComparisons: The graph of points won is not strongly connected (Ford 1957).
        NoFiniteStrengths: With a tie parameter: too few decided results oppose the ties.

    >>> from calibration.ranking import Comparisons, PairLayout
    >>> played = Comparisons.between(["x", "x", "x", "x"], ["y", "y", "y", "y"], [1, 1, 1, 0])
    >>> fitted = fit_strengths(PairLayout.of(played).whole(), played.models)
    >>> strength_shares(fitted.log_strength[0]).round(3).tolist()
    [0.75, 0.25]
    """
    check_connected(totals, models)
    fitted = fit_resamples(totals, None, has_tie_parameter=has_tie_parameter)
    if np.isfinite(fitted.log_strength).all():
        return fitted
    if not has_tie_parameter or has_finite_maximum(totals, has_tie_parameter=True).all():
        raise too_far_apart()
    raise _tie_error(totals)


def _tie_error(totals: PairTotals) -> NoFiniteStrengths:
    if (totals.first_wins + totals.second_wins).any():
        return unopposed_ties()
    return only_ties(round(float(totals.ties.sum())))


def fit_resamples(
    totals: PairTotals, start: Strengths | None, *, has_tie_parameter: bool = False
) -> Strengths:
    """Fit every resample, starting from `start`; nan where no finite strengths exist."""
    n = len(totals.ties)
    fitted = np.full((n, totals.n_models), np.nan)
    log_tie = np.full(n, np.nan)
    finite = has_finite_maximum(totals, has_tie_parameter=has_tie_parameter)
    for with_ties in (False, True):
        chosen = finite & ((totals.ties.sum(axis=1) > 0) & has_tie_parameter == with_ties)
        if chosen.any():
            fit = _newton(_PairModel(totals.resamples(chosen), with_ties), start)
            fitted[chosen], log_tie[chosen] = fit.log_strength, fit.log_tie
    return Strengths(fitted, log_tie)


def information(totals: PairTotals, fitted: Strengths) -> FloatArray:
    """Return minus the Hessian of the log-likelihood of the sample at its fit.

    Returns:
        Shape (models + 1, models + 1), the last row and column for log nu (of a unit matrix
        without ties); the direction that adds the same to all log-strengths is made regular.
    """
    model = _PairModel(totals, bool(np.isfinite(fitted.log_tie[0])))
    at = model.moments(fitted.log_strength, fitted.log_tie)
    return np.asarray(model.curvature(at)[0])


class _PairModel:
    """Gradient and curvature of the log-likelihood in (log-strengths, log nu)."""

    def __init__(self, totals: PairTotals, has_tie_parameter: bool) -> None:
        self.totals = totals
        self.games = totals.games
        self.points = totals.first_points
        self.has_tie_parameter = has_tie_parameter
        pairs, ones = np.arange(len(totals.first)), np.ones(len(totals.first))
        ends = (np.tile(pairs, 2), np.concatenate([totals.first, totals.second]))
        shape = (len(pairs), totals.n_models)
        self.incidence = scipy.sparse.csr_array((np.concatenate([ones, -ones]), ends), shape=shape)

    def differences(self, theta: FloatArray) -> FloatArray:
        """Return log-strength of the first minus that of the second model, (resamples, pairs)."""
        return theta[:, self.totals.first] - theta[:, self.totals.second]

    def moments(self, theta: FloatArray, log_tie: FloatArray) -> Moments:
        """Return expectations under log-strengths (resamples, models) and log nu (resamples,)."""
        return moments(
            self.differences(theta), log_tie[:, None] if self.has_tie_parameter else None
        )

    def gradient(self, at: Moments) -> FloatArray:
        """Return the gradient, (resamples, models + 1); the last column is that of log nu."""
        slope = self._by_model(self.points - self.games * at.points)
        ties = (self.totals.ties - self.games * at.tie).sum(axis=1, keepdims=True)
        return np.hstack([slope, ties if self.has_tie_parameter else 0 * ties])

    def curvature(self, at: Moments) -> FloatArray:
        """Return minus the Hessian, made regular along the direction that the mean of 0 fixes."""
        games, m = self.games, self.totals.n_models
        matrix = np.zeros((len(games), m + 1, m + 1))
        spread = games * at.points_variance
        matrix[:, self.totals.first, self.totals.second] = -spread
        matrix[:, self.totals.second, self.totals.first] = -spread
        diagonal = np.arange(m)
        matrix[:, diagonal, diagonal] = -matrix[:, :m, :m].sum(axis=2)
        scale = matrix[:, diagonal, diagonal].mean(axis=1)
        matrix[:, :m, :m] += (scale / m)[:, None, None]
        matrix[:, diagonal, diagonal] += _RIDGE * scale[:, None]
        if self.has_tie_parameter:
            shared = self._by_model(games * at.covariance)
            matrix[:, :m, m] = matrix[:, m, :m] = shared
            matrix[:, m, m] = (games * at.tie * (1 - at.tie)).sum(axis=1)
        else:
            matrix[:, m, m] = 1
        return matrix

    def _by_model(self, by_pair: FloatArray) -> FloatArray:
        return np.asarray((self.incidence.T @ by_pair.T).T)


class Moments(NamedTuple):
    """Expectations of one comparison, all of the shape of the log-odds.

    `points` is the expected share of the first model and `points_variance` its variance; the other
    two are the probability of a tie and the covariance of points and tie.
    """

    points: FloatArray
    points_variance: FloatArray
    tie: FloatArray
    covariance: FloatArray


def moments(log_odds: FloatArray, log_tie: FloatArray | None) -> Moments:
    """Return expectations at log-odds d and log nu (which must broadcast); None for no ties."""
    if log_tie is None:
        points = scipy.special.expit(log_odds)
        nothing = np.zeros_like(points)
        return Moments(points, points * (1 - points), nothing, nothing)
    half = log_odds / 2
    tie_part = np.broadcast_to(log_tie, half.shape)
    top = np.maximum(np.abs(half), tie_part)
    first, second, tie = (np.exp(part - top) for part in (half, -half, tie_part))
    whole = first + second + tie
    first, second, tie = first / whole, second / whole, tie / whole
    variance = (first + second - (first - second) ** 2) / 4
    return Moments(first + tie / 2, variance, tie, -(first - second) / 2 * tie)


def _newton(model: _PairModel, start: Strengths | None) -> Strengths:
    """Take damped Newton steps, all resamples together, until the longest one vanishes."""
    n, m = len(model.games), model.totals.n_models
    theta = np.zeros((n, m)) if start is None else np.tile(start.log_strength[:1], (n, 1))
    log_tie = np.full(n, 0.0 if model.has_tie_parameter else -np.inf)
    if start is not None and model.has_tie_parameter and np.isfinite(start.log_tie[0]):
        log_tie[:] = start.log_tie[0]
    for _ in range(LARGEST_STEPS):  # pragma: no branch
        step, reach = _damped_step(model, theta, log_tie)
        theta += step[:, :m] - step[:, :m].mean(axis=1, keepdims=True)
        log_tie += step[:, m]
        if reach.max() < STEP_TOLERANCE:
            break
    lost = (reach > _STALLED) | (np.abs(theta).max(axis=1) > LARGEST_LOG_STRENGTH)
    theta[lost] = np.nan
    return Strengths(theta, log_tie)


class _Step(NamedTuple):
    """Change of (log-strengths, log nu), and its largest change of a log-odds by resample."""

    change: FloatArray
    reach: FloatArray


def _damped_step(model: _PairModel, theta: FloatArray, log_tie: FloatArray) -> _Step:
    at = model.moments(theta, log_tie)
    solved = np.linalg.solve(model.curvature(at), model.gradient(at)[:, :, None])
    change = np.asarray(solved[:, :, 0], dtype=np.float64)
    reach = np.abs(model.differences(change)).max(axis=1) + np.abs(change[:, -1])
    return _Step(change * damping(reach)[:, None], reach)


def damping(reach: FloatArray) -> FloatArray:
    """Return the length of a Newton step whose full length changes some log-odds by `reach`.

    With log(1 + r) / r the likelihood of a logistic model never falls (Bach 2010), and near the
    maximum the steps become full ones.
    """
    return np.divide(np.log1p(reach), reach, out=np.ones_like(reach), where=reach > 0)


def check_connected(totals: PairTotals, models: tuple[str, ...]) -> None:
    """Refuse totals (of one resample) whose strengths are not finite.

    Raises:
        DisconnectedComparisons: Not every model is linked to every other.
    """
    count, label = _components(totals)
    if count > 1:
        members = [np.flatnonzero(label == k) for k in range(count)]
        raise disconnected(members, totals, _links(totals), models)


def connected_components(
    totals: PairTotals, models: tuple[str, ...]
) -> tuple[tuple[str, ...], ...]:
    """Return the sets of models that are linked both ways by points won, largest first."""
    count, label = _components(totals)
    sets = [tuple(np.array(models)[label == k].tolist()) for k in range(count)]
    return tuple(sorted(sets, key=lambda names: (-len(names), names)))


def has_finite_maximum(totals: PairTotals, *, has_tie_parameter: bool) -> BoolArray:
    """Tell in which resamples the likelihood has a finite maximum, shape (resamples,)."""
    is_linked: BoolArray = _holds_backbone(totals)
    for row in np.flatnonzero(~is_linked):
        is_linked[row] = _components(totals.resamples([row]))[0] == 1
    if not has_tie_parameter:
        return is_linked
    both_won = ((totals.first_wins > 0) & (totals.second_wins > 0)).any(axis=1)
    is_finite: BoolArray = is_linked & (both_won | (totals.ties.sum(axis=1) == 0))
    for row in np.flatnonzero(is_linked & ~is_finite):
        is_finite[row] = _wins_oppose_ties(totals.resamples([row]))
    return is_finite


def _holds_backbone(totals: PairTotals) -> BoolArray:
    """Find resamples that are surely linked: both ways along a tree that spans all models."""
    first, second = totals.first_points, totals.second_points
    least = _SMALLEST_LINK * (first + second)
    common = np.minimum(first.sum(axis=0), second.sum(axis=0))
    number = np.flatnonzero(common > 0)
    if not len(number):
        return np.zeros(len(first), dtype=np.bool_)
    shape = (totals.n_models, totals.n_models)
    where = (totals.first[number], totals.second[number])
    tree = scipy.sparse.csgraph.minimum_spanning_tree(
        scipy.sparse.csr_array((1 / common[number], where), shape=shape)
    )
    if tree.nnz < totals.n_models - 1:
        return np.zeros(len(first), dtype=np.bool_)
    pair = scipy.sparse.csr_array((number + 1, where), shape=shape)
    kept = np.asarray(pair[tree.nonzero()]).reshape(-1) - 1
    both = (first[:, kept] > least[:, kept]) & (second[:, kept] > least[:, kept])
    return np.asarray(both.all(axis=1), dtype=np.bool_)


def _links(totals: PairTotals) -> tuple[BoolArray, BoolArray]:
    """Return whether the first model of each pair won points, and whether the second did."""
    points, against = totals.first_points[0], totals.second_points[0]
    least = _SMALLEST_LINK * (points + against)
    return points > least, against > least


def _components(totals: PairTotals) -> tuple[int, IntArray]:
    won, lost = _links(totals)
    tail = np.concatenate([totals.first[won], totals.second[lost]])
    head = np.concatenate([totals.second[won], totals.first[lost]])
    shape = (totals.n_models, totals.n_models)
    graph = scipy.sparse.csr_array((np.ones(len(tail)), (tail, head)), shape=shape)
    count, label = scipy.sparse.csgraph.connected_components(graph, connection="strong")
    return int(count), np.asarray(label, dtype=np.int64)


def _wins_oppose_ties(totals: PairTotals) -> bool:
    """Return whether log nu has a finite maximum, whether or not strengths have one.

    It runs off to infinity exactly if some shift d of the log-strengths has d_i - d_j >= 1 for
    every win of i over j and |d_i - d_j| <= 1 for every tie: a system of difference constraints,
    which can be met exactly if its graph has no negative cycle.
    """
    steps = np.full((totals.n_models, totals.n_models), np.inf)
    tied = totals.ties[0] > 0
    steps[totals.first[tied], totals.second[tied]] = 1
    steps[totals.second[tied], totals.first[tied]] = 1
    won, lost = totals.first_wins[0] > 0, totals.second_wins[0] > 0
    steps[totals.first[won], totals.second[won]] = -1
    steps[totals.second[lost], totals.first[lost]] = -1
    try:
        scipy.sparse.csgraph.bellman_ford(steps, indices=[0])  # infinity is "no edge"
    except scipy.sparse.csgraph.NegativeCycleError:
        return True
    return False
