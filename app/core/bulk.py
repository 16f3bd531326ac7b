"""Many rows at once: COPY on PostgreSQL, statements of many rows on SQLite, no objects between.

JSON in them holds no NaN and no infinity.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain
from typing import Any, Final

from sqlalchemy import ARRAY, String, bindparam, func, select
from sqlalchemy.engine import Dialect
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncSession
from sqlalchemy.sql.expression import ColumnClause, ColumnElement, TableClause

from app.core.db import JsonText, UtcTime, to_json_quickly
from app.core.pools import beside_if_many

Rows = Sequence[Mapping[str, Any]]
Columns = Sequence[ColumnClause[Any]]
# SQLite's own limit, unless it was built with another
_MOST_VALUES: Final = 32_766


async def insert_rows(session: AsyncSession, table: TableClause, rows: Rows) -> None:
    """Insert rows that all have the same columns; part of the caller's transaction."""
    if not rows:
        return
    connection = await session.connection()
    columns = [table.c[name] for name in rows[0]]
    if connection.dialect.name == "postgresql":
        await _copy(connection, table.name, columns, rows)
        return
    await _insert(connection, table.name, columns, rows)


async def merge_rows(
    session: AsyncSession, table: TableClause, rows: Rows, on_conflict: str
) -> None:
    """Insert rows, some of which may exist already.

    Args:
        session: The caller's transaction.
        table: Where to.
        rows: All with the same columns, and no two with the same key.
        on_conflict: The SQL after `ON CONFLICT`; `excluded` is the new row, the table's name the
            stored one.
    """
    if not rows:
        return
    connection = await session.connection()
    columns = [table.c[name] for name in rows[0]]
    names = _names(columns)
    if connection.dialect.name != "postgresql":
        await _insert(connection, table.name, columns, rows, f" ON CONFLICT {on_conflict}")
        return
    # COPY has no ON CONFLICT: it fills a temporary table of this connection first
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


def is_one_of(session: AsyncSession, column: ColumnElement[Any], texts: Sequence[str]) -> Any:
    """Return the condition that a column is one of these texts, in one parameter for all."""
    if session.get_bind().dialect.name == "postgresql":
        return column == func.any(bindparam(None, list(texts), ARRAY(String)))
    listed = func.json_each(bindparam(None, to_json_quickly(list(texts)), String))
    return column.in_(select(listed.table_valued("value").c.value))


async def _insert(
    connection: AsyncConnection, table: str, columns: Columns, rows: Rows, further: str = ""
) -> None:
    """Insert in statements of very many rows.

    A statement runs without the interpreter's lock, so one long statement leaves it to the threads
    that judge; statements of one row would compete for it at every row.
    """
    beginning = f"INSERT INTO {table} ({_names(columns)}) VALUES "
    marks = f"({', '.join('?' for _ in columns)})"
    values = await beside_if_many(
        len(rows), lambda: list(_values(connection.dialect, columns, rows))
    )
    at_once = _MOST_VALUES // len(columns)
    for first in range(0, len(values), at_once):
        some = values[first : first + at_once]
        statement = f"{beginning}{', '.join([marks] * len(some))}{further}"
        await connection.exec_driver_sql(statement, tuple(chain.from_iterable(some)))


async def _copy(connection: AsyncConnection, table: str, columns: Columns, rows: Rows) -> None:
    import asyncpg  # loaded with the engine of PostgreSQL; SQLite needs none of it

    # the adapter starts its transaction only at the first statement that passes through it
    await connection.exec_driver_sql("SELECT 1")
    raw = await connection.get_raw_connection()
    driver = raw.driver_connection
    assert driver is not None
    try:
        await driver.copy_records_to_table(
            table,
            records=_values(connection.dialect, columns, rows),
            columns=[column.name for column in columns],
        )
    except asyncpg.IntegrityConstraintViolationError as error:
        raise IntegrityError(f"COPY {table}", None, error) from error
    except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise DBAPIError(f"COPY {table}", None, error) from error


def _values(dialect: Dialect, columns: Columns, rows: Rows) -> Iterable[tuple[Any, ...]]:
    # column by column, because most columns need no conversion
    by_column = zip(*[row.values() for row in rows], strict=True)
    bound = [
        _bound(dialect, column, values) for column, values in zip(columns, by_column, strict=True)
    ]
    return zip(*bound, strict=True)


def _bound(dialect: Dialect, column: ColumnClause[Any], values: Sequence[Any]) -> Sequence[Any]:
    to: Callable[[Any], Any] | None = to_json_quickly
    if not isinstance(column.type, JsonText):
        to = column.type.dialect_impl(dialect).bind_processor(dialect)
    if to is None:
        return values
    if isinstance(column.type, UtcTime):
        # rows stored together mostly share one moment
        moments = {value: to(value) for value in {*values} - {None}}
        return [moments.get(value) for value in values]
    return [None if value is None else to(value) for value in values]


def _names(columns: Columns) -> str:
    return ", ".join(column.name for column in columns)
