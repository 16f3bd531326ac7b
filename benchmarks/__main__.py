"""Run the benchmarks and print their ratios: `python -m benchmarks [--only NAME] [--json]`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the chosen benchmarks; 1 if some results disagree."""
    from benchmarks.catalogue import BENCHMARKS
    from benchmarks.measuring import Ratio, ResultsDiffer, measure
    from benchmarks.table import table

    options = _parser(list(BENCHMARKS)).parse_args(arguments)
    measured: dict[str, list[Ratio]] = {}
    for name in options.only or BENCHMARKS:
        print(f"{name} ...", file=sys.stderr, flush=True)
        try:
            measured[name] = measure(BENCHMARKS[name](is_small=options.small), options.repeats)
        except ResultsDiffer as difference:
            print(difference, file=sys.stderr)
            return 1
    if options.json:
        rows = [
            {"name": name, **asdict(one)} for name, ratios in measured.items() for one in ratios
        ]
        print(json.dumps(rows, indent=1))
    else:
        print(table(one for ratios in measured.values() for one in ratios))
    return 0


def _parser(names: list[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "--only", action="append", choices=names, metavar="NAME", help=f"one of {', '.join(names)}"
    )
    parser.add_argument("--small", action="store_true", help="tiny inputs: do they run at all?")
    parser.add_argument("--repeats", type=int, default=5, help="rounds per benchmark (default 5)")
    parser.add_argument("--json", action="store_true", help="JSON instead of a table")
    return parser


if __name__ == "__main__":
    # Read when numpy is first imported: threads that wait would count as CPU time.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    sys.exit(main())
