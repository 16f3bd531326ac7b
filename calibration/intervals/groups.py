"""Groups of rows, and the confidence level of intervals over them.

Pairs of one prompt are not independent, so the group is the unit of chance: groups are taken to be
independent draws from one population, and rows of one group may depend on each other in any way.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from calibration.arrays import FloatArray, IntArray
from calibration.errors import InvalidArgument

DEFAULT_CONFIDENCE_LEVEL = 0.95


@dataclass(frozen=True, slots=True, eq=False)
class Groups:
    """The group of each row, and the confidence level of intervals over these groups.

    Attributes:
        codes: Group of each row, coded 0 .. n_groups - 1 with none absent; shape (rows,).
        n_groups: Number of groups.
        confidence_level: Nominal coverage of the intervals.
    """

    codes: IntArray
    n_groups: int
    confidence_level: float = DEFAULT_CONFIDENCE_LEVEL

    @classmethod
    def of(cls, names: ArrayLike, confidence_level: float = DEFAULT_CONFIDENCE_LEVEL) -> Groups:
        """Number the groups of some rows, in the order of their names.

        Args:
            names: Name or number of each row's group, shape (rows,).
            confidence_level: Coverage of the intervals, inside (0, 1).

        Raises:
            InvalidArgument: The names are not a vector, are of kinds that cannot be compared, one
                is nan, or the confidence level is out of range.

        >>> groups = Groups.of(["q2", "q1", "q2"], confidence_level=0.9)
        >>> groups.codes.tolist(), groups.n_groups
        ([1, 0, 1], 2)
        """
        if not 0 < confidence_level < 1:
            raise InvalidArgument(
                f"confidence_level must lie inside (0, 1), not {confidence_level}"
            )
        named = np.asarray(names)
        if named.ndim != 1:
            raise InvalidArgument(f"groups must have the shape (rows,), not {named.shape}")
        if named.dtype.kind == "f" and np.isnan(named).any():
            raise InvalidArgument(
                "groups must not be nan: rows of unknown groups are not one group"
            )
        try:
            distinct, codes = np.unique(named, return_inverse=True)
        except TypeError as mixed:
            raise InvalidArgument(
                "groups must be all names or all numbers, none missing"
            ) from mixed
        return cls(codes.reshape(-1), len(distinct), confidence_level)

    @classmethod
    def single(cls, n_rows: int, confidence_level: float = DEFAULT_CONFIDENCE_LEVEL) -> Groups:
        """Make every row its own group."""
        return cls(np.arange(n_rows), n_rows, confidence_level)

    @classmethod
    def numbered(cls, codes: IntArray, n_codes: int, confidence_level: float) -> Groups:
        """Leave out the numbers 0 .. n_codes - 1 that no row has."""
        is_present = np.bincount(codes, minlength=n_codes) > 0
        place = np.cumsum(is_present) - 1
        return cls(place[codes], int(is_present.sum()), confidence_level)

    def take(self, rows: ArrayLike) -> Groups:
        """Return the groups of some of the rows (a mask or an index array)."""
        return Groups.numbered(self.codes[np.asarray(rows)], self.n_groups, self.confidence_level)

    def __len__(self) -> int:
        """Return the number of rows."""
        return self.codes.size

    @property
    def is_independent(self) -> bool:
        """True if no two rows share a group."""
        return self.n_groups == self.codes.size

    @property
    def tail(self) -> float:
        """Probability left on either side of an interval."""
        return (1.0 - self.confidence_level) / 2.0

    def sums(self, values: ArrayLike) -> FloatArray:
        """Sum the rows' values in each group, shape (n_groups,)."""
        weights = np.asarray(values, dtype=np.float64)
        summed = np.bincount(self.codes, weights=weights, minlength=self.n_groups)
        return np.asarray(summed, dtype=np.float64)

    def standard_error(self, influence: ArrayLike) -> float:
        """Return sqrt(G / (G - 1) x sum over groups of squared influences); needs two groups.

        The influence of a row is how far it moves the statistic; summed within groups, these give
        the standard error whatever the dependence inside a group.
        """
        squared = float((self.sums(influence) ** 2).sum())
        return float(np.sqrt(squared * self.n_groups / (self.n_groups - 1)))

    def holding(self, rows: ArrayLike) -> int:
        """Count the groups that hold at least one of the marked rows (a mask)."""
        return int(np.unique(self.codes[np.asarray(rows, dtype=np.bool_)]).size)

    def holding_rarer(self, values: ArrayLike) -> int:
        """Count the groups that hold the rarer of the outcomes 0 and 1, of values in [0, 1]."""
        share = np.asarray(values, dtype=np.float64)
        return min(self.holding(share > 0), self.holding(share < 1))


GroupsLike = Groups | ArrayLike | None


def as_groups(groups: GroupsLike, n_rows: int) -> Groups:
    """Return the groups of `n_rows` rows, at the default confidence level unless they say another.

    Args:
        groups: `Groups`, or the name or number of each row's group; None makes every row its own.
        n_rows: Number of rows that they must be of.

    Raises:
        InvalidArgument: The groups are of another number of rows, or as for `Groups.of`.
    """
    if groups is None:
        return Groups.single(n_rows)
    given = groups if isinstance(groups, Groups) else Groups.of(groups)
    if len(given) != n_rows:
        raise InvalidArgument(f"groups must be those of the {n_rows} rows, not of {len(given)}")
    return given
