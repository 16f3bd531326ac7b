"""The difference of two estimates that were made apart."""

from __future__ import annotations

import numpy as np

from calibration.estimate import Estimate


def difference_of(after: Estimate, before: Estimate) -> Estimate:
    """Return `after` minus `before` with the square-and-add interval of the two (Zou, Donner 2008).

    With limits (l, u) of each value v: low = d - sqrt((v1 - l1)^2 + (u2 - v2)^2), high likewise. It
    holds for independent samples; two measurements on the same units mostly go up and down
    together, and the interval is then too wide rather than too narrow. n is the smaller of the two.
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
