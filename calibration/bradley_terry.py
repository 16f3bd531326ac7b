"""Bradley-Terry strengths by maximum likelihood, ties as half-wins or after Davidson.

P(i beats j) = s_i / (s_i + s_j) (Bradley and Terry 1952); Davidson (1970) gives a tie the
probability nu sqrt(s_i s_j) / (s_i + s_j + nu sqrt(s_i s_j)). In the log-strengths and log nu both
are concave exponential families, so a damped Newton method finds the maximum, for many resamples
at once. Half-wins estimate expected scores well but compress strengths; Davidson's model does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse import csgraph

from calibration.comparisons import PairTotals
from calibration.errors import CalibrationError

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

# A smaller share of the points of a pair is a residue of rounding and links nothing.
_SMALLEST_LINK = 1e-12
_RIDGE = 1e-14  # relative; keeps the equations solvable and leaves their solution alone
_TOLERANCE = 1e-10
_LARGEST_STEPS = 100
# Differences of log-strengths beyond this are a likelihood that grows for ever.
_LARGEST_LOG_STRENGTH = 30.0


class NoFiniteStrengths(CalibrationError):
    """The likelihood has no maximum, or one too far out to be computed."""


class DisconnectedComparisons(NoFiniteStrengths):
    """Some set of models never won a point from the others, or never lost one to them.

    Attributes:
        components: Names of the models by strongly connected component, largest first.
    """

    def __init__(self, components: tuple[tuple[str, ...], ...]) -> None:
        self.components = components
        named = " | ".join("{" + ", ".join(names) + "}" for names in components)
        super().__init__(
            "strengths are not finite: every model must be linked to every other by a chain of "
            f"points won (a tie counts for both sides), but these sets are not: {named}"
        )


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
    """Strengths that sum to 1, from log-strengths along the last axis."""
    raised = np.exp(log_strength - log_strength.max(axis=-1, keepdims=True))
    shares: FloatArray = raised / raised.sum(axis=-1, keepdims=True)
    return shares


def connected_components(
    totals: PairTotals, models: tuple[str, ...]
) -> tuple[tuple[str, ...], ...]:
    """Sets of models that are linked both ways by points won, largest first."""
    count, label = _components(totals)
    sets = [tuple(np.array(models)[label == k].tolist()) for k in range(count)]
    return tuple(sorted(sets, key=lambda names: (-len(names), names)))


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
    """
    components = connected_components(totals, models)
    if len(components) > 1:
        raise DisconnectedComparisons(components)
    fitted = fit_resamples(totals, None, has_tie_parameter=has_tie_parameter)
    if not np.isfinite(fitted.log_strength).all():
        raise NoFiniteStrengths("strengths are not finite: the results fit best at infinity")
    return fitted


def fit_resamples(
    totals: PairTotals, start: Strengths | None, *, has_tie_parameter: bool = False
) -> Strengths:
    """Fit every resample, starting from `start`; nan where no finite strengths exist."""
    n = len(totals.ties)
    fitted = np.full((n, totals.n_models), np.nan)
    log_tie = np.full(n, np.nan)
    finite = np.array(
        [_has_finite_maximum(totals.resamples([row]), has_tie_parameter) for row in range(n)]
    )
    for with_ties in (False, True):
        chosen = finite & ((totals.ties.sum(axis=1) > 0) & has_tie_parameter == with_ties)
        if chosen.any():
            fit = _newton(_PairModel(totals.resamples(chosen), with_ties), start)
            fitted[chosen], log_tie[chosen] = fit.log_strength, fit.log_tie
    return Strengths(fitted, log_tie)


def _components(totals: PairTotals) -> tuple[int, IntArray]:
    points, against = totals.first_points[0], totals.second_points[0]
    least = _SMALLEST_LINK * (points + against)
    won, lost = points > least, against > least
    tail = np.concatenate([totals.first[won], totals.second[lost]])
    head = np.concatenate([totals.second[won], totals.first[lost]])
    shape = (totals.n_models, totals.n_models)
    graph = sparse.csr_array((np.ones(len(tail)), (tail, head)), shape=shape)
    count, label = csgraph.connected_components(graph, connection="strong")
    return int(count), np.asarray(label, dtype=np.int64)


def _has_finite_maximum(totals: PairTotals, has_tie_parameter: bool) -> bool:
    if _components(totals)[0] > 1:
        return False
    if not has_tie_parameter or totals.ties.sum() == 0:
        return True
    return _wins_oppose_ties(totals)


