"""Peak memory of a process that creates, judges and reads out a batch, by the batch's size.

The dataset is imported before, in another process.
"""

from __future__ import annotations

import asyncio
import json
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from app.batches import service as batches
from benchmarks.batches import made_batch
from benchmarks.batches.databases import fresh_databases
from benchmarks.batches.figures import Figure, Side
from benchmarks.batches.server_process import environment
from benchmarks.measuring import ResultsDiffer

_PAIRS: Final = 100_000
_TIMES: Final = 10
_TEXT_LENGTH: Final = 20


def measure(*, is_small: bool, rounds: int) -> Iterator[Figure]:
    """Yield the peak of a large batch over that of one a tenth as large; once, on SQLite."""
    del rounds  # memory does not vary as time does
    pairs = 100 if is_small else _PAIRS
    small, large = (_peak_of(n) for n in (pairs, _TIMES * pairs))
    yield Figure(
        "create, judge and read a batch, SQLite",
        Side(f"{_TIMES * pairs:,} pairs", [large], "MiB"),
        Side(f"{pairs:,} pairs", [small], "MiB"),
        "peak memory",
        "<= 1.3",
    )


def _peak_of(pairs: int) -> float:
    with fresh_databases("SQLite") as fresh:
        url = fresh()
        asyncio.run(_import(url, pairs))
        command = [sys.executable, "-m", "benchmarks.batches.peak_memory", url]
        ended = subprocess.run(command, env=environment(), check=True, stdout=subprocess.PIPE)
    found = json.loads(ended.stdout)
    if found["verdicts"] != pairs:
        raise ResultsDiffer(f"{found['verdicts']} verdicts on {pairs} pairs")
    return float(found["peak_mib"])


async def _import(url: str, pairs: int) -> None:
    async with made_batch.opened(url) as running:
        await made_batch.import_pairs(running, pairs, text_length=_TEXT_LENGTH)


async def _judge(url: str) -> int:
    """Create, judge and read a batch; return how many verdicts it has."""
    async with made_batch.opened(url) as running:
        batch_id = await made_batch.create(running)
        _note("created")
        await made_batch.work(running)
        _note("judged")
        verdicts = 0
        async for _ in await batches.results(running, batch_id):
            verdicts += 1
        _note("read")
    return verdicts


def _note(done: str) -> None:
    print(f"  {done}: {_peak_mib():.0f} MiB at most so far", file=sys.stderr, flush=True)


def _peak_mib() -> float:
    """Return the largest memory that this process had; what it was started from does not count."""
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


if __name__ == "__main__":
    count = asyncio.run(_judge(sys.argv[1]))
    print(json.dumps({"verdicts": count, "peak_mib": _peak_mib()}))
