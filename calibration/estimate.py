"""A number that was measured on a sample, with the interval that says how well."""

from __future__ import annotations

from dataclasses import dataclass


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
