"""Server time of pages with few and with many verdicts: `python -m benchmarks.pages`.

A page should take as long with a million verdicts as with a thousand, and the page of a pair about as
long as its JSON. The verdicts are copies of real ones, made by the database itself.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from sqlalchemy import text

from app.core.db import Database
from app.core.models import all_tables
from app.core.settings import Settings
from app.main import create_app
from benchmarks.table import aligned

Clock = Callable[[], float]
FEW, MANY, WANTED = 1_000, 1_000_000, 3.0
_ROWS = 120
_AT_ONCE = 100_000


@dataclass(frozen=True, slots=True)
class Found:
    """Least seconds of a page, and of what it is compared with."""

    page: str
    seconds: float
    against: float

    @property
    def ratio(self) -> float:
        """How many times as long the page takes."""
        return self.seconds / self.against


def _pairs() -> list[dict[str, Any]]:
    """Return labelled pairs of which some have no score, and on some of which no judge is sure."""
    return [
        {
            "id": f"p{number}", "prompt": f"Question {number}", "response_a": "So.", "response_b": "Thus.",
            "model_a": "left", "model_b": "right", "human": [{"annotator": "ann", "label": "b" if number % 12 == 1 else "a"}],
            "judges": {} if number % 40 == 0 else {"one": {"p_a": 0.5 + number / 300}},
        }
        for number in range(_ROWS)
    ]  # fmt: skip


@asynccontextmanager
async def site(
    url: str, folder: Path, n: int
) -> AsyncIterator[tuple[httpx.AsyncClient, list[str]]]:
    """Open a service with something of each kind and `n` verdicts; give it and its pages."""
    app = create_app(Settings(database_url=url, spool_dir=folder, workers=1, log_level="error"))
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(app.router.lifespan_context(app))
        transport = httpx.ASGITransport(app)
        base = "http://127.0.0.1"
        client = httpx.AsyncClient(transport=transport, base_url=base, timeout=600)
        await stack.enter_async_context(client)
        pages = await _filled(client)
        await _multiplied(app.state.runtime.db, n - _ROWS)
        yield client, pages


async def _filled(client: httpx.AsyncClient) -> list[str]:
    """Store one of each kind, and return the addresses of the pages that list things."""

    async def post(path: str, **body: Any) -> str:
        answer = await client.post(f"/v1/{path}", json=body)
        answer.raise_for_status()
        return str(answer.json()["id"])

    (await client.post("/v1/datasets?name=made", json=_pairs())).raise_for_status()
    cascade = {"judges": ["one"]}
    asked = {"dataset": "made", "cascade": cascade, "target_agreement": 0.8}
    certificate = await post("calibrations", **asked)
    batch = await post("batches", dataset="made", calibration=certificate)
    async with client.stream("GET", f"/v1/batches/{batch}/events") as events:
        async for _ in events.aiter_lines():
            pass
    board = await post("leaderboards", dataset="made")
    report = (await client.get("/v1/reports/agreement?dataset=made")).json()["id"]
    queue = await post("queues", name="made", dataset="made")
    lists = ("datasets", "calibrations", "batches", "leaderboards", "reports", "label", "monitors")
    return [
        "/", *(f"/{one}" for one in lists), "/finishes", "/shadows", "/judges", "/datasets/made",
        "/datasets/made/pairs", f"/calibrations/{certificate}",
        f"/batches/{batch}", f"/batches/{batch}?rows=abstained", f"/leaderboards/{board}",
        f"/reports/{report}", f"/queues/{queue}", "/v1/judgments", "/v1/judgments?dataset=made",
        f"/v1/judgments?calibration={certificate}", f"/v1/judgments?batch={batch}",
    ]  # fmt: skip


async def _multiplied(db: Database, n: int) -> None:
    """Store copies of the stored pairs and verdicts."""
    for start in range(0, max(n, 0), _AT_ONCE):
        count = min(_AT_ONCE, n - start)
        async with db.write() as session:
            ends = [f"select max({one}) from pairs" for one in ("seq", "position")]
            pair, place = [int((await session.scalar(text(one))) or 0) + 1 for one in ends]
            last = await session.scalar(text("select max(seq) from verdicts"))
            name = f"'c' || cast(numbers.n + {pair} as varchar)"
            own = {"seq": f"numbers.n + {pair}", "position": f"numbers.n + {place}", "id": name}
            await session.execute(text(_copies("pairs", own, count)))
            own = {
                "seq": f"numbers.n + {int(last or 0) + 1}", "pair_seq": f"numbers.n + {pair}",
                "position": f"numbers.n + {place}", "pair_id": name,
            }  # fmt: skip
            await session.execute(text(_copies("verdicts", own, count)))
    async with db.write() as session:
        await session.execute(text("analyze"))


def _copies(table: str, changed: dict[str, str], count: int) -> str:
    """Return the statement that copies the first rows in turn, with changed columns."""
    names = [one.name for one in all_tables().tables[table].c]
    chosen = ", ".join(changed.get(name, f"turn.{name}") for name in names)
    return (
        f"insert into {table} ({', '.join(names)})"
        f" with recursive numbers(n) as (select 0 union all select n + 1 from numbers where n < {count - 1}),"
        f" kept as (select * from {table} order by seq limit {_ROWS}),"
        " turn as (select kept.*, row_number() over (order by seq) - 1 as turn_at from kept)"
        f" select {chosen} from numbers join turn on turn.turn_at = numbers.n % {_ROWS}"
    )


async def _seconds(client: httpx.AsyncClient, address: str, repeats: int, clock: Clock) -> float:
    """Return the least time of an answer: other work on the machine only adds to it."""
    taken = []
    # the first loads code and fills caches
    for _ in range(repeats + 1):
        start = clock()
        answer = await client.get(address)
        taken.append(clock() - start)
        if answer.status_code != 200:
            raise SystemExit(f"{address}: {answer.status_code} {answer.text[:300]}")
    return min(taken[1:])


async def measured(urls: Sequence[str], many: int, repeats: int) -> list[Found]:
    """Measure every page on an empty database with few and one with many verdicts."""
    # SQLite works in this process, PostgreSQL in one of its own
    clock = time.process_time if "sqlite" in urls[0] else time.perf_counter
    found: list[dict[str, float]] = []
    pair = [0.0, 0.0]
    for url, n in zip(urls, (FEW, many), strict=True):
        with tempfile.TemporaryDirectory(prefix="tribunal-pages-") as folder:
            async with site(url, Path(folder), n) as (client, pages):
                found.append(
                    {_general(one): await _seconds(client, one, repeats, clock) for one in pages}
                )
                pair = [
                    await _seconds(client, "/pairs/made/p7", repeats, clock),
                    await _seconds(client, "/v1/datasets/made/pairs/p7", repeats, clock),
                ]
    few, much = found
    return [
        *(Found(name, seconds, few[name]) for name, seconds in much.items()),
        Found("/pairs/made/p7 against its JSON", *pair),
    ]


def _general(address: str) -> str:
    """Return an address without the ids in it."""
    return re.sub(r"(cal|batch|lb|rep|queue)_[0-9a-f]+", r"\1_ID", address)


def main() -> None:
    """Print how many times as long each page takes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--verdicts", type=int, default=MANY)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument(
        "--postgresql", nargs=2, metavar="URL", help="two empty databases; default: SQLite"
    )
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tribunal-pages-") as folder:
        urls = given.postgresql or [f"sqlite+aiosqlite:///{folder}/{n}.db" for n in range(2)]
        rows = asyncio.run(measured(urls, given.verdicts, given.repeats))
    cells = [
        [one.page, f"{1e3 * one.against:.1f}", f"{1e3 * one.seconds:.1f}", f"{one.ratio:.2f}",
         "" if one.ratio <= WANTED else f"more than {WANTED:g}"]
        for one in rows
    ]  # fmt: skip
    heads = ["page", f"ms, {FEW:,} verdicts", f"ms, {given.verdicts:,}", "ratio", ""]
    print(aligned([heads, *cells]))


if __name__ == "__main__":
    main()
