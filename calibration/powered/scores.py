"""The score equations of Bradley-Terry strengths from labels and predictions, and their sandwich.

Three sums over comparisons make them, each a score (result - expected share) at the left model and
its negative at the right one: over all comparisons with the predictions f as results, over the
labelled ones with the labels y, and over the labelled ones with f.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import scipy

from calibration.arrays import FloatArray
from calibration.intervals import ClusterBootstrap
from calibration.powered.difference import NO_SPREAD, unseen_variance
from calibration.powered.labels import LabelledSample
from calibration.ranking import (
    Comparisons,
    PairLayout,
    PairTotals,
    Strengths,
    fit_resamples,
    fit_strengths,
    information,
)


class GroupScores(NamedTuple):
    """Each group's part of the three means of scores, centred; each (groups, models)."""

    over_all: FloatArray
    labels: FloatArray
    predictions: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class Precision:
    """The precision of strengths.

    Attributes:
        covariance: Shape (models, models).
        degrees_of_freedom: Of Student's distribution.
        unseen: Change of each log-strength by one labelled group whose labels of the model all
            contradict their predictions, if none did; falling to 0 where enough did for their
            spread to tell how often they do. Shape (models,).
    """

    covariance: FloatArray
    degrees_of_freedom: float
    unseen: FloatArray

    @property
    def spread(self) -> float:
        """Summed variance, with that of unseen disagreements where there were too few."""
        return float(np.trace(self.covariance) + (self.unseen**2).sum())


