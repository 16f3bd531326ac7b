"""Groups of rows by name: those that are not known must not pass for one group."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from calibration.arrays import IntArray
from calibration.errors import InvalidArgument


class NumberedGroups(NamedTuple):
    """The distinct names in order, and the number of each row's group among them."""

    names: NDArray[Any]
    number: IntArray


def numbered_groups(groups: ArrayLike) -> NumberedGroups:
    """Number the groups of some rows.

    Raises:
        InvalidArgument: They are no vector, are of kinds that cannot be compared, or one is nan.
    """
    named = np.asarray(groups)
    if named.ndim != 1:
        raise InvalidArgument(f"groups must have the shape (rows,), not {named.shape}")
    if named.dtype.kind == "f" and np.isnan(named).any():
        raise InvalidArgument("groups must not be nan: rows of unknown groups are not one group")
    try:
        names, codes = np.unique(named, return_inverse=True)
    except TypeError as mixed:
        raise InvalidArgument("groups must be all names or all numbers, none missing") from mixed
    return NumberedGroups(names, codes.reshape(-1))
