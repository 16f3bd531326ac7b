"""Ratios of what was measured in turns, and their table."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.table import aligned

_HEADINGS = ("work", "ours", "over", "of", "ratio", "rounds from .. to", "wanted")


@dataclass(frozen=True, slots=True)
class Seconds:
    """Wall time, and CPU time of this process with all its threads."""

    wall: float
    cpu: float

    @classmethod
    def now(cls) -> Seconds:
        """Return what the clocks say."""
        return cls(time.perf_counter(), time.process_time())

    def passed(self) -> Seconds:
        """Return what has passed since."""
        now = Seconds.now()
        return Seconds(now.wall - self.wall, now.cpu - self.cpu)


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a ratio: its name, and its value in each round."""

    name: str
    values: Sequence[float]
    unit: str

    @property
    def median(self) -> float:
        """The median of the rounds."""
        return median(self.values)

    def __str__(self) -> str:
        """Say what it is and its median."""
        return f"{self.name}: {self.median:,.{0 if self.median >= 100 else 2}f} {self.unit}"


@dataclass(frozen=True, slots=True)
class Figure:
    """One side over the other.

    Attributes:
        work: On what, in words.
        ours: What is measured.
        baseline: What it is measured against, in the same rounds.
        measured: What the values are of, such as wall time.
        wanted: What is aimed at, such as `>= 0.5`; empty without an aim.
    """

    work: str
    ours: Side
    baseline: Side
    measured: str
    wanted: str = ""

    @property
    def ratio(self) -> float:
        """The median of ours over the median of the baseline."""
        return self.ours.median / self.baseline.median

    @property
    def by_round(self) -> list[float]:
        """The ratio of each round."""
        return [a / b for a, b in zip(self.ours.values, self.baseline.values, strict=True)]


def table(figures: Iterable[Figure]) -> str:
    """Return figures as a Markdown table."""
    return aligned([_HEADINGS, *(_cells(one) for one in figures)])


def _cells(one: Figure) -> tuple[str, ...]:
    rounds = one.by_round
    return (
        one.work,
        str(one.ours),
        str(one.baseline),
        one.measured,
        f"{one.ratio:.2f}",
        f"{min(rounds):.2f} .. {max(rounds):.2f} ({len(rounds)})",
        one.wanted,
    )
