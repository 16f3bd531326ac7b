"""Looks at what is stored, at a server or in the database itself.

To start the service takes several times as long as a look: it loads the web framework, judges and
statistics.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, Protocol
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


class _Chosen(Protocol):
    """The settings that a look needs."""

    @property
    def database_url(self) -> str: ...
    @property
    def database_wait_seconds(self) -> float: ...
    @property
    def max_page_bytes(self) -> int: ...


@dataclass(frozen=True, slots=True)
class Plain:
    """The settings that a look needs, where the environment names no other than the database."""

    database_url: str
    database_wait_seconds: float
    max_page_bytes: int


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

    async def read(stores: Stores, settings: _Chosen) -> Mapping[str, Any]:
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

    async def read(stores: Stores, settings: _Chosen) -> Mapping[str, Any]:
        return await readers.look(stores, ref)

    return _here(read)


# of the environment; no settings of the service
_OF_THE_CLIENT: Final = {"TRIBUNAL_SERVER", "TRIBUNAL_API_KEY", "TRIBUNAL_OUTPUT"}
_ADDRESSES: Final = {"DATABASE_URL", "TRIBUNAL_DATABASE_URL"}


def _settings() -> _Chosen:
    """Return the settings that a look needs.

    To load all of them takes as long as to look: that is done where the environment has others than
    the address of the database, of which each may be wrong, and where the address is.
    """
    from app.core.db import DEFAULT_URL, WAIT_SECONDS, checked_url
    from app.core.lists import PAGE_BYTES

    named = [name for name in os.environ if name.upper().startswith("TRIBUNAL_")]
    others = set(named) - _OF_THE_CLIENT - _ADDRESSES
    urls = [url for name, url in os.environ.items() if name.upper() in _ADDRESSES]
    if others or len(urls) > 1:
        return read_settings()
    try:
        return Plain(checked_url(*urls or [DEFAULT_URL]), WAIT_SECONDS, PAGE_BYTES)
    except ValueError:
        return read_settings()


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
    read: Callable[[Stores, _Chosen], Awaitable[Mapping[str, Any]]],
) -> Mapping[str, Any]:
    """Read from the database of the settings, which must exist; an old one is brought up to date."""
    import asyncio

    from app.core.errors import NotFound

    settings = _settings()
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
