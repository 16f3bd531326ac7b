"""Verdicts per second of a batch, over a Core insert of the rows that it leaves behind."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from sqlalchemy import Table, func, insert, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from app.batches import stored as batches
from app.core.db import Database
from app.core.models import Score, Verdict
from benchmarks.batches import made_batch
from benchmarks.batches.databases import fresh_databases, kinds
from benchmarks.batches.figures import Figure, Seconds, Side
from benchmarks.measuring import ResultsDiffer

_SCORES: Final = cast(Table, Score.__table__)
_VERDICTS: Final = cast(Table, Verdict.__table__)
_ROWS_A_TRANSACTION: Final = 10_000
_PAIRS: Final = 30_000
_FEW: Final = 120


@dataclass(frozen=True, slots=True)
class _Round:
    batch: Seconds
    core: Seconds


def measure(*, is_small: bool, rounds: int) -> Iterator[Figure]:
    """Yield a ratio of verdicts per second for each kind of database."""
    pairs = _FEW if is_small else _PAIRS
    for kind in kinds():
        with fresh_databases(kind) as fresh:
            asyncio.run(_round(fresh(), _FEW))  # imports and memos
            found = [asyncio.run(_round(fresh(), pairs)) for _ in range(rounds)]
        yield from _figures(kind, pairs, found)


def _figures(kind: str, pairs: int, found: Sequence[_Round]) -> Iterator[Figure]:
    work = f"{pairs:,} pairs, {kind}"
    yield Figure(
        work,
        Side("batch with a free judge", [pairs / one.batch.wall for one in found], "verdicts/s"),
        Side("Core insert of its rows", [pairs / one.core.wall for one in found], "verdicts/s"),
        "wall time",
        ">= 0.5",
    )
    if kind == "SQLite":  # elsewhere most of the work is another process's
        yield Figure(
            work,
            Side("batch with a free judge", [pairs / one.batch.cpu for one in found], "verdicts/s"),
            Side("Core insert of its rows", [pairs / one.core.cpu for one in found], "verdicts/s"),
            "CPU time",
            ">= 0.5",
        )


async def _round(url: str, pairs: int) -> _Round:
    async with made_batch.opened(url) as running:
        await made_batch.import_pairs(running, pairs)
        batch_id = await made_batch.create(running)
        started = Seconds.now()
        await made_batch.work(running)
        batch = started.passed()
        counts = (await batches.find(running, batch_id))["request_counts"]
    if counts["completed"] != pairs:
        raise ResultsDiffer(f"{counts['completed']} of {pairs} pairs were judged")
    return _Round(batch, await _insert_again(url, pairs))


async def _insert_again(url: str, pairs: int) -> Seconds:
    """Empty both tables and fill them with the same rows by Core inserts."""
    db = Database(url)
    try:
        async with db.read() as session:
            scores = await _all_rows(session, _SCORES)
            verdicts = await _all_rows(session, _VERDICTS)
        async with db.write() as session:
            for table in (_SCORES, _VERDICTS):
                empty = (
                    f"DELETE FROM {table.name}"
                    if db.is_sqlite
                    else f"TRUNCATE {table.name} CASCADE"
                )
                await session.execute(text(empty))
        # the rows stay for the whole measurement: going through them is no part of inserting
        gc.collect()
        gc.freeze()
        started = Seconds.now()
        for first in range(0, pairs, _ROWS_A_TRANSACTION):
            some = slice(first, first + _ROWS_A_TRANSACTION)
            async with db.write() as session:
                await session.execute(insert(_SCORES), scores[some])
                await session.execute(insert(_VERDICTS), verdicts[some])
        passed = started.passed()
        await _check(db, pairs)
    finally:
        gc.unfreeze()
        await db.aclose()
    return passed


async def _all_rows(session: AsyncSession, table: Table) -> list[dict[str, Any]]:
    """Return all rows as they are inserted: the database numbers them itself."""
    found = await session.execute(select(*[c for c in table.columns if c.name != "seq"]))
    return [dict(row._mapping) for row in found]


async def _check(db: Database, pairs: int) -> None:
    async with db.read() as session:
        for table in (_SCORES, _VERDICTS):
            count = (await session.execute(select(func.count()).select_from(table))).scalar_one()
            if count != pairs:
                raise ResultsDiffer(f"{count} of {pairs} rows are in {table.name}")
