"""How verbs reach the service, and how what keeps them from it becomes one line and a status."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, nullcontext
from typing import Annotated, Any, Final, TypeVar

import asyncpg
import typer
from alembic.util.exc import CommandError
from pydantic import ValidationError
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from app.cli.console import EXIT_INTERRUPTED, EXIT_USAGE, fail
from app.client import (
    ConnectionInvalid,
    NotAuthenticated,
    NotFound,
    RequestRefused,
    Tribunal,
    TribunalClientError,
)
from app.database_place import database_place, is_missing, shown_url
from app.errors import TribunalError
from app.logging import configure_logging
from app.settings import Settings

Server = Annotated[
    str | None,
    typer.Option(envvar="TRIBUNAL_SERVER", help="address of a server; none: run in this process"),
]
Key = Annotated[str | None, typer.Option(envvar="TRIBUNAL_API_KEY", help="key of the server")]
ResultT = TypeVar("ResultT")
_OTHERS: Final = "(DATABASE_URL names another database, --server or TRIBUNAL_SERVER a service)"
DATABASE_ERRORS: Final = (SQLAlchemyError, CommandError, OSError, asyncpg.PostgresError)


@contextmanager
def open_tribunal(
    server: str | None, key: str | None, *, only_reads: bool = False, **changed: Any
) -> Iterator[Tribunal]:
    """Open the service, and turn what it refuses into an exit status.

    Args:
        server: Its address; None for the service in this process.
        key: Of the server.
        only_reads: The verb has nothing to do without what is stored: where there is no database
            it fails, and leaves no empty one behind. Nor does it go on with a batch that somebody
            left unfinished: looking costs nothing.
        changed: Settings of the service in this process that a verb needs otherwise.
    """
    idle = {"workers": 0} if only_reads else {}
    settings = read_settings().model_copy(update={"log_level": "warning", **idle, **changed})
    was_missing = not server and is_missing(settings)
    if was_missing and only_reads:
        fail(f"there is no database {database_place(settings)}: nothing is stored here {_OTHERS}")
    configure_logging(settings)
    with refusals():
        with database_errors(settings):
            tribunal = Tribunal(server, api_key=key, settings=settings)
        where = f"{database_place(settings)}{', which was just made' if was_missing else ''}"
        with tribunal, nullcontext() if server else _saying(where):
            yield tribunal


@contextmanager
def _saying(where: str) -> Iterator[None]:
    """Name the database in which something was not found."""
    try:
        yield
    except NotFound as error:
        fail(f"{error}; looked into {where} {_OTHERS}", details=error.problem)


@contextmanager
def refusals() -> Iterator[None]:
    """Turn what the service or the user says no to into one line and an exit status."""
    try:
        yield
    except KeyboardInterrupt:
        fail("interrupted", status=EXIT_INTERRUPTED)
    except NotAuthenticated as error:
        fail(f"{error} (--key or TRIBUNAL_API_KEY)")
    except RequestRefused as error:
        fail(str(error), details=error.problem)
    except ConnectionInvalid as error:
        fail(str(error), status=EXIT_USAGE)
    except TribunalClientError as error:
        fail(str(error))
    except TribunalError as error:
        fail(error.detail)


def read_settings() -> Settings:
    """Return the settings of the environment, or name the one that is wrong."""
    try:
        return Settings()
    except ValidationError as error:
        faults = [f"{_variable(fault['loc'])}: {_reason(fault['msg'])}" for fault in error.errors()]
    return fail("; ".join(faults))


def _variable(loc: tuple[int | str, ...]) -> str:
    """Return the environment's name of a setting."""
    name = str(loc[0]).upper() if loc else "settings"
    if name == "DATABASE_URL":
        return name if name in os.environ else f"TRIBUNAL_{name}"
    return name if name.startswith("TRIBUNAL_") else f"TRIBUNAL_{name}"


def _reason(message: str) -> str:
    return message.removeprefix("Value error, ")


@contextmanager
def database_errors(settings: Settings) -> Iterator[None]:
    """Turn a database that cannot be reached or used into one line."""
    try:
        yield
    except BrokenPipeError:
        raise  # standard output was closed: no database has to do with that
    except DATABASE_ERRORS as error:
        fail(database_fault(settings, error))


def database_fault(settings: Settings, error: BaseException) -> str:
    """Return in one line what is wrong with the database."""
    cause = (isinstance(error, DBAPIError) and error.orig) or error
    lines = str(cause).strip().splitlines() or [type(cause).__name__]
    return f"DATABASE_URL {shown_url(settings)}: {lines[0]}"


def run(work: Coroutine[Any, Any, ResultT], settings: Settings) -> ResultT:
    """Run what works on the database of the settings."""
    with refusals(), database_errors(settings):
        return asyncio.run(work)
