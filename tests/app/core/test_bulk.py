from __future__ import annotations

from typing import Any, cast

import pytest
from sqlalchemy import Table, func, select

from app.core.bulk import insert_rows, merge_rows
from app.core.db import Database
from app.core.models import ServerSecret

pytestmark = pytest.mark.both_databases

TABLE = cast(Table, ServerSecret.__table__)
# more than one statement holds, and not a multiple of it
MANY = 40_001


def secrets(n: int, value: str) -> list[dict[str, Any]]:
    return [{"name": f"s{number}", "value": value} for number in range(n)]


async def test_more_rows_than_a_statement_holds_arrive_once(db: Database) -> None:
    async with db.write() as session:
        await insert_rows(session, TABLE, secrets(MANY, "first"))
        count = select(func.count(), func.count(TABLE.c.name.distinct())).select_from(TABLE)
        assert (await session.execute(count)).one() == (MANY, MANY)


async def test_of_more_rows_than_a_statement_holds_each_meets_its_own(db: Database) -> None:
    async with db.write() as session:
        await insert_rows(session, TABLE, secrets(100, "first"))
        on_conflict = "(name) DO UPDATE SET value = excluded.value"
        await merge_rows(session, TABLE, secrets(MANY, "second"), on_conflict)
        await merge_rows(session, TABLE, [{"name": "s7", "value": "third"}], on_conflict)
        rows = await session.execute(select(TABLE.c.name, TABLE.c.value))
        found = {row.name: row.value for row in rows}
    assert len(found) == MANY
    assert found.pop("s7") == "third"
    assert set(found.values()) == {"second"}
