"""The error tree of the library, and what it takes for a source of chance.

CalibrationError (ValueError)
├── InvalidArgument       an array of the wrong shape, a number out of its range
├── UnavailableMethod     a method, or a variant of one, that is not offered
└── UndeclaredBound       a test needs a bound that only the caller can know
"""

from __future__ import annotations

import numpy as np

Chance = int | np.random.Generator | None


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


def checked_rng(rng: Chance) -> np.random.Generator:
    """Return a source of chance.

    Args:
        rng: A Generator, which is used and advanced; a seed, for a new Generator that gives
            the same draws each time; or None, for fresh entropy, so that nothing can be repeated.

    Raises:
        InvalidArgument: It is something else, such as a module or a `RandomState`, or a negative
            seed.

    Example:
        >>> int(checked_rng(7).integers(100)) == int(np.random.default_rng(7).integers(100))
        True
    """
    if isinstance(rng, np.random.Generator):
        return rng
    is_seed = isinstance(rng, int | np.integer) and not isinstance(rng, bool) and rng >= 0
    if rng is None or is_seed:
        return np.random.default_rng(rng)
    raise InvalidArgument(
        "rng must be a numpy.random.Generator, such as numpy.random.default_rng(0), a seed of 0 or "
        f"more, or None for fresh entropy, not {rng!r} of type {type(rng).__name__}"
    )
