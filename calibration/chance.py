"""Sources of chance: always a generator that the caller made, never a hidden one."""

from __future__ import annotations

import numpy as np

from calibration.errors import InvalidArgument


def checked_rng(rng: object) -> np.random.Generator:
    """Return a source of chance, or say which type is wanted.

    Raises:
        InvalidArgument: It is a seed, a module or whatever else; generators are made by
            `numpy.random.default_rng`.
    """
    if isinstance(rng, np.random.Generator):
        return rng
    seed = rng if isinstance(rng, int) else 0
    raise InvalidArgument(
        f"rng must be a numpy.random.Generator, such as numpy.random.default_rng({seed}), not "
        f"{rng!r} of type {type(rng).__name__}"
    )
