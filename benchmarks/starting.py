"""CPU time of the command line, against that of a process that only imports httpx."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from benchmarks.measuring import Baseline, Benchmark, Contender

_ROOT = Path(__file__).resolve().parents[1]
_TRIBUNAL = (sys.executable, "-m", "app")
_HELP, _READING = 1.5, 4.0
_KINDS = ("datasets", "calibrations", "batches", "leaderboards")


def prepare(*, is_small: bool) -> Benchmark:
    """Make a database with a dataset, and start each command once, so that all code is compiled."""
    folder = Path(tempfile.mkdtemp(prefix="tribunal-starting-"))
    here = {"DATABASE_URL": f"sqlite:///{folder}/one.db", "PYTHONPATH": str(_ROOT)}
    row = '{"id":"p","prompt":"q","response_a":"a","response_b":"b"}\n'
    (folder / "one.jsonl").write_text(row)
    _run((*_TRIBUNAL, "import", str(folder / "one.jsonl")), here)()
    verbs = (
        ("--version", _HELP),
        ("--help", _HELP),
        *((f"{kind} list", _READING) for kind in _KINDS),
        ("datasets show one", _READING),
    )
    contenders = [
        Contender(
            f"tribunal {verb}",
            _run((*_TRIBUNAL, *verb.split()), here),
            lambda ours, theirs: ours == theirs,
            wanted=wanted,
        )
        for verb, wanted in (verbs[:1] if is_small else verbs)
    ]
    baseline = Baseline(
        "python -c 'import httpx'", _run((sys.executable, "-c", "import httpx"), here)
    )
    return Benchmark("start, in this process", baseline, tuple(contenders))


def _run(command: tuple[str, ...], environment: Mapping[str, str]) -> Callable[[], int]:
    others = {name: value for name, value in os.environ.items() if not name.startswith("TRIBUNAL_")}

    def run() -> int:
        ended = subprocess.run(
            command, env={**others, **environment}, stdout=subprocess.DEVNULL, check=True
        )
        return ended.returncode

    return run
