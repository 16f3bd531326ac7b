"""Looks at what is stored, at a server or in the database itself.

To start the service takes several times as long as a look: it loads the web framework, judges and
statistics.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple
from urllib.parse import quote

from app.cli.console import fail
from app.cli.service import (
    OTHER_PLACES,
    Where,
    database_errors,
    open_tribunal,
    read_settings,
    refusals,
    refuse_missing,
)

if TYPE_CHECKING:
    from app.core.db import Database, Stores
    from app.core.lists import Page, Paging
    from app.core.settings import Settings

Order = Literal["asc", "desc"]
MOST_ROWS: Final = 1_000


class _Readers(NamedTuple):
    """How one kind of thing is read from the database."""

    page: Callable[[Stores, Paging], Awaitable[Page]]
    look: Callable[[Stores, str], Awaitable[dict[str, Any]]]


@dataclass(frozen=True, slots=True)
class _Opened:
    """An open database, and the wall clock."""

    db: Database

    def now(self) -> datetime:
        """Return the wall clock."""
        return datetime.now(UTC)


def page_of(
    collection: str,
    where: Where,
    *,
    limit: int,
    after: str | None,
    order: Order,
) -> Mapping[str, Any]:
    """Return a page of a list."""
    readers = None if where.server else _readers(collection)
    if readers is None:
        with open_tribunal(*where, only_reads=True) as tribunal:
            page: Mapping[str, Any] = tribunal.get(
                f"/v1/{collection}", limit=limit, after=after, order=order
            )
            return page

    async def read(stores: Stores, settings: Settings) -> Mapping[str, Any]:
        from app.core.lists import Paging

        paging = Paging(limit, after, order, settings.max_page_bytes)
        return await readers.page(stores, paging)

    return _here(read)


def one_of(collection: str, ref: str, where: Where) -> Mapping[str, Any]:
    """Return one thing by its id; a dataset also by its name."""
    readers = None if where.server else _readers(collection)
    if readers is None:
        with open_tribunal(*where, only_reads=True) as tribunal:
            body: Mapping[str, Any] = tribunal.get(f"/v1/{collection}/{quote(ref, safe='')}")
            return body

    async def read(stores: Stores, settings: Settings) -> Mapping[str, Any]:
        return await readers.look(stores, ref)

    return _here(read)


def _readers(collection: str) -> _Readers | None:
    """Return how a collection is read here; None for one that only the service reads."""
    if collection == "datasets":
        from app.datasets import service as datasets

        return _Readers(datasets.page, datasets.look)
    if collection == "calibrations":
        from app.calibrations import stored as calibrations

        return _Readers(calibrations.page, calibrations.look)
    if collection == "batches":
        from app.batches import stored as batches

        return _Readers(batches.page, batches.find)
    if collection == "leaderboards":
        from app.leaderboards import stored as leaderboards

        return _Readers(leaderboards.page, leaderboards.find)
    return None


def _here(
    read: Callable[[Stores, Settings], Awaitable[Mapping[str, Any]]],
) -> Mapping[str, Any]:
    """Read from the database of the settings, which must exist; an old one is brought up to date."""
    import asyncio

    from app.core.errors import NotFound

    settings = read_settings()
    refuse_missing(settings)

    async def opened() -> Mapping[str, Any]:
        from app.core.db import Database
        from app.core.migrate import upgrade

        db = Database(settings.database_url, settings.database_wait_seconds)
        try:
            await upgrade(db)
            return await read(_Opened(db), settings)
        finally:
            await db.aclose()

    with refusals(), database_errors(settings):
        try:
            return asyncio.run(opened())
        except NotFound as error:
            from app.core.migrate import database_place

            fail(f"{error}; looked into {database_place(settings)} {OTHER_PLACES}")
