"""Estimate (value, low, high, level, n) and the difference of two."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Estimate:
    """A statistic and its confidence interval.

    Attributes:
        value: The statistic on the whole sample; None where it is not defined (no data, or a
            chance-corrected coefficient when only one category occurs).
        low: Lower end of the interval; None where no interval can be given, for instance because
            all rows belong to one group.
        high: Upper end of the interval; None exactly when `low` is.
        confidence_level: Nominal coverage of the interval, such as .95.
        n: Number of observations behind the value; each function says what it counts.
    """

    value: float | None
    low: float | None
    high: float | None
    confidence_level: float
    n: int


def difference_of(after: Estimate, before: Estimate) -> Estimate:
    """Return `after` minus `before` with the square-and-add interval of the two (Zou, Donner 2008).

    With limits (l, u) of each value v: low = d - sqrt((v1 - l1)^2 + (u2 - v2)^2), high likewise. It
    holds for independent samples; two measurements on the same units mostly go up and down
    together, and the interval is then too wide rather than too narrow. n is the smaller of the two.

    Example:
        >>> after, before = Estimate(0.8, 0.7, 0.9, 0.95, 100), Estimate(0.6, 0.5, 0.7, 0.95, 100)
        >>> found = difference_of(after, before)
        >>> round(found.value, 3), round(found.low, 3), round(found.high, 3)
        (0.2, 0.059, 0.341)
    """
    n = min(after.n, before.n)
    level = after.confidence_level
    if after.value is None or before.value is None:
        return Estimate(None, None, None, level, n)
    value = after.value - before.value
    ends = (after.low, after.high, before.low, before.high)
    if None in ends or after.confidence_level != before.confidence_level:
        return Estimate(value, None, None, level, n)
    low1, high1, low2, high2 = (float(end) for end in ends if end is not None)
    down = float(np.hypot(after.value - low1, high2 - before.value))
    up = float(np.hypot(high1 - after.value, before.value - low2))
    return Estimate(value, value - down, value + up, level, n)
