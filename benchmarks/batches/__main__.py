"""Measure batches and pages: `python -m benchmarks.batches [--small] [--only NAME] [--rounds N]`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from typing import Protocol

from benchmarks.batches import (
    core_insert,
    many_workers,
    pages,
    peak_memory,
    remote_calls,
    request_rate,
)
from benchmarks.batches.figures import Figure, table
from benchmarks.measuring import ResultsDiffer


class Measurement(Protocol):
    """Measures in so many rounds; `is_small` is for tests and says nothing about speed."""

    def __call__(self, *, is_small: bool, rounds: int) -> Iterator[Figure]:
        """Yield ratios."""
        ...


MEASUREMENTS: dict[str, Measurement] = {
    "core-insert": core_insert.measure,
    "requests": request_rate.measure,
    "memory": peak_memory.measure,
    "workers": many_workers.measure,
    "remote-calls": remote_calls.measure,
    "pages": pages.measure,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the chosen measurements; 1 if some result is not what it must be."""
    options = _parser().parse_args(arguments)
    figures: list[Figure] = []
    for name in options.only or MEASUREMENTS:
        print(f"{name} ... (load {_load()})", file=sys.stderr, flush=True)
        try:
            figures += MEASUREMENTS[name](is_small=options.small, rounds=options.rounds)
        except ResultsDiffer as difference:
            print(difference, file=sys.stderr)
            return 1
    print(table(figures))
    print(f"\nMedians over interleaved rounds; {os.cpu_count()} cores, load {_load()} at the end.")
    return 0


def _load() -> str:
    return " ".join(f"{one:.1f}" for one in os.getloadavg())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.batches", description=__doc__)
    names = list(MEASUREMENTS)
    parser.add_argument(
        "--only", action="append", choices=names, metavar="NAME", help=f"one of {', '.join(names)}"
    )
    parser.add_argument("--small", action="store_true", help="tiny inputs: do they run at all?")
    parser.add_argument("--rounds", type=int, default=5, help="rounds (default 5)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
