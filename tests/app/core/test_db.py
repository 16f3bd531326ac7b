from __future__ import annotations

import asyncio
import os
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import func, select, text

from app.core.db import Database
from app.core.models import ApiKey, IdempotencyKey, new_id

pytestmark = pytest.mark.both_databases

MOMENT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def _key(number: int) -> ApiKey:
    return ApiKey(
        id=new_id("key"), name=f"key {number}", prefix="p", key_hash=f"{number}",
        created_at=MOMENT, revoked_at=None,
    )  # fmt: skip


async def test_text_that_utf8_cannot_hold_comes_back_as_it_was(db: Database) -> None:
    body = {"text": "a\x00b \ud800 \u202eabc", "n": 1.5}
    async with db.write() as session:
        session.add(
            IdempotencyKey(
                caller="",
                key="k",
                path="/",
                body_hash="h",
                status=200,
                location=None,
                body=body,
                created_at=MOMENT,
                kept_until=MOMENT,
            )
        )
    async with db.read() as session:
        stored = await session.scalar(select(IdempotencyKey))
    assert stored is not None
    assert stored.body == body
    assert stored.created_at == MOMENT


async def test_an_error_undoes_the_whole_transaction(db: Database) -> None:
    async def fail_after_writing() -> None:
        async with db.write() as session:
            session.add(_key(1))
            await session.flush()
            raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        await fail_after_writing()
    async with db.read() as session:
        assert await session.scalar(select(func.count()).select_from(ApiKey)) == 0


async def test_many_writers_at_once_all_succeed(db: Database) -> None:
    other = Database(db.url)

    async def write(through: Database, number: int) -> None:
        async with through.write() as session:
            await session.scalar(select(func.count()).select_from(ApiKey))
            session.add(_key(number))

    async with asyncio.TaskGroup() as group:
        for number in range(40):
            group.create_task(write(db if number % 2 else other, number))
    async with db.read() as session:
        assert await session.scalar(select(func.count()).select_from(ApiKey)) == 40
    await other.aclose()


async def test_a_naive_moment_is_refused(db: Database) -> None:
    key = _key(1)
    key.created_at = datetime(2026, 1, 1)  # noqa: DTZ001 - that is the point
    with pytest.raises(Exception, match="naive"):
        async with db.write() as session:
            session.add(key)


async def test_a_task_that_is_cancelled_while_it_writes_leaves_the_file_to_others(
    db: Database,
) -> None:
    count = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 1000000)"

    has_written = asyncio.Event()

    async def write() -> None:
        async with db.write() as session:
            session.add(_key(1))
            await session.flush()
            has_written.set()
            await session.execute(text(f"{count} SELECT count(*) FROM n"))

    task = asyncio.create_task(write())
    await has_written.wait()
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError) as cancelled:
        await task
    other = Database(db.url)
    async with asyncio.timeout(10), other.write() as session:
        assert await session.scalar(select(func.count()).select_from(ApiKey)) == 0
    await other.aclose()
    # its frames are alive until here, and with them the statement that was cut off
    assert cancelled.tb is not None


def _modes(folder: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("before", "after"), [(None, 0o600), (0o644, 0o640), (0o600, 0o600), (0o660, 0o660)]
)
async def test_other_users_cannot_read_the_files_of_a_database(
    tmp_path: Path, before: int | None, after: int
) -> None:
    file = tmp_path / "private.db"
    if before is not None:
        file.touch()
        file.chmod(before)
    earlier = os.umask(0o022)
    try:
        db = Database(f"sqlite+aiosqlite:///{file}")
        async with db.write() as session:
            await session.execute(text("CREATE TABLE t (n INTEGER)"))
        modes = _modes(tmp_path)
        await db.aclose()
    finally:
        os.umask(earlier)
    assert modes == dict.fromkeys(["private.db", "private.db-wal", "private.db-shm"], after)
