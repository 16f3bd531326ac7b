"""Many rows at once: COPY on PostgreSQL, an ordinary INSERT elsewhere, in the same transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.sql.expression import TableClause


async def insert_many(
    session: AsyncSession, table: TableClause, rows: Sequence[Mapping[str, Any]]
) -> None:
    """Insert rows by column names; every row names the same columns, with values as they are kept.

    The transaction must have begun with another statement: the driver below does not begin one.
    """
    if not rows:
        return
    connection = await session.connection()
    if connection.dialect.name != "postgresql":
        await session.execute(insert(table), list(rows))
        return
    raw = await connection.get_raw_connection()
    driver: Any = raw.driver_connection
    names = list(rows[0])
    records = [[row[name] for name in names] for row in rows]
    await driver.copy_records_to_table(table.name, records=records, columns=names)
