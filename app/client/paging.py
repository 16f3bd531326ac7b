"""Lists of the service, fetched page by page while somebody looks at them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from app.api.bodies import VerdictBody

if TYPE_CHECKING:
    import pandas as pd

RowT = TypeVar("RowT")
Page = dict[str, Any]


class Pages(Generic[RowT]):
    """All rows of a list; going through it fetches page after page, anew each time."""

    def __init__(self, fetch: Callable[[str | None], Page]) -> None:
        self._fetch = fetch

    def __iter__(self) -> Iterator[RowT]:
        """Yield row after row."""
        for page in self.pages():
            yield from page

    def pages(self) -> Iterator[list[RowT]]:
        """Yield the rows page by page."""
        after = None
        while True:
            page = self._fetch(after)
            yield page["data"]
            if not page["has_more"]:
                return
            after = page["last_id"]

    def to_pandas(self) -> pd.DataFrame:
        """Return all rows as a table; needs the extra `pandas`."""
        from app.client.display import rows_frame

        return rows_frame(self)


class Verdicts(Iterator[VerdictBody]):
    """The verdicts of a batch, one after the other as they arrive."""

    def __init__(self, rows: Iterator[VerdictBody]) -> None:
        self._rows = rows

    def __next__(self) -> VerdictBody:
        """Return the next one."""
        return next(self._rows)

    def to_pandas(self) -> pd.DataFrame:
        """Return those that are left as a table; needs the extra `pandas`."""
        from app.client.display import rows_frame

        return rows_frame(self)


class AsyncVerdicts(AsyncIterator[VerdictBody]):
    """The verdicts of a batch, awaited one after the other."""

    def __init__(self, rows: AsyncIterator[VerdictBody]) -> None:
        self._rows = rows

    async def __anext__(self) -> VerdictBody:
        """Return the next one."""
        return await anext(self._rows)

    async def to_pandas(self) -> pd.DataFrame:
        """Return those that are left as a table; needs the extra `pandas`."""
        from app.client.display import rows_frame

        return rows_frame([verdict async for verdict in self])


class AsyncPages(Generic[RowT]):
    """All rows of a list; going through it awaits page after page, anew each time."""

    def __init__(self, fetch: Callable[[str | None], Awaitable[Page]]) -> None:
        self._fetch = fetch

    async def __aiter__(self) -> AsyncIterator[RowT]:
        """Yield row after row."""
        async for page in self.pages():
            for row in page:
                yield row

    async def pages(self) -> AsyncIterator[list[RowT]]:
        """Yield the rows page by page."""
        after = None
        while True:
            page = await self._fetch(after)
            yield page["data"]
            if not page["has_more"]:
                return
            after = page["last_id"]

    async def to_list(self) -> list[RowT]:
        """Return all rows."""
        return [row async for row in self]

    async def to_pandas(self) -> pd.DataFrame:
        """Return all rows as a table; needs the extra `pandas`."""
        from app.client.display import rows_frame

        return rows_frame(await self.to_list())
