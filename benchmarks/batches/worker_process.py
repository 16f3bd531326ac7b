"""One worker as `tribunal worker` runs it, with the made-up judge: `... URL SECONDS`.

It says when it is ready, and begins when it is sent a line.
"""

from __future__ import annotations

import asyncio
import sys

from app.batches.worker.loop import work_in_parallel
from benchmarks.batches.made_batch import opened


async def _work(url: str, seconds: float) -> None:
    async with opened(url, seconds=seconds) as running:
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
        await work_in_parallel(running)


if __name__ == "__main__":
    asyncio.run(_work(sys.argv[1], float(sys.argv[2])))
