"""A database or a disk that cannot be used is an honest 503, and nothing is lost in silence."""

# ruff: noqa: ASYNC240 - these tests may wait for files and disks

from __future__ import annotations

import asyncio
import errno
import shutil
import sqlite3
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as NoConnectionFree

from app.core.db import Database
from app.core.errors import ConfigurationInvalid
from app.core.migrate import newest_revision, upgrade
from app.core.outages import DatabaseFile, DatabaseUnavailable, in_words, outage
from app.core.runtime import Runtime
from app.core.settings import Settings
from app.main import create_app
from tests.app.batches.files.lines import lines, send
from tests.app.rows import labelled_rows, ndjson, upload
from tests.conftest import client_of

PAIR = {"prompt": "Why?", "response_a": "Because it is so.", "response_b": "No."}
LINES = {"content-type": "application/x-ndjson"}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Short waits, and no worker that writes by itself."""
    return settings.model_copy(update={"database_wait_seconds": 0.3, "workers": 0})


@pytest.fixture
def file(settings: Settings) -> Path:
    """The file of the database."""
    return Path(make_url(settings.database_url).database or "")


async def writes(client: httpx.AsyncClient) -> AsyncIterator[httpx.Response]:
    """Send a request of every kind that writes."""
    rows = ndjson(labelled_rows(5, seed=3))
    yield await client.post("/v1/datasets?name=new", content=rows, headers=LINES)
    yield await client.post("/v1/judgments", json={"pairs": [PAIR]})
    yield await client.post("/v1/batches", json={"dataset": "rivers"})
    yield await send(client, lines(labelled_rows(3)))
    yield await client.post("/v1/leaderboards", json={"dataset": "rivers"})
    yield await client.delete("/v1/datasets/rivers")


async def refuses_writes(client: httpx.AsyncClient, said: str) -> None:
    async for answer in writes(client):
        assert answer.status_code == 503, (answer.request.url, answer.text)
        assert answer.headers["retry-after"] == "5"
        assert said in answer.json()["detail"]


@contextmanager
def full_disk(running: Runtime) -> Iterator[None]:
    """SQLite takes no further page, which it reports as a full disk."""
    pool = running.db.engine.sync_engine

    def limit(connection: Any) -> None:
        cursor = connection.connection.cursor()
        cursor.execute("PRAGMA max_page_count = 1")
        # the pages that are free in the file would still be used
        cursor.execute("CREATE TABLE IF NOT EXISTS filler (x)")
        cursor.close()

    event.listen(pool, "begin", limit)
    yield
    event.remove(pool, "begin", limit)


@pytest.fixture
async def ready(service: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with client_of(service) as client:
        await upload(client, "rivers", labelled_rows(20))
        yield client


async def test_a_deleted_file_stops_every_write(ready: httpx.AsyncClient, file: Path) -> None:
    kept = file.with_suffix(".kept")
    file.rename(kept)
    await refuses_writes(ready, "was deleted while the service ran")
    answer = await ready.get("/readyz")
    assert answer.status_code == 503
    assert "was deleted" in answer.json()["detail"]
    assert not file.exists(), "an empty database in its place"
    # what was read can still be saved
    assert (await ready.get("/v1/datasets/rivers/export")).status_code == 200
    kept.rename(file)
    assert (await ready.get("/readyz")).status_code == 200
    assert (await ready.post("/v1/judgments", json={"pairs": [PAIR]})).status_code == 200


async def test_a_replaced_file_stops_every_write(
    ready: httpx.AsyncClient, file: Path, sqlite_template: Path
) -> None:
    other = file.with_suffix(".other")
    shutil.copyfile(sqlite_template, other)
    other.rename(file)
    await refuses_writes(ready, "was replaced by another file")
    answer = await ready.get("/readyz")
    assert answer.status_code == 503
    assert "was replaced" in answer.json()["detail"]


async def test_a_file_that_goes_during_a_transaction_takes_no_commit(
    db: Database,
) -> None:
    file = Path(make_url(db.url).database or "")

    async def write() -> None:
        async with db.write() as session:
            await session.execute(text("CREATE TABLE t (x)"))
            file.unlink()

    with pytest.raises(DatabaseUnavailable, match="was deleted"):
        await write()


async def test_another_writer_is_waited_for_and_then_told(
    ready: httpx.AsyncClient, file: Path
) -> None:
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        started = [
            asyncio.create_task(ready.post("/v1/judgments", json={"pairs": [PAIR]}))
            for _ in range(4)
        ]
        for one in started:
            answer = await one
            assert answer.status_code == 503, answer.text
            assert (
                "has not ended in time" in answer.json()["detail"]
                or "have written" in answer.json()["detail"]
            )
            assert answer.headers["retry-after"] == "5"
        # reading goes on, and the service is not taken out of rotation for a while of writing
        assert (await ready.get("/v1/datasets/rivers")).status_code == 200
        assert (await ready.get("/readyz")).status_code == 200
        other.execute("ROLLBACK")
    assert (await ready.post("/v1/judgments", json={"pairs": [PAIR]})).status_code == 200


async def test_a_full_disk_is_told_and_passes(ready: httpx.AsyncClient, running: Runtime) -> None:
    large = ndjson([{**row, "response_a": "x" * 9_000} for row in labelled_rows(200, seed=5)])
    with full_disk(running):
        answer = await ready.post("/v1/datasets?name=large", content=large, headers=LINES)
        assert (answer.status_code, answer.json()["detail"]) == (503, "the disk is full")
        assert answer.headers["retry-after"] == "5"
        not_ready = await ready.get("/readyz")
        assert (not_ready.status_code, not_ready.json()["detail"]) == (503, "the disk is full")
    async with running.db.write() as session:
        await session.execute(text("PRAGMA max_page_count = 1000000"))
    assert (await ready.get("/readyz")).status_code == 200
    again = await ready.post("/v1/datasets?name=large", content=large, headers=LINES)
    assert again.status_code == 201


async def test_a_read_only_database_is_told(ready: httpx.AsyncClient, running: Runtime) -> None:
    """As it is where the disk was mounted anew, which takes rights that tests lack."""

    def protect(connection: Any) -> None:
        cursor = connection.connection.cursor()
        cursor.execute("PRAGMA query_only = ON")
        cursor.close()

    event.listen(running.db.engine.sync_engine, "begin", protect)
    await refuses_writes(ready, "the database is read-only")
    assert (await ready.get("/readyz")).status_code == 503


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of two MiB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", disk], capture_output=True, check=False
    )
    if made.returncode:
        pytest.skip("no right to mount a disk")
    yield disk
    subprocess.run(["umount", "--lazy", disk], check=True)


async def test_a_real_disk_that_is_full(settings: Settings, file: Path, small_disk: Path) -> None:
    shutil.copy(file, small_disk / "real.db")
    app = create_app(
        settings.model_copy(update={"database_url": f"sqlite+aiosqlite:///{small_disk}/real.db"})
    )
    rows = [{**row, "response_a": "x" * 90_000} for row in labelled_rows(30)]
    async with app.router.lifespan_context(app), client_of(app) as client:
        answer = await client.post("/v1/datasets?name=large", content=ndjson(rows), headers=LINES)
        assert (answer.status_code, answer.json()["detail"]) == (503, "the disk is full")
        await upload(client, "rivers", labelled_rows(5))
        assert (await client.get("/readyz")).status_code == 200
        assert (await client.post("/v1/judgments", json={"pairs": [PAIR]})).status_code == 200


def test_a_disk_that_is_read_only_is_seen_before_anything_is_written(small_disk: Path) -> None:
    file = small_disk / "file.db"
    file.write_bytes(b"")
    assert DatabaseFile(file).refusal() is None
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    assert "read-only" in (DatabaseFile(file).refusal() or "")


async def test_a_full_disk_for_uploads_is_told(settings: Settings, small_disk: Path) -> None:
    app = create_app(settings.model_copy(update={"spool_dir": small_disk}))
    rows = [{**row, "response_a": "x" * 90_000} for row in labelled_rows(30)]
    async with app.router.lifespan_context(app), client_of(app) as client:
        answer = await client.post("/v1/datasets?name=large", content=ndjson(rows), headers=LINES)
        assert (answer.status_code, answer.json()["detail"]) == (503, "the disk is full")
        assert list(small_disk.iterdir()) == []


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (OSError(errno.ENOSPC, "No space left"), "the disk is full"),
        (OSError(errno.EROFS, "Read-only"), "the disk is read-only"),
        (OSError(errno.EMFILE, "Too many"), "too many files"),
        (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), "cannot be reached"),
        (OSError("Multiple exceptions: [Errno 111] Connect call failed"), "cannot be reached"),
        (asyncpg.CannotConnectNowError("starting"), "stopping or starting"),
        (asyncpg.TooManyConnectionsError("sorry"), "no room"),
        (asyncpg.ReadOnlySQLTransactionError("no"), "read-only"),
        (asyncpg.DiskFullError("no"), "disk is full"),
        (asyncpg.AdminShutdownError("no"), "stopping"),
        (asyncpg.DeadlockDetectedError("no"), "at the same time"),
        (asyncpg.InterfaceError("connection is closed"), "is lost"),
        (DBAPIError("INSERT", None, asyncpg.DiskFullError("no")), "disk is full"),
        (ExceptionGroup("both", [OSError(errno.ENOSPC, "x")]), "disk is full"),
    ],
)
def test_every_outage_has_its_words(raised: BaseException, said: str) -> None:
    assert said in (outage(raised) or "")


@pytest.mark.parametrize(
    "raised",
    [
        ValueError("x"),
        FileNotFoundError(errno.ENOENT, "no such file"),
        asyncpg.UniqueViolationError("twice"),
        DBAPIError("INSERT", None, ValueError("x")),
        ExceptionGroup("both", [OSError(errno.ENOSPC, "x"), ValueError("x")]),
    ],
)
def test_other_errors_are_no_outages(raised: BaseException) -> None:
    assert outage(raised) is None
    assert type(raised).__name__ in in_words(raised)


@pytest.mark.both_databases
async def test_a_connection_that_is_not_free_in_time_is_a_503(settings: Settings) -> None:
    app = create_app(settings)
    async with app.router.lifespan_context(app), client_of(app) as client:
        db: Database = app.state.runtime.db
        held: list[Any] = []
        with suppress(NoConnectionFree):
            for _ in range(30):
                session = db.read()
                await session.__aenter__()
                held.append(session)
        answer = await client.get("/v1/datasets")
        assert answer.status_code == 503
        assert "all connections" in answer.json()["detail"]
        for session in held:
            await session.__aexit__(None, None, None)
        assert (await client.get("/v1/datasets")).status_code == 200


@pytest.mark.both_databases
async def test_a_database_of_a_later_version_names_what_is_needed(db: Database) -> None:
    async with db.engine.begin() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9876'"))
    with pytest.raises(ConfigurationInvalid) as refused:
        await upgrade(db)
    for part in ("9876", newest_revision(), "is needed"):
        assert part in refused.value.detail
