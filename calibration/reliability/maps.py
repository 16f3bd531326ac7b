"""Maps from confidence to probability: applied anywhere, stored as plain parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol, get_args

import numpy as np
import scipy
from numpy.typing import ArrayLike

from calibration.arrays import FloatArray
from calibration.cascade import CONFIDENCE_DECIMALS, rounded
from calibration.errors import InvalidArgument

LogisticMethod = Literal["temperature", "platt", "beta"]

_LEAST_OF_TWO = 0.5
# Certainty itself has no logit; half of the last decimal keeps it apart from what is next to it.
_CERTAIN = 0.5 * 10.0**-CONFIDENCE_DECIMALS


class RecalibrationMap(Protocol):
    """A non-decreasing map from confidence to the probability of agreement with people."""

    def apply(self, confidence: ArrayLike) -> FloatArray:
        """Recalibrate numbers in [0, 1] of any shape; nan stays nan."""
        ...

    def parameters(self) -> dict[str, Any]:
        """Return everything the map consists of, ready for JSON."""
        ...


@dataclass(frozen=True, slots=True)
class LogisticMap:
    """Map logit(probability) = a ln(2 c) - b ln(2 (1 - c)) + intercept.

    With a = b it is a logit(c) + intercept (Platt), and without an intercept temperature scaling.

    Attributes:
        method: How it was fitted.
        a: Weight of ln(2 c), at least 0.
        b: Weight of -ln(2 (1 - c)), at least 0.
        intercept: Logit of the probability at confidence one half; at least 0 in a mirrored map.
        is_mirrored: Below one half the map is the mirror image of itself above.
    """

    method: LogisticMethod
    a: float
    b: float
    intercept: float
    is_mirrored: bool

    @property
    def temperature(self) -> float:
        """The divisor of logits (1 / a) of a one-parameter map; infinite for a = 0."""
        return 1 / self.a if self.a > 0 else np.inf

    def apply(self, confidence: ArrayLike) -> FloatArray:
        """Recalibrate numbers in [0, 1] of any shape; nan stays nan.

        A mirrored map takes preferences too: apply(1 - p) is exactly 1 - apply(p), and one half
        stays one half.

        Raises:
            InvalidArgument: A number outside [0, 1].
        """
        return _applied(self._probability, confidence, self.is_mirrored)

    def parameters(self) -> dict[str, Any]:
        """Return everything the map consists of, ready for JSON."""
        return {
            "method": self.method,
            "a": self.a,
            "b": self.b,
            "intercept": self.intercept,
            "is_mirrored": self.is_mirrored,
        }

    def _probability(self, confidence: FloatArray) -> FloatArray:
        up, down = logistic_terms(confidence)
        logit = self.a * up + self.b * down + self.intercept
        return np.asarray(scipy.special.expit(logit), dtype=np.float64)


@dataclass(frozen=True, slots=True)
class IsotonicMap:
    """Piecewise linear map through the ends of the pooled blocks, level beyond the outer ones.

    Attributes:
        confidence: Strictly increasing.
        probability: Non-decreasing, at least one half in a mirrored map; of the same length.
        is_mirrored: As for `LogisticMap`.
    """

    confidence: tuple[float, ...]
    probability: tuple[float, ...]
    is_mirrored: bool

    def apply(self, confidence: ArrayLike) -> FloatArray:
        """Recalibrate numbers in [0, 1] of any shape; nan stays nan.

        Raises:
            InvalidArgument: A number outside [0, 1].
        """
        return _applied(self._probability, confidence, self.is_mirrored)

    def parameters(self) -> dict[str, Any]:
        """Return everything the map consists of, ready for JSON."""
        return {
            "method": "isotonic",
            "confidence": list(self.confidence),
            "probability": list(self.probability),
            "is_mirrored": self.is_mirrored,
        }

    def _probability(self, confidence: FloatArray) -> FloatArray:
        knots, values = np.array(self.confidence), np.array(self.probability)
        following = np.minimum(np.searchsorted(knots, confidence), knots.size - 1)
        # interpolation may pass the next knot's value in the last bit
        between = np.interp(confidence, knots, values)
        return np.asarray(np.minimum(between, values[following]), dtype=np.float64)


def recalibration_from(parameters: Mapping[str, Any]) -> LogisticMap | IsotonicMap:
    """Make a map from the parameters that its `parameters` method returned.

    Raises:
        InvalidArgument: A part is missing, the method is unknown, or the parameters are of no
            non-decreasing map.

    >>> halved = LogisticMap("temperature", a=0.5, b=0.5, intercept=0.0, is_mirrored=True)
    >>> recalibration_from(halved.parameters()) == halved
    True
    """
    try:
        method, is_mirrored = parameters["method"], parameters["is_mirrored"]
        if method == "isotonic":
            knots, values = (
                tuple(map(float, parameters[k])) for k in ("confidence", "probability")
            )
            return _checked_isotonic(IsotonicMap(knots, values, is_mirrored))
        a, b, intercept = (float(parameters[name]) for name in ("a", "b", "intercept"))
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidArgument(
            f"these are not the parameters of a recalibration: {error!r}"
        ) from error
    if method not in get_args(LogisticMethod):
        raise InvalidArgument(f"unknown recalibration method {method!r}")
    return _checked_logistic(LogisticMap(method, a, b, intercept, is_mirrored))


def _checked_isotonic(made: IsotonicMap) -> IsotonicMap:
    knots, values = np.array(made.confidence), np.array(made.probability)
    if not 0 < knots.size == values.size:
        raise InvalidArgument("confidence and probability must have one length, at least 1")
    if not ((np.diff(knots) > 0).all() and knots[0] >= 0 and knots[-1] <= 1):
        raise InvalidArgument("confidence must increase strictly within [0, 1]")
    least = _LEAST_OF_TWO if made.is_mirrored else 0.0
    if not ((np.diff(values) >= 0).all() and values[0] >= least and values[-1] <= 1):
        raise InvalidArgument(f"probability must not decrease, and lie in [{least:g}, 1]")
    _check_flag(made.is_mirrored)
    return made


def _checked_logistic(made: LogisticMap) -> LogisticMap:
    if not all(np.isfinite(slope) and slope >= 0 for slope in (made.a, made.b)):
        raise InvalidArgument("a and b must be finite, and not negative")
    if not np.isfinite(made.intercept) or (made.is_mirrored and made.intercept < 0):
        raise InvalidArgument("intercept must be finite, and not negative in a mirrored map")
    _check_flag(made.is_mirrored)
    return made


def _check_flag(is_mirrored: object) -> None:
    if not isinstance(is_mirrored, bool):
        raise InvalidArgument(f"is_mirrored must be true or false, not {is_mirrored!r}")


class LogisticTerms(NamedTuple):
    """ln(2 c) and -ln(2 (1 - c)); their sum is the logit of c, and both are 0 at one half."""

    up: FloatArray
    down: FloatArray


def logistic_terms(confidence: FloatArray) -> LogisticTerms:
    """Return the terms of the logistic maps; certainty counts as 5e-13 away from 0 and 1."""
    inside = np.clip(confidence, _CERTAIN, 1 - _CERTAIN)
    return LogisticTerms(np.log(2 * inside), -np.log(2 * (1 - inside)))


def sureness(preference: FloatArray) -> FloatArray:
    """Return max(p, 1 - p), rounded so that a pair and its mirror image get the same."""
    return rounded(np.maximum(preference, 1.0 - preference))


class _Probability(Protocol):
    def __call__(self, confidence: FloatArray, /) -> FloatArray: ...


def _applied(probability: _Probability, confidence: ArrayLike, is_mirrored: bool) -> FloatArray:
    scores = np.asarray(confidence, dtype=np.float64)
    if np.any((scores < 0) | (scores > 1)):
        raise InvalidArgument("confidence must lie in [0, 1] (nan where the judge failed)")
    if not is_mirrored:
        return probability(rounded(scores))
    sure = sureness(scores)
    # 1 - x is exact for x in [.5, 1], which makes the mirror image exact, too.
    preferred = np.maximum(probability(sure), _LEAST_OF_TWO)
    mirrored = np.where(scores < _LEAST_OF_TWO, 1.0 - preferred, preferred)
    is_open = sure == _LEAST_OF_TWO
    return np.asarray(np.where(is_open, _LEAST_OF_TWO, mirrored), dtype=np.float64)
