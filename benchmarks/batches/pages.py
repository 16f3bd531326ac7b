"""Server time of pages with a million verdicts over that with a thousand, and over that of JSON."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from statistics import median
from typing import Final, cast

import httpx
from sqlalchemy import Table, text
from sqlalchemy.ext.asyncio import AsyncConnection

from app.core.db import Database
from app.core.models import PairRow, Verdict
from app.core.settings import Settings
from app.main import create_app
from benchmarks.batches import made_batch
from benchmarks.batches.databases import fresh_databases, kinds
from benchmarks.batches.figures import Figure, Side
from benchmarks.measuring import ResultsDiffer

_TEMPLATES: Final = 10
_LISTS: Final = (
    "/", "/datasets", "/datasets/made", "/datasets/made/pairs", "/batches", "/calibrations",
    "/leaderboards", "/reports", "/judges",
)  # fmt: skip
_PAIR: Final = "/pairs/made/p5"
_PAIR_JSON: Final = "/v1/datasets/made/pairs/p5"
_LOOPS: Final = 5
_NUMBERS: Final = "WITH RECURSIVE numbers(i) AS (SELECT {first} UNION ALL SELECT i + 1 FROM numbers WHERE i < {last}) "
_Times = dict[str, list[float]]


def measure(*, is_small: bool, rounds: int) -> Iterator[Figure]:
    """Yield, for each kind of database, the list page that grows most, and the page of a pair."""
    few, many = (20, 200) if is_small else (1_000, 1_000_000)
    for kind in kinds():
        with fresh_databases(kind) as fresh:
            yield from asyncio.run(_measured(kind, (fresh(), few), (fresh(), many), rounds))


async def _measured(
    kind: str, few: tuple[str, int], many: tuple[str, int], rounds: int
) -> list[Figure]:
    for url, n in (few, many):
        await _fill(url, n)
    seen: list[_Times] = [{}, {}]
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(_opened(url)) for url, _ in (few, many)]
        # the first round is for imports, templates and memos
        for number in range(rounds + 1):
            for client, times in zip(clients, seen, strict=True):
                for path in (*_LISTS, _PAIR, _PAIR_JSON):
                    passed = await _seconds(client, path)
                    if number:
                        times.setdefault(path, []).append(passed)
    less, more = seen
    worst = max(_LISTS, key=lambda path: median(more[path]) / median(less[path]))
    return [
        Figure(
            f"{worst}, which grows most of {len(_LISTS)} list pages, {kind}",
            Side(f"with {many[1]:,} verdicts", _milliseconds(more[worst]), "ms"),
            Side(f"with {few[1]:,} verdicts", _milliseconds(less[worst]), "ms"),
            "wall time",
            "<= 3",
        ),
        Figure(
            f"a pair among {many[1]:,}, {kind}",
            Side("its page", _milliseconds(more[_PAIR]), "ms"),
            Side("its JSON", _milliseconds(more[_PAIR_JSON]), "ms"),
            "wall time",
            "<= 3",
        ),
    ]


def _milliseconds(seconds: Sequence[float]) -> list[float]:
    return [1_000 * one for one in seconds]


async def _seconds(client: httpx.AsyncClient, path: str) -> float:
    started = time.perf_counter()
    for _ in range(_LOOPS):
        answer = await client.get(path)
        if answer.status_code != 200:
            raise ResultsDiffer(f"{path} is answered with {answer.status_code}")
    return (time.perf_counter() - started) / _LOOPS


@asynccontextmanager
async def _opened(url: str) -> AsyncIterator[httpx.AsyncClient]:
    """Open the service in this process, without workers."""
    app = create_app(Settings(database_url=url, workers=0, log_level="error"))
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://127.0.0.1:8000"
        ) as client,
    ):
        yield client


async def _fill(url: str, n: int) -> None:
    """Judge a few pairs, and copy rows of pairs and verdicts until there are n of each."""
    async with made_batch.opened(url) as running:
        await made_batch.import_pairs(running, _TEMPLATES)
        await made_batch.create(running)
        await made_batch.work(running)
    db = Database(url)
    try:
        async with db.write() as session:
            connection = await session.connection()
            await _copy(connection, cast(Table, PairRow.__table__), n, {
                "position": "i", "id": "'p' || i", "group_key": "'g' || i",
            }, "numbers JOIN pairs AS old ON old.position = i % {templates}")  # fmt: skip
            await _copy(connection, cast(Table, Verdict.__table__), n, {
                "pair_seq": "pairs.seq", "pair_id": "pairs.id", "position": "pairs.position",
            }, "numbers JOIN pairs ON pairs.position = i "
               "JOIN verdicts AS old ON old.position = i % {templates}")  # fmt: skip
            await connection.execute(text(f"UPDATE datasets SET pairs = {n}"))
            await connection.execute(text("ANALYZE pairs"))
            await connection.execute(text("ANALYZE verdicts"))
    finally:
        await db.aclose()


async def _copy(
    connection: AsyncConnection, table: Table, n: int, changed: Mapping[str, str], source: str
) -> None:
    """Add rows with positions up to n, copies of those of the first few but for some columns."""
    columns = [one.name for one in table.columns if one.name != "seq"]
    values = ", ".join(changed.get(name, f"old.{name}") for name in columns)
    numbers = _NUMBERS.format(first=_TEMPLATES, last=n - 1)
    chosen = source.format(templates=_TEMPLATES)
    named = ", ".join(columns)
    statement = f"{numbers} INSERT INTO {table.name} ({named}) SELECT {values} FROM {chosen}"
    await connection.execute(text(statement))
