"""Ratios of process CPU time between contenders that run in turns on the same input.

CPU time, not wall time, and medians over interleaved rounds: other processes on the machine then
disturb both sides alike. A ratio counts only if both sides found the same result.
"""

from __future__ import annotations

import gc
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any


class ResultsDiffer(Exception):
    """A contender's result disagrees with that of the baseline."""


def _nothing() -> None:
    """Leave everything as it is."""


@dataclass(frozen=True, slots=True)
class Baseline:
    """What the others are measured against.

    Attributes:
        name: What it is, in words.
        run: The work; what it returns is compared.
    """

    name: str
    run: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class Contender:
    """One of our ways to do the work.

    Attributes:
        name: What it is, in words.
        run: The work; what it returns is compared.
        agrees: Whether a result of `run` (first) and one of the baseline (second) agree.
        before: Done before each round, not timed.
        loops: Runs a round, for work that is too short to be timed alone.
        wanted: The ratio that is aimed at, or less; None without an aim.
    """

    name: str
    run: Callable[[], Any]
    agrees: Callable[[Any, Any], bool]
    before: Callable[[], None] = _nothing
    loops: int = 1
    wanted: float | None = None


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A baseline and its contenders on one input."""

    work: str
    baseline: Baseline
    contenders: tuple[Contender, ...]


@dataclass(frozen=True, slots=True)
class Ratio:
    """CPU time of a contender over that of the baseline.

    Attributes:
        work: The input, in words.
        contender: What was measured.
        baseline: What it was measured against.
        ratio: Median time of the contender over the median time of the baseline.
        lowest: Least ratio within one round.
        highest: Largest ratio within one round.
        repeats: Number of rounds.
        wanted: The ratio that is aimed at, or less.
    """

    work: str
    contender: str
    baseline: str
    ratio: float
    lowest: float
    highest: float
    repeats: int
    wanted: float | None


def measure(benchmark: Benchmark, repeats: int) -> list[Ratio]:
    """Measure every contender against the baseline.

    Raises:
        ResultsDiffer: A contender's result disagrees with the baseline's.
    """
    baseline, contenders = benchmark.baseline, benchmark.contenders
    _check_results(benchmark)
    below: list[float] = []
    above: list[list[float]] = [[] for _ in contenders]
    for _ in range(repeats):
        below.append(_seconds(baseline.run, 1))
        for contender, seconds in zip(contenders, above, strict=True):
            contender.before()
            seconds.append(_seconds(contender.run, contender.loops))
    return [
        _ratio(benchmark, contender, seconds, below)
        for contender, seconds in zip(contenders, above, strict=True)
    ]


def _check_results(benchmark: Benchmark) -> None:
    """Run each side once, untimed: the results must agree, and imports and memos are then done."""
    expected = benchmark.baseline.run()
    for contender in benchmark.contenders:
        if not contender.agrees(contender.run(), expected):
            raise ResultsDiffer(
                f"{benchmark.work}: {contender.name} and {benchmark.baseline.name} disagree"
            )


def _seconds(run: Callable[[], Any], loops: int) -> float:
    gc.collect()
    started = _cpu_seconds()
    for _ in range(loops):
        run()
    return (_cpu_seconds() - started) / loops


def _cpu_seconds() -> float:
    """Return the CPU time of this process, and of the processes that it started and that ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def _ratio(
    benchmark: Benchmark, contender: Contender, seconds: list[float], below: list[float]
) -> Ratio:
    by_round = [ours / theirs for ours, theirs in zip(seconds, below, strict=True)]
    return Ratio(
        work=benchmark.work,
        contender=contender.name,
        baseline=benchmark.baseline.name,
        ratio=median(seconds) / median(below),
        lowest=min(by_round),
        highest=max(by_round),
        repeats=len(below),
        wanted=contender.wanted,
    )
