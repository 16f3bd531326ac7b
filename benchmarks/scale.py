"""Bytes and rows of the database per pair, and verdicts per second: `python -m benchmarks.scale`.

Imports made pairs, judges them with a judge that costs nothing, and asks the database what its tables
take. Then judges the same pairs from Parquet to Parquet. Times are those of the machine as it is;
bytes and rows are not.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import text

from app.batches import creating
from app.batches.parquet import batch as tables
from app.batches.schemas import BatchIn, TablesBatchIn
from app.batches.worker.loop import work_until_ended
from app.core.db import Database
from app.core.runtime import Runtime
from app.core.settings import Settings
from app.imports.importing import Wanted, import_dataset
from app.imports.upload import UploadedFile
from app.main import open_runtime
from benchmarks.table import aligned
from judges.base import JudgeHealth, JudgeSpec
from judges.registry import Registry
from judges.types import Pair, Score

_TABLES = ("pairs", "scores", "verdicts", "shards")


class FreeJudge:
    """Answers at once, by the content of the pair."""

    spec = JudgeSpec("free", "free", "m", {})

    async def score(self, pair: Pair) -> Score:
        """Return a score in the form that a judge of five annotators gives."""
        digest = hashlib.sha256(pair.content_hash.encode()).digest()
        p = round(digest[0] / 255, 6)
        return Score("free", self.spec.fingerprint, p, annotators=((p, p),) * 5)

    async def health(self) -> JudgeHealth:
        """Always ready."""
        return JudgeHealth(is_ready=True)

    async def aclose(self) -> None:
        """Nothing is held open."""


@dataclass(frozen=True, slots=True)
class Found:
    """What was measured on one database; `sizes` are bytes a pair by table."""

    name: str
    sizes: dict[str, float]
    total: float
    verdicts_per_second: float
    text_bytes: float


def _rows(n: int) -> Iterator[dict[str, Any]]:
    for number in range(n):
        beginning = f"Question {number}: " + hashlib.sha256(str(number).encode()).hexdigest()
        yield {
            "id": f"p{number}", "prompt": f"{beginning} which river is the longest? " * 2,
            "response_a": f"{beginning} The first river, for several reasons. " * 5,
            "response_b": f"{beginning} One would name the second river. " * 5,
            "model_a": "left", "model_b": "right",
        }  # fmt: skip


async def _measure(name: str, url: str, lines: Path, n: int) -> Found:
    source = lines.stat().st_size / n  # noqa: ASYNC240  # nobody waits
    async with open_runtime(Settings(database_url=url, workers=2)) as running:
        running.registry = Registry({"free": FreeJudge()}, {"default": ("free",)}, {})
        with lines.open("rb") as body:
            files = [UploadedFile(body, "application/x-ndjson")]
            wanted = Wanted("made", spool_dir=lines.parent)
            await import_dataset(running.db, files, wanted, running.now())
        batch = await creating.create(running, BatchIn.model_validate({"dataset": "made"}))
        seconds = await _seconds(running, batch["id"])
        sizes = await _sizes(running.db)
    total = sum(sizes.values())
    per_pair = {table: sizes.get(table, 0) / n for table in _TABLES}
    return Found(name, per_pair, total / n, n / seconds, source)


async def _seconds(running: Runtime, batch_id: str) -> float:
    start = time.perf_counter()
    await work_until_ended(running, batch_id)
    return time.perf_counter() - start


async def _sizes(db: Database) -> dict[str, int]:
    """Return the bytes of every table with its indexes."""
    if db.is_sqlite:
        query = (
            "select m.tbl_name, sum(d.pgsize) from dbstat d"
            " join sqlite_master m on m.name = d.name group by m.tbl_name"
        )
    else:
        query = (
            "select relname, pg_total_relation_size(oid) from pg_class"
            " where relkind = 'r' and relnamespace = 'public'::regnamespace"
        )
    async with db.read() as session:
        return {str(name): int(size) for name, size in await session.execute(text(query))}


async def _from_files(folder: Path, n: int) -> Found:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(list(_rows(n))), folder / "pairs.parquet")
    url = f"sqlite+aiosqlite:///{folder}/tables.db"
    settings = Settings(database_url=url, tables_dir=folder, workers=2)
    async with open_runtime(settings) as running:
        running.registry = Registry({"free": FreeJudge()}, {"default": ("free",)}, {})
        asked = TablesBatchIn(input="pairs.parquet", output="out")
        batch = await tables.create(running, asked)
        seconds = await _seconds(running, batch["id"])
        sizes = await _sizes(running.db)
    parts = sum(path.stat().st_size for path in (folder / "out").glob("part-*"))
    per_pair = {table: sizes.get(table, 0) / n for table in _TABLES}
    source = (folder / "pairs.parquet").stat().st_size
    return Found(f"Parquet ({parts / n:,.0f} B a pair in parts)", per_pair,
                 sum(sizes.values()) / n, n / seconds, source / n)  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--pairs", type=int, default=100_000)
    parser.add_argument("--postgresql", action="append", default=[], help="an empty database")
    options = parser.parse_args(arguments)
    found = []
    with tempfile.TemporaryDirectory() as name:
        folder, n = Path(name), options.pairs
        lines = folder / "pairs.jsonl"
        with lines.open("w") as file:
            file.writelines(json.dumps(row) + "\n" for row in _rows(n))
        urls = [("SQLite", f"sqlite+aiosqlite:///{folder}/scale.db")]
        for label, url in (*urls, *(("PostgreSQL", one) for one in options.postgresql)):
            found.append(asyncio.run(_measure(label, url, lines, n)))
        found.append(asyncio.run(_from_files(folder, n)))
    print(_table(found))
    return 0


def _table(found: Sequence[Found]) -> str:
    heads = ("bytes a pair", "input", *_TABLES, "database", "verdicts/s")
    cells = [
        (
            one.name, f"{one.text_bytes:,.0f}", *(f"{one.sizes[table]:,.1f}" for table in _TABLES),
            f"{one.total:,.1f}", f"{one.verdicts_per_second:,.0f}",
        )
        for one in found
    ]  # fmt: skip
    return aligned([heads, *cells])


if __name__ == "__main__":
    raise SystemExit(main())
