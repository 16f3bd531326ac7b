"""Downloads keep nothing but the piece they send."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import AsyncIterator
from typing import Any

import httpx
from sqlalchemy import insert, update

from app.batches import results
from app.batches.files import service
from app.batches.files.derived import derived
from app.core.models import Batch, Shard, Verdict
from app.core.runtime import Runtime, now
from app.core.settings import Settings
from app.main import create_app
from tests.app.batches.files.lines import line, sent, start
from tests.app.rows import labelled_rows
from tests.conftest import client_of

MEBIBYTE = 2**20
ROWS = 9_000


async def _content(running: Runtime, file_id: str) -> AsyncIterator[bytes]:
    wanted = derived(file_id)
    if wanted is not None:
        batch = await results.ended_batch(running, wanted)
        return results.content(running, batch, wanted)
    async with running.db.read() as session:
        file = await service.find(session, file_id)
    return service.content_of(running, file)


async def _read(running: Runtime, file_id: str) -> tuple[int, int]:
    """Read a file; return its size and the most memory that was held meanwhile, in bytes."""
    pieces = await _content(running, file_id)
    gc.collect()
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        size = 0
        async for piece in pieces:
            size += len(piece)
        return size, tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


async def _judged(running: Runtime, batch_id: str, rows: int, verdict: dict[str, Any]) -> None:
    """Store a verdict on every other pair, and end the batch."""
    async with running.db.write() as session:
        batch_seq = await session.scalar(
            update(Batch)
            .where(Batch.id == batch_id)
            .values(status="cancelled", completed_at=now())
            .returning(Batch.seq)
        )
        await session.execute(
            update(Shard).where(Shard.batch_seq == batch_seq).values(state="cancelled")
        )
        stored = [
            {
                "pair_id": f"p{n}", "content_hash": "0" * 64, "batch_seq": batch_seq,
                "position": n, "status": "accepted", "promise": "none",
                "body": {**verdict, "id": f"p{n}"}, "created_at": now(),
            }
            for n in range(0, rows, 2)
        ]  # fmt: skip
        await session.execute(insert(Verdict), stored)


async def _batch(client: httpx.AsyncClient, running: Runtime, rows: int) -> tuple[str, str]:
    row = labelled_rows(1)[0]
    texts = "the Amazon or the Nile " * 20
    good = [line({**row, "id": f"p{n}", "response_a": f"{n} {texts}"}) for n in range(rows)]
    bad = [line(row, f"bad {n} {'x' * 200}", method="GET") for n in range(rows)]
    file = await sent(client, b"".join(good + bad))
    batch: dict[str, Any] = (await start(client, file["id"])).json()
    await _judged(running, batch["id"], rows, {"tiers": [texts] * 4})
    return str(file["id"]), str(batch["id"])


async def test_memory_does_not_grow_with_what_is_downloaded(settings: Settings) -> None:
    app = create_app(settings.model_copy(update={"workers": 0}))
    async with app.router.lifespan_context(app), client_of(app) as client:
        running: Runtime = app.state.runtime
        small, large = [await _batch(client, running, n) for n in (ROWS // 3, ROWS)]
        for name in ("{0}", "{1}_output", "{1}_errors"):
            small_size, small_peak = await _read(running, name.format(*small))
            large_size, large_peak = await _read(running, name.format(*large))
            assert large_size > 2.8 * small_size
            assert large_size > 3 * MEBIBYTE
            assert large_peak < small_peak + 4 * MEBIBYTE, name
