from __future__ import annotations

import pytest
from sqlalchemy import inspect

from app.core.db import Database
from app.core.migrate import check, downgrade, upgrade


async def _tables(db: Database) -> set[str]:
    async with db.engine.connect() as connection:
        return set(await connection.run_sync(lambda c: inspect(c).get_table_names()))


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


async def test_a_second_upgrade_changes_nothing(db: Database) -> None:
    await upgrade(db)
    await check(db)


async def test_check_sees_a_missing_table(db: Database) -> None:
    async with db.engine.begin() as connection:
        await connection.exec_driver_sql("DROP TABLE leaderboards")
    with pytest.raises(Exception, match="leaderboards"):
        await check(db)
