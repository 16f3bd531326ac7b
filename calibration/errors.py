"""The error tree of the library, and what it takes for a source of chance.

CalibrationError (ValueError)
├── InvalidArgument       an array of the wrong shape, a number out of its range
├── UnavailableMethod     a method, or a variant of one, that is not offered
└── UndeclaredBound       a test needs a bound that only the caller can know
"""

from __future__ import annotations

import numpy as np

Rng = int | np.random.Generator | None


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


def as_generator(rng: Rng) -> np.random.Generator:
    """Return a source of chance.

    Args:
        rng: A Generator is returned as it is, and what is drawn advances it; a seed makes one that
            gives the same numbers each time; None makes one from fresh entropy, which cannot be
            repeated.

    Raises:
        InvalidArgument: It is a negative seed, the module `numpy.random`, or something else.

    Example:
        >>> int(as_generator(7).integers(100)) == int(np.random.default_rng(7).integers(100))
        True
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
