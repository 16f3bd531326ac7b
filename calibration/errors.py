"""What can be wrong with the arguments of a certification.

CalibrationError (ValueError)
├── InvalidArgument       an array of the wrong shape, a number out of its range
├── UnavailableMethod     a method, or a variant of one, that is not offered
└── UndeclaredBound       a test needs a bound that only the caller can know
"""

from __future__ import annotations


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
