"""Four worker processes on one PostgreSQL, over one."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from app.batches import stored as batches
from app.core.models import UNFINISHED_BATCH
from app.core.runtime import Runtime
from benchmarks.batches import made_batch
from benchmarks.batches.databases import Fresh, fresh_databases, has_postgresql
from benchmarks.batches.figures import Figure, Side
from benchmarks.batches.server_process import environment
from benchmarks.measuring import ResultsDiffer

_MANY: Final = 4
_SMALL_MANY: Final = 2
_POLL_SECONDS: Final = 0.05


@dataclass(frozen=True, slots=True)
class _Plan:
    """A judge that takes so long, and a batch for it."""

    name: str
    seconds: float
    pairs: int
    shard_size: int
    wanted: str


_PLANS: Final = (
    _Plan("judge that sleeps 0.5 s", 0.5, 16_384, 512, ">= 2.5"),
    _Plan("free judge", 0.0, 64_000, 2_000, ">= 0.9"),
)
_SMALL_PLANS: Final = (_Plan("judge that sleeps 0.01 s", 0.01, 80, 10, ">= 2.5"),)


def measure(*, is_small: bool, rounds: int) -> Iterator[Figure]:
    """Yield a ratio of verdicts per second for a slow and a free judge."""
    if not has_postgresql():
        return
    processes = _SMALL_MANY if is_small else _MANY
    with fresh_databases("PostgreSQL") as fresh:
        for plan in _SMALL_PLANS if is_small else _PLANS:
            one, many = [], []
            for _ in range(rounds):
                one.append(_rate(fresh, plan, 1))
                many.append(_rate(fresh, plan, processes))
            yield Figure(
                f"{plan.pairs:,} pairs, {plan.name}, PostgreSQL",
                Side(f"{processes} worker processes", many, "verdicts/s"),
                Side("1 worker process", one, "verdicts/s"),
                "wall time",
                plan.wanted,
            )


def _rate(fresh: Fresh, plan: _Plan, processes: int) -> float:
    return plan.pairs / asyncio.run(_seconds(fresh(), plan, processes))


async def _seconds(url: str, plan: _Plan, processes: int) -> float:
    async with made_batch.opened(url, shard_size=plan.shard_size) as running:
        await made_batch.import_pairs(running, plan.pairs)
        batch_id = await made_batch.create(running)
        with _waiting_workers(url, plan, processes) as workers:
            started = time.perf_counter()
            _release(workers)
            await _until_completed(running, batch_id, plan.pairs)
            return time.perf_counter() - started


@contextmanager
def _waiting_workers(
    url: str, plan: _Plan, processes: int
) -> Iterator[Sequence[subprocess.Popen[bytes]]]:
    """Start processes that are ready to work, and end them with the block."""
    command = [sys.executable, "-m", "benchmarks.batches.worker_process", url, str(plan.seconds)]
    workers = [
        subprocess.Popen(
            command, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(processes)
    ]  # fmt: skip
    try:
        for worker in workers:
            if worker.stdout is None or not worker.stdout.readline():
                raise RuntimeError("a worker process did not start")
        yield workers
    finally:
        for worker in workers:
            worker.kill()
            worker.communicate()


def _release(workers: Sequence[subprocess.Popen[bytes]]) -> None:
    for worker in workers:
        if worker.stdin is not None:
            worker.stdin.write(b"\n")
            worker.stdin.flush()


async def _until_completed(running: Runtime, batch_id: str, pairs: int) -> None:
    body = await batches.find(running, batch_id)
    while body["status"] in UNFINISHED_BATCH:
        await asyncio.sleep(_POLL_SECONDS)
        body = await batches.find(running, batch_id)
    if body["request_counts"]["completed"] != pairs:
        raise ResultsDiffer(f"the batch is {body['status']}: {body['request_counts']}")