def _wins_oppose_ties(totals: PairTotals) -> bool:
    """Whether log nu has a finite maximum beside finite or infinite strengths.

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
        csgraph.bellman_ford(steps, indices=[0])  # infinity is "no edge"
    except csgraph.NegativeCycleError:
        return True
    return False


class _Moments(NamedTuple):
    """Expectations by resample and pair at the present parameters.

    `points` is the expected share of the first model and `points_variance` its variance; the other
    two are the probability of a tie and the covariance of both.
    """

    points: FloatArray
    points_variance: FloatArray
    tie: FloatArray
    covariance: FloatArray


class _PairModel:
    """Gradient and curvature of the log-likelihood in (log-strengths, log nu)."""

    def __init__(self, totals: PairTotals, has_tie_parameter: bool) -> None:
        self.totals = totals
        self.has_tie_parameter = has_tie_parameter

    def differences(self, theta: FloatArray) -> FloatArray:
        """Log-strength of the first minus that of the second model, shape (resamples, pairs)."""
        return theta[:, self.totals.first] - theta[:, self.totals.second]

    def moments(self, theta: FloatArray, log_tie: FloatArray) -> _Moments:
        """Expectations under log-strengths (resamples, models) and log nu (resamples,)."""
        half = self.differences(theta) / 2
        tie_part = np.broadcast_to(log_tie[:, None], half.shape)
        top = np.maximum(np.abs(half), tie_part)
        first, second, tie = (np.exp(part - top) for part in (half, -half, tie_part))
        whole = first + second + tie
        first, second, tie = first / whole, second / whole, tie / whole
        points = first + tie / 2
        variance = (first + second - (first - second) ** 2) / 4
        return _Moments(points, variance, tie, -(first - second) / 2 * tie)

    def gradient(self, at: _Moments) -> FloatArray:
        """Shape (resamples, models + 1); the last column is that of log nu."""
        games = self.totals.games
        slope = self._by_model(self.totals.first_points - games * at.points)
        ties = (self.totals.ties - games * at.tie).sum(axis=1, keepdims=True)
        return np.hstack([slope, ties if self.has_tie_parameter else 0 * ties])

    def curvature(self, at: _Moments) -> FloatArray:
        """Minus the Hessian, made regular along the direction that the mean of 0 fixes."""
        games, m = self.totals.games, self.totals.n_models
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
        return self.totals.by_model(by_pair, -by_pair)


def _newton(model: _PairModel, start: Strengths | None) -> Strengths:
    """Take damped Newton steps, all resamples together, until the longest one vanishes."""
    n, m = len(model.totals.ties), model.totals.n_models
    theta = np.zeros((n, m)) if start is None else np.tile(start.log_strength[:1], (n, 1))
    log_tie = np.full(n, 0.0 if model.has_tie_parameter else -np.inf)
    if start is not None and model.has_tie_parameter and np.isfinite(start.log_tie[0]):
        log_tie[:] = start.log_tie[0]
    for _ in range(_LARGEST_STEPS):  # pragma: no branch
        step, reach = _damped_step(model, theta, log_tie)
        theta += step[:, :m] - step[:, :m].mean(axis=1, keepdims=True)
        log_tie += step[:, m]
        if reach.max() < _TOLERANCE:
            break
    lost = (reach > 1e-6) | (np.abs(theta).max(axis=1) > _LARGEST_LOG_STRENGTH)
    theta[lost] = np.nan
    return Strengths(theta, log_tie)


class _Step(NamedTuple):
    """Change of (log-strengths, log nu), and its largest change of a log-odds by resample."""

    change: FloatArray
    reach: FloatArray


def _damped_step(model: _PairModel, theta: FloatArray, log_tie: FloatArray) -> _Step:
    """One Newton step of length log(1 + r) / r, with r the reach of the full one.

    With that length the likelihood of a logistic model never falls (Bach 2010), and near the
    maximum the steps become full ones.
    """
    at = model.moments(theta, log_tie)
    solved = np.linalg.solve(model.curvature(at), model.gradient(at)[:, :, None])
    change = np.asarray(solved[:, :, 0], dtype=np.float64)
    reach = np.abs(model.differences(change)).max(axis=1) + np.abs(change[:, -1])
    length = np.divide(np.log1p(reach), reach, out=np.ones_like(reach), where=reach > 0)
    return _Step(change * length[:, None], reach)
