"""The likelihood of single comparisons: log-strengths, covariates and the probability of a tie.

The log-odds of comparison r are theta_left - theta_right + x_r' beta; ties are half-wins, or have
Davidson's parameter. Parameters are one vector: log-strengths, coefficients, log nu.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

from calibration.arrays import FloatArray, IntArray
from calibration.comparisons import Comparisons
from calibration.davidson import Moments, moments


class ComparisonModel:
    """Expectations, information and score contributions at given parameters.

    Attributes:
        comparisons: n comparisons of m models.
        covariates: Shape (n, k), the sign turned where left and right change places.
        has_tie_parameter: Whether log nu is fitted; else its place in a vector means nothing.
    """

    def __init__(
        self, comparisons: Comparisons, covariates: FloatArray, *, has_tie_parameter: bool
    ) -> None:
        self.comparisons = comparisons
        self.covariates = covariates
        self.has_tie_parameter = has_tie_parameter
        self.n_models = len(comparisons.models)
        self.n_parameters = self.n_models + covariates.shape[1] + 1

    @property
    def n_free(self) -> int:
        """Number of parameters that comparisons determine: strengths only up to a constant."""
        free: int = self.n_parameters - 2 + int(self.has_tie_parameter)
        return free

    def log_odds(self, parameters: FloatArray) -> FloatArray:
        """Log-odds of the left model, shape (n,)."""
        played = self.comparisons
        strength = parameters[played.left] - parameters[played.right]
        return np.asarray(strength + self.covariates @ parameters[self.n_models : -1])

    def moments(self, parameters: FloatArray) -> Moments:
        """Expectations of each comparison, each of shape (n,)."""
        log_tie = parameters[-1:] if self.has_tie_parameter else None
        return moments(self.log_odds(parameters), log_tie)

    def gradient(self, at: Moments) -> FloatArray:
        """Sum of all score contributions, shape (parameters,)."""
        points = self._point_scores(at)
        ties = self._tie_scores(at).sum(keepdims=True)
        return np.concatenate([self._by_model(points), self.covariates.T @ points, ties])

    def scores_by_group(self, at: Moments, group: IntArray) -> sparse.csr_array[Any]:
        """Score contributions summed by group, for the groups that have a comparison of weight."""
        kept = np.flatnonzero(self.comparisons.weight > 0)
        present, row = np.unique(group[kept], return_inverse=True)
        points = self._point_scores(at)[kept]
        data = [points, -points, *(self.covariates[kept].T * points), self._tie_scores(at)[kept]]
        columns = [self.comparisons.left[kept], self.comparisons.right[kept]]
        columns += [np.full(len(kept), j) for j in range(self.n_models, self.n_parameters)]
        where = (np.tile(row, len(columns)), np.concatenate(columns))
        shape = (len(present), self.n_parameters)
        return sparse.coo_array((np.concatenate(data), where), shape=shape).tocsr()

    def _point_scores(self, at: Moments) -> FloatArray:
        return np.asarray(self.comparisons.weight * (self.comparisons.score - at.points))

    def _tie_scores(self, at: Moments) -> FloatArray:
        if not self.has_tie_parameter:
            return np.zeros(len(self.comparisons))
        return np.asarray(self.comparisons.weight * (self.comparisons.is_tie - at.tie))

    def information(self, at: Moments) -> FloatArray:
        """Minus the Hessian of the log-likelihood, shape (parameters, parameters).

        Made regular along the direction that raises all strengths alike, which no comparison tells
        anything about, and for a log nu that is not fitted.
        """
        m, weight = self.n_models, self.comparisons.weight
        matrix = np.zeros((self.n_parameters, self.n_parameters))
        spread = weight * at.points_variance
        matrix[:m, :m] = self._between_models(spread)
        matrix[:m, :m] += float(spread.sum()) / m**2
        pull = np.column_stack([self.covariates * spread[:, None], weight * at.covariance])
        matrix[:m, m:] = np.column_stack([self._by_model(column) for column in pull.T])
        matrix[m:, :m] = matrix[:m, m:].T
        matrix[m:-1, m:] = self.covariates.T @ pull
        matrix[-1, m:-1] = matrix[m:-1, -1]
        matrix[-1, -1] = 1.0
        if self.has_tie_parameter:
            matrix[-1, -1] = (weight * at.tie * (1 - at.tie)).sum()
        return matrix

    def _between_models(self, spread: FloatArray) -> FloatArray:
        m, played = self.n_models, self.comparisons
        cells = np.bincount(played.left * m + played.right, spread, m * m).reshape(m, m)
        both = cells + cells.T
        return np.asarray(np.diag(both.sum(axis=1)) - both)

    def _by_model(self, amounts: FloatArray) -> FloatArray:
        played = self.comparisons
        of_left = np.bincount(played.left, amounts, self.n_models)
        return np.asarray(of_left - np.bincount(played.right, amounts, self.n_models))
