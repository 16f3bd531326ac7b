"""Lists and verdicts of the service, fetched piece by piece while they are gone through."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from app.bodies.judgments import ResultBody

if TYPE_CHECKING:
    import pandas as pd

RowT = TypeVar("RowT")
Page = dict[str, Any]


class AsyncPages(Generic[RowT]):
    """All rows of a list; every pass over it awaits page after page."""

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


class Pages(Generic[RowT]):
    """All rows of a list; every pass over it fetches page after page.

    Args:
        start: Starts a pass.
    """

    def __init__(self, start: Callable[[], Iterator[list[RowT]]]) -> None:
        self._start = start

    def __iter__(self) -> Iterator[RowT]:
        """Yield row after row."""
        return chain.from_iterable(self._start())

    def pages(self) -> Iterator[list[RowT]]:
        """Yield the rows page by page."""
        return self._start()

    def to_pandas(self) -> pd.DataFrame:
        """Return all rows as a table; needs the extra `pandas`."""
        from app.client.display import rows_frame

        return rows_frame(self)


class AsyncVerdicts(AsyncIterator[ResultBody]):
    """The verdicts of a batch, awaited one after the other."""

    def __init__(self, pieces: AsyncIterator[list[ResultBody]]) -> None:
        self._rows = (row async for piece in pieces for row in piece)

    async def __anext__(self) -> ResultBody:
        """Return the next one."""
        return await anext(self._rows)

    async def to_pandas(self) -> pd.DataFrame:
        """Return those that are left as a table; needs the extra `pandas`."""
        from app.client.display import rows_frame

        return rows_frame([verdict async for verdict in self])


class Verdicts(Iterator[ResultBody]):
    """The verdicts of a batch, one after the other as they arrive."""

    def __init__(self, pieces: Iterator[list[ResultBody]]) -> None:
        self._rows = chain.from_iterable(pieces)

    def __next__(self) -> ResultBody:
        """Return the next one."""
        return next(self._rows)

    def to_pandas(self) -> pd.DataFrame:
        """Return those that are left as a table; needs the extra `pandas`."""
        from app.client.display import rows_frame

        return rows_frame(self)
