"""Many rows at once: COPY on PostgreSQL, one prepared statement on SQLite, no objects between."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Column, Table
from sqlalchemy.engine import Dialect
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession

Rows = Sequence[Mapping[str, Any]]


async def insert_rows(session: AsyncSession, table: Table, rows: Rows) -> None:
    """Insert rows that all have the same columns; part of the caller's transaction."""
    if not rows:
        return
    connection = await session.connection()
    columns = [table.c[name] for name in rows[0]]
    if connection.dialect.name == "postgresql":
        await _copy(connection, table.name, columns, rows)
        return
    await connection.exec_driver_sql(
        f"INSERT INTO {table.name} ({_names(columns)}) VALUES ({_marks(columns)})",
        list(_values(connection.dialect, columns, rows)),
    )


async def merge_rows(session: AsyncSession, table: Table, rows: Rows, on_conflict: str) -> None:
    """Insert rows of which some may be there already.

    Args:
        session: The caller's transaction.
        table: Where to.
        rows: All with the same columns, and no two with the same key.
        on_conflict: What follows `ON CONFLICT`; `excluded` is the row that comes, the table's name
            the row that is there.
    """
    if not rows:
        return
    connection = await session.connection()
    columns = [table.c[name] for name in rows[0]]
    names = _names(columns)
    if connection.dialect.name != "postgresql":
        await connection.exec_driver_sql(
            f"INSERT INTO {table.name} ({names}) VALUES ({_marks(columns)})"
            f" ON CONFLICT {on_conflict}",
            list(_values(connection.dialect, columns, rows)),
        )
        return
    # COPY knows no conflicts: the rows come into a table of this connection's own first
    incoming = f"incoming_{table.name}"
    await connection.exec_driver_sql(
        f"CREATE TEMPORARY TABLE IF NOT EXISTS {incoming} (LIKE {table.name} INCLUDING DEFAULTS)"
        " ON COMMIT DELETE ROWS"
    )
    await _copy(connection, incoming, columns, rows)
    await connection.exec_driver_sql(
        f"INSERT INTO {table.name} ({names}) SELECT {names} FROM {incoming}"
        f" ON CONFLICT {on_conflict}"
    )
    await connection.exec_driver_sql(f"TRUNCATE {incoming}")


async def _copy(
    connection: AsyncConnection, table: str, columns: Sequence[Column[Any]], rows: Rows
) -> None:
    # the adapter begins its transaction with the first statement that it is given itself
    await connection.exec_driver_sql("SELECT 1")
    raw = await connection.get_raw_connection()
    driver = raw.driver_connection
    assert driver is not None
    await driver.copy_records_to_table(
        table,
        records=_values(connection.dialect, columns, rows),
        columns=[column.name for column in columns],
    )


def _values(
    dialect: Dialect, columns: Sequence[Column[Any]], rows: Rows
) -> Iterator[tuple[Any, ...]]:
    bind = [_binder(dialect, column) for column in columns]
    for row in rows:
        yield tuple(
            [
                value if to is None or value is None else to(value)
                for to, value in zip(bind, row.values(), strict=True)
            ]
        )


def _binder(dialect: Dialect, column: Column[Any]) -> Callable[[Any], Any] | None:
    return column.type.dialect_impl(dialect).bind_processor(dialect)


def _names(columns: Sequence[Column[Any]]) -> str:
    return ", ".join(column.name for column in columns)


def _marks(columns: Sequence[Column[Any]]) -> str:
    return ", ".join("?" for _ in columns)