class PoweredScores:
    """Comparisons with predictions for scores, some with labels too."""

    def __init__(self, predicted: Comparisons, sample: LabelledSample) -> None:
        self.predicted = predicted
        self.sample = sample
        self.n_models = len(predicted.models)
        weighted = replace(predicted, weight=sample.inverse)
        # The same comparisons have the same pairs of models, so the three sums share one layout.
        self._layouts = tuple(
            PairLayout.of(each)
            for each in (predicted, replace(weighted, score=sample.label), weighted)
        )
        self._sizes = np.array([[sample.weight.sum(), sample.inverse.sum()]])

    def totals(self, weight: float) -> PairTotals:
        """Return games and points of the powered likelihood; the games add up to 1."""
        return self._combined([layout.whole() for layout in self._layouts], self._sizes, weight)

    def _combined(self, parts: list[PairTotals], sizes: FloatArray, weight: float) -> PairTotals:
        over_all, labels, predictions = parts
        size, labelled_size = sizes[:, [0]], sizes[:, [1]]

        def mean(of_all: FloatArray, known: FloatArray, foreseen: FloatArray) -> FloatArray:
            return weight * of_all / size + (known - weight * foreseen) / labelled_size

        first = mean(over_all.first_points, labels.first_points, predictions.first_points)
        second = mean(over_all.second_points, labels.second_points, predictions.second_points)
        return replace(over_all, first_wins=first, second_wins=second, ties=np.zeros_like(first))

    def fit(self, weight: float) -> FloatArray:
        """Solve for the log-strengths, shape (models,)."""
        fitted = fit_strengths(self.totals(weight), self.predicted.models)
        return np.asarray(fitted.log_strength[0], dtype=np.float64)

    def resampled(
        self, bootstrap: ClusterBootstrap, weight: float, start: FloatArray
    ) -> FloatArray:
        """Solve in every resample with a label: (resamples, models), nan where not finite."""
        begin = _strengths(start)
        blocks = [
            fit_resamples(totals, begin).log_strength
            for totals in self._resampled_totals(bootstrap, weight)
        ]
        return np.concatenate(blocks)

    def _resampled_totals(self, bootstrap: ClusterBootstrap, weight: float) -> Iterator[PairTotals]:
        sizes = scipy.sparse.csr_array(np.column_stack([self.sample.weight, self.sample.inverse]))
        parts = scipy.sparse.hstack(
            [*(layout.parts for layout in self._layouts), sizes], format="csr"
        )
        for sums in bootstrap.totals(parts):
            drawn = sums[sums[:, -1] > 0]
            points = [
                layout.totals(part)
                for layout, part in zip(
                    self._layouts, np.split(drawn[:, :-2], 3, axis=1), strict=True
                )
            ]
            yield self._combined(points, drawn[:, -2:], weight)

    def least_variance_weight(self, log_strength: FloatArray) -> float:
        """Return the l in [0, 1] of least summed variance, as for a mean but in strengths."""
        bread = self._bread(1.0, log_strength)
        over_all, labels, predictions = (part @ bread for part in self._by_group(log_strength))
        excess = predictions - over_all
        variance = float((predictions * excess).sum())
        covariance = float((labels * excess).sum())
        # what is 0 comes out a trace above or below it, by the order of summing alone
        trace = NO_SPREAD * float((labels**2).sum() + (predictions**2).sum())
        if not (variance > trace and covariance > trace):
            return 0.0
        return min(covariance / variance, 1.0)

    def precision(self, weight: float, log_strength: FloatArray, n_fitted: int) -> Precision:
        """Return the sandwich covariance at the solution, after fitting `n_fitted` numbers."""
        part = self._by_group(log_strength)
        n_groups, n = self.sample.n_groups, self.sample.n_labelled_groups
        rows = self.sample.n_labelled
        share = self._labelled_share()
        left = np.where(share < 1, 1 - share, 1)[:, None]
        # The jackknife of a weighted mean, and the numbers that were fitted to the labels.
        widening = np.sqrt((n - 1) / n * (rows - 1) / max(rows - n_fitted, 1))
        rectifier = (part.labels - weight * part.predictions) / left * widening
        whole = weight * part.over_all * np.sqrt(n_groups / max(n_groups - 1, 1))
        bread = self._bread(weight, log_strength)
        error = rectifier @ bread
        influence = whole @ bread + error
        equal = (share**2).sum() ** 2 / (share**4).sum()
        freedom = max(float(equal) * (1 - n_fitted / rows), 1.0)
        one = self._disagreement(bread)
        unseen = unseen_variance((error**2).sum(axis=0), (error**4).sum(axis=0), one, n)
        return Precision(influence.T @ influence, freedom, np.sqrt(unseen))

    def _disagreement(self, bread: FloatArray) -> FloatArray:
        """Mean square change of log-strengths by a group whose labels of the model are off by 1."""
        played, sample = self.predicted, self.sample
        share = sample.inverse / self._sizes[0, 1]
        cells = np.concatenate([sample.group, sample.group]) * self.n_models + np.concatenate(
            [played.left, played.right]
        )
        moved = [
            share * np.abs(bread[own, own] - bread[own, other])
            for own, other in ((played.left, played.right), (played.right, played.left))
        ]
        cell, place = np.unique(cells, return_inverse=True)
        change = np.bincount(place, np.concatenate(moved))
        model = cell % self.n_models
        square = np.bincount(model, change**2, self.n_models)
        return np.asarray(square / np.maximum(np.bincount(model, change > 0, self.n_models), 1))

    def _bread(self, weight: float, log_strength: FloatArray) -> FloatArray:
        matrix = information(self.totals(weight), _strengths(log_strength))
        inverse = np.linalg.inv(matrix[: self.n_models, : self.n_models])
        return np.asarray(inverse, dtype=np.float64)

    def _labelled_share(self) -> FloatArray:
        share = np.bincount(self.sample.group, self.sample.inverse)
        return np.asarray(share / self._sizes[0, 1], dtype=np.float64)

    def _by_group(self, log_strength: FloatArray) -> GroupScores:
        played, sample = self.predicted, self.sample
        expected = scipy.special.expit(log_strength[played.left] - log_strength[played.right])
        size, labelled_size = self._sizes[0]
        return GroupScores(
            self._centred(played.score - expected, sample.weight / size),
            self._centred(sample.label - expected, sample.inverse / labelled_size),
            self._centred(played.score - expected, sample.inverse / labelled_size),
        )

    def _centred(self, score: FloatArray, share: FloatArray) -> FloatArray:
        """Sums by group of scores times shares, less the part that their mean makes."""
        played, group = self.predicted, self.sample.group
        amount = score * share
        where = (np.tile(group, 2), np.concatenate([played.left, played.right]))
        shape = (int(group.max()) + 1, self.n_models)
        summed = scipy.sparse.coo_array((np.concatenate([amount, -amount]), where), shape=shape)
        table = np.asarray(summed.toarray(), dtype=np.float64)
        return np.asarray(table - np.bincount(group, share)[:, None] * table.sum(axis=0))


def _strengths(log_strength: FloatArray) -> Strengths:
    return Strengths(log_strength[None, :], np.array([-np.inf]))
