"""Labels of some pairs of a larger set, and how those pairs were chosen.

Estimates from few labels and many predictions are right because chance alone decided which pairs
people saw. Here the declared chance becomes weights: each labelled pair stands for 1 / probability
pairs of the set (Horvitz and Thompson 1952).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calibration.arrays import BoolArray, FloatArray, IntArray
from calibration.errors import InvalidArgument


@dataclass(frozen=True, slots=True, eq=False)
class HumanLabels:
    """The labels of people, pair by pair, and how the labelled pairs were chosen.

    Attributes:
        value: Outcome in [0, 1] for the first side (1 a win, .5 a tie, or the share of annotators),
            nan where no one was asked; shape (pairs,).
        groups: Name of each pair's group, such as its prompt: groups are independent of each
            other, pairs of one group need not be. None: each pair is its own group.
        probability: Known probability with which each pair was chosen for labelling, looked at
            only where there is a label. None: all pairs (of a stratum) were equally likely.
        strata: Name of each pair's stratum; within a stratum labels were drawn at random. None: one
            stratum. A pair's stratum must not depend on its label.
    """

    value: ArrayLike
    groups: ArrayLike | None = None
    probability: ArrayLike | None = None
    strata: ArrayLike | None = None


@dataclass(frozen=True, slots=True, eq=False)
class LabelledSample:
    """Checked labels with groups and strata as numbers; all arrays have the shape (pairs,).

    Attributes:
        label: Outcome, 0 if the pair is not labelled or does not count.
        is_labelled: Whether there is an outcome, on a pair that counts.
        weight: How much a pair counts in the set.
        inverse: Weight over the probability of having been chosen, up to a factor; 0 where the
            pair is not labelled.
        group: Group, coded 0 .. n_groups - 1.
        stratum: Stratum, coded in the order of the names.
    """

    label: FloatArray
    is_labelled: BoolArray
    weight: FloatArray
    inverse: FloatArray
    group: IntArray
    stratum: IntArray

    @property
    def n_labelled(self) -> int:
        """Number of labelled pairs."""
        return int(self.is_labelled.sum())

    @property
    def n_groups(self) -> int:
        """Number of groups, labelled or not."""
        return int(np.unique(self.group).size)

    @property
    def n_labelled_groups(self) -> int:
        """Number of groups with a labelled pair."""
        return int(np.unique(self.group[self.is_labelled]).size)

    def take(self, rows: ArrayLike) -> LabelledSample:
        """Return some of the pairs (a mask or an index array)."""
        kept = np.asarray(rows)
        return LabelledSample(
            self.label[kept],
            self.is_labelled[kept],
            self.weight[kept],
            self.inverse[kept],
            self.group[kept],
            self.stratum[kept],
        )

    def without_strata(self) -> LabelledSample:
        """Return the same pairs in one stratum, with the shares labelled in the weights.

        In a stratum with n of N pairs labelled each was chosen with probability n / N: that is
        what weights need where a part of the pairs, or a model, has no label in some stratum.
        """
        scale = np.bincount(self.stratum, self.weight) / np.bincount(self.stratum, self.inverse)
        inverse = self.inverse * scale[self.stratum]
        return replace(self, inverse=inverse, stratum=np.zeros_like(self.stratum))


def labelled_sample(
    labels: HumanLabels, n_pairs: int, weight: FloatArray | None = None
) -> LabelledSample:
    """Check labels and turn names into numbers; the weight of a pair defaults to 1.

    Raises:
        InvalidArgument: A field has another length than the predictions, a label lies outside
            [0, 1], a probability of a labelled pair outside (0, 1], there is no label, or none in
            some stratum, or a group or stratum has no name.
    """
    value = np.asarray(labels.value, dtype=np.float64)
    _check_length("value", value, n_pairs)
    weights = np.ones(n_pairs) if weight is None else weight
    is_labelled = ~np.isnan(value) & (weights > 0)
    if not is_labelled.any():
        raise InvalidArgument("labels.value: no pair is labelled")
    label = np.where(is_labelled, value, 0.0)
    if not ((label >= 0) & (label <= 1)).all():
        raise InvalidArgument("labels.value must lie in [0, 1] (nan where a pair has no label)")
    stratum = _coded("strata", labels.strata, np.zeros(n_pairs, dtype=np.int64))
    empty = np.bincount(stratum, is_labelled) == 0
    if empty.any():
        name = np.unique(np.asarray(labels.strata))[empty][0]
        raise InvalidArgument(f"labels.strata: stratum {name} has no labelled pair")
    return LabelledSample(
        label,
        is_labelled,
        weights,
        weights * _inverse_probability(labels.probability, is_labelled),
        _coded("groups", labels.groups, np.arange(n_pairs)),
        stratum,
    )


def _inverse_probability(probability: ArrayLike | None, is_labelled: BoolArray) -> FloatArray:
    if probability is None:
        return is_labelled.astype(np.float64)
    chance = np.asarray(probability, dtype=np.float64)
    _check_length("probability", chance, len(is_labelled))
    known = np.where(is_labelled, chance, 1.0)
    if not ((known > 0) & (known <= 1)).all():
        raise InvalidArgument("labels.probability must lie in (0, 1] where a pair has a label")
    return np.asarray(is_labelled / known, dtype=np.float64)


def _coded(name: str, names: ArrayLike | None, default: IntArray) -> IntArray:
    if names is None:
        return default
    array = np.asarray(names)
    _check_length(name, array, len(default))
    if (array != array).any():
        raise InvalidArgument(f"labels.{name} must not be nan")
    try:
        codes = np.unique(array, return_inverse=True)[1]
    except TypeError as error:
        raise InvalidArgument(f"labels.{name} must be names of one kind, none missing") from error
    return np.asarray(codes.reshape(-1), dtype=np.int64)


def _check_length(name: str, array: NDArray[np.generic], n_pairs: int) -> None:
    if array.shape != (n_pairs,):
        raise InvalidArgument(f"labels.{name} must have shape ({n_pairs},), not {array.shape}")
