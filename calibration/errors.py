"""The error tree, and the check of what is given as a source of chance.

CalibrationError (ValueError)
├── InvalidArgument       an array of the wrong shape, a number out of its range
├── UnavailableMethod     a method, or a variant of one, that is not offered
└── UndeclaredBound       a test needs a bound that only the caller can know
"""

from __future__ import annotations

import numpy as np


class CalibrationError(ValueError):
    """Base of every error that this package raises on purpose."""


class InvalidArgument(CalibrationError):
    """An argument has the wrong shape, or a value outside its range."""


class UnavailableMethod(CalibrationError):
    """The method, or the variant, asked for is not offered; the message names those that are."""


class UndeclaredBound(CalibrationError):
    """A test needs a bound on group sizes or label probabilities, and none was declared.

    Such a bound may never be read off the sample that the test is applied to.
    """


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


Rng = int | np.random.Generator | None


def as_generator(rng: Rng) -> np.random.Generator:
    """Return a source of chance.

    Args:
        rng: A Generator is returned as it is; a seed makes one that gives the same numbers each
            time; None makes one that differs each time.

    Raises:
        InvalidArgument: It is a negative seed, the module `numpy.random`, or something else.
    """
    if isinstance(rng, np.random.Generator):
        return rng
    is_seed = isinstance(rng, int | np.integer) and not isinstance(rng, bool) and rng >= 0
    if rng is None or is_seed:
        return np.random.default_rng(rng)
    raise InvalidArgument(
        "rng must be a seed (an int from 0 on), a numpy.random.Generator or None, not "
        f"{rng!r} of type {type(rng).__name__}"
    )
