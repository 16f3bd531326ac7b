"""Bradley-Terry strengths by maximum likelihood, ties as half-wins or after Davidson.

P(i beats j) = s_i / (s_i + s_j) (Bradley and Terry 1952); Davidson (1970) gives a tie the
probability nu sqrt(s_i s_j) / (s_i + s_j + nu sqrt(s_i s_j)). In the log-strengths and log nu both
are concave exponential families, so a damped Newton method finds the maximum, for many resamples
at once. A score between 0 and 1, such as the probability that a judge gives to one side, enters
the score equations like the result itself: each model gets the points that its strength predicts.

Half-wins and Davidson's model answer different questions. With half-wins s_i / (s_i + s_j) is the
expected score, ties included, and the strengths are compressed: even models and many ties look
alike. Davidson's strengths are the odds of a win among decided comparisons and are not compressed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from scipy import sparse

from calibration.arrays import FloatArray
from calibration.comparisons import PairTotals
from calibration.connectivity import (
    DisconnectedComparisons,
    NoFiniteStrengths,
    check_connected,
    connected_components,
    has_finite_maximum,
)
from calibration.davidson import Moments, moments

__all__ = [
    "DisconnectedComparisons",
    "NoFiniteStrengths",
    "Strengths",
    "connected_components",
    "damping",
    "fit_resamples",
    "fit_strengths",
    "information",
    "strength_shares",
]


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
    """Strengths that sum to 1, from log-strengths along the last axis."""
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
    """
    check_connected(totals, models)
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
    finite = has_finite_maximum(totals, has_tie_parameter=has_tie_parameter)
    for with_ties in (False, True):
        chosen = finite & ((totals.ties.sum(axis=1) > 0) & has_tie_parameter == with_ties)
        if chosen.any():
            fit = _newton(_PairModel(totals.resamples(chosen), with_ties), start)
            fitted[chosen], log_tie[chosen] = fit.log_strength, fit.log_tie
    return Strengths(fitted, log_tie)


def information(totals: PairTotals, fitted: Strengths) -> FloatArray:
    """Minus the Hessian of the log-likelihood of the sample at its fit.

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
        self.incidence = sparse.csr_array((np.concatenate([ones, -ones]), ends), shape=shape)

    def differences(self, theta: FloatArray) -> FloatArray:
        """Log-strength of the first minus that of the second model, shape (resamples, pairs)."""
        return theta[:, self.totals.first] - theta[:, self.totals.second]

    def moments(self, theta: FloatArray, log_tie: FloatArray) -> Moments:
        """Expectations under log-strengths (resamples, models) and log nu (resamples,)."""
        return moments(
            self.differences(theta), log_tie[:, None] if self.has_tie_parameter else None
        )

    def gradient(self, at: Moments) -> FloatArray:
        """Shape (resamples, models + 1); the last column is that of log nu."""
        slope = self._by_model(self.points - self.games * at.points)
        ties = (self.totals.ties - self.games * at.tie).sum(axis=1, keepdims=True)
        return np.hstack([slope, ties if self.has_tie_parameter else 0 * ties])

    def curvature(self, at: Moments) -> FloatArray:
        """Minus the Hessian, made regular along the direction that the mean of 0 fixes."""
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
    """Length of a Newton step whose full length changes some log-odds by `reach`.

    With log(1 + r) / r the likelihood of a logistic model never falls (Bach 2010), and near the
    maximum the steps become full ones.
    """
    return np.divide(np.log1p(reach), reach, out=np.ones_like(reach), where=reach > 0)
