from __future__ import annotations

import asyncio

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import inspect

from app.core.db import Database
from app.core.migrate import alembic_config, check, downgrade, newest_revision, upgrade


async def _tables(db: Database) -> set[str]:
    async with db.engine.connect() as connection:
        return set(await connection.run_sync(lambda c: inspect(c).get_table_names()))


@pytest.mark.both_databases
async def test_migrations_go_up_match_the_models_and_go_down(empty_database_url: str) -> None:
    db = Database(empty_database_url)
    await upgrade(db)
    await check(db)
    assert {"datasets", "pairs", "labels", "scores", "shards", "api_keys"} <= await _tables(db)
    await downgrade(db, "base")
    assert await _tables(db) <= {"alembic_version"}
    await upgrade(db)
    await check(db)
    await db.aclose()


@pytest.mark.both_databases
async def test_a_second_upgrade_changes_nothing(db: Database) -> None:
    await upgrade(db)
    await check(db)


@pytest.mark.both_databases
async def test_an_upgrade_goes_on_from_an_older_revision(db: Database) -> None:
    await downgrade(db, "0002")
    await upgrade(db)
    await check(db)


def test_the_newest_revision_is_the_head_of_the_scripts() -> None:
    scripts = ScriptDirectory.from_config(alembic_config())
    assert newest_revision() == scripts.get_current_head()


async def test_a_current_database_is_opened_while_another_writes(db: Database) -> None:
    other = Database(db.url)
    async with asyncio.timeout(10), db.write():
        await upgrade(other)
    await other.aclose()


@pytest.mark.both_databases
async def test_check_sees_a_missing_table(db: Database) -> None:
    async with db.engine.begin() as connection:
        await connection.exec_driver_sql("DROP TABLE leaderboards")
    with pytest.raises(Exception, match="leaderboards"):
        await check(db)
