"""Cursor pages, and look-up by public id.

Lists are newest first, `order=asc` turns them; what has an order of its own, such as the rows of a
file, keeps it, and `order=desc` turns it. `after` is the id of the last row already seen, so that
new rows never shift a page in either direction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Final, Literal, TypeVar

from sqlalchemy import Select, Text, func, select, type_coerce
from sqlalchemy.ext.asyncio import AsyncSession

from app.bodies.common import PageBody
from app.core.db import JsonText
from app.core.errors import NotFound
from app.core.limits import Limits
from app.core.models import Listed
from app.core.names import is_name, shown

Order = Literal["asc", "desc"]
PAGE_BYTES: Final = Limits().page_bytes
RowT = TypeVar("RowT")
OtherT = TypeVar("OtherT")
SelectT = TypeVar("SelectT", bound=Select[*tuple[Any, ...]])


@dataclass(frozen=True, slots=True)
class Paging:
    """Which page of a list is asked for."""

    limit: int
    after: str | None
    order: Order
    most_bytes: int = PAGE_BYTES

    @property
    def descends(self) -> bool:
        """Whether the list is turned round from the order of its column."""
        return self.order == "desc"

    def of(self, query: SelectT, column: Any, after: int | None) -> SelectT:
        """Return the query of this page and of one row more.

        Args:
            query: All rows of the list.
            column: What they are ordered by; no two rows have the same.
            after: The column of the last row already seen.
        """
        if after is not None:
            query = query.where(column < after if self.descends else column > after)
        return query.order_by(column.desc() if self.descends else column).limit(self.limit + 1)


Page = PageBody[dict[str, Any]]


def page_of(
    rows: Sequence[RowT], limit: int, show: Callable[[RowT], dict[str, Any]], key: str = "id"
) -> Page:
    """Make a page of at most `limit` rows out of `limit + 1` fetched ones."""
    data = [show(row) for row in rows[:limit]]
    return {
        "object": "list",
        "data": data,
        "first_id": data[0][key] if data else None,
        "last_id": data[-1][key] if data else None,
        "has_more": len(rows) > limit or isinstance(rows, Cut),
    }


async def fetch_page(
    session: AsyncSession, query: Select[RowT], table: Any, paging: Paging
) -> Sequence[RowT]:
    """Return the rows of a page of `query`, and one more where there is one.

    Raises:
        NotFound: `after` is the id of no row.
    """
    after, seq = paging.after, None
    if after is not None:
        if is_name(after):
            seq = await session.scalar(select(table.seq).where(table.id == after))
        if seq is None:
            raise NotFound(f"after: there is no {shown(after)} in this list")
    found = await rows_within(
        session, paging.of(query, table.seq, seq), lengths_of(table), paging.most_bytes
    )
    return found.map(lambda row: row[0])


class Rows(list[RowT]):
    """The rows of a page, and one more where there is one."""

    def map(self, change: Callable[[RowT], OtherT]) -> Rows[OtherT]:
        """Return other rows in the place of these."""
        return type(self)(map(change, self))


class Cut(Rows[RowT]):
    """The rows of a page that ends early: with the next one it would be too large."""


def length_of(column: Any) -> Any:
    """Return the number of characters of a text, or of JSON as it is stored."""
    return func.length(type_coerce(column, Text))


def lengths_of(table: Any) -> list[Any]:
    """Return the lengths of the columns of a table that may be long."""
    columns = table.__table__.columns
    return [length_of(one) for one in columns if isinstance(one.type, Text | JsonText)]


async def rows_within(
    session: AsyncSession,
    query: Select[*tuple[Any, ...]],
    lengths: Sequence[Any],
    most: int = PAGE_BYTES,
) -> Rows[Any]:
    """Return the rows of a limited query, as many as fit, but at least one.

    Args:
        session: A transaction.
        query: In order and with its limit.
        lengths: Of what may be long in a row; nothing else of it is counted.
        most: Characters that they may have together.
    """
    size: Any = sum(func.coalesce(length, 0) for length in lengths)
    sizes = (await session.scalars(query.with_only_columns(size, maintain_column_froms=True))).all()
    count = max(1, sum(total <= most for total in accumulate(sizes)))
    kind = Rows if count >= len(sizes) else Cut
    return kind((await session.execute(query.limit(count))).all())


ListedT = TypeVar("ListedT", bound=Listed)


async def by_public_id(
    session: AsyncSession, table: type[ListedT], public_id: str
) -> ListedT | None:
    """Return the row with this id, or None.

    An id that no row can have (NUL, lone surrogates) is not sent: PostgreSQL refuses such text.
    """
    if not is_name(public_id):
        return None
    return await session.scalar(select(table).where(table.id == public_id))


async def required(
    session: AsyncSession,
    table: type[ListedT],
    public_id: str,
    what: str,
    field: str | None = None,
) -> ListedT:
    """Return the row with this id.

    Args:
        session: Where to look.
        table: The table.
        public_id: The id.
        what: What a row is called, such as `batch`; its list is at `/v1/batches`.
        field: The field of the request that names the row; None where the path does.

    Raises:
        NotFound: No row has the id; the message names the list to look at.
    """
    found = await by_public_id(session, table, public_id)
    if found is not None:
        return found
    plural = f"{what}es" if what.endswith("h") else f"{what}s"
    message = f"there is no {what} {shown(public_id)}; see GET /v1/{plural}"
    raise NotFound(message) if field is None else NotFound.field([field], message)
