"""Serve, worker, doctor, keys, db."""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from io import StringIO
from socket import socket
from typing import Annotated, Any

import typer
import uvicorn
from alembic import command
from alembic.migration import MigrationContext
from alembic.util.exc import CommandError
from fastapi import FastAPI
from sqlalchemy.engine import Connection
from sqlalchemy.ext.asyncio import AsyncSession

from app.cli import tables
from app.cli.console import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USAGE, AsJson, Console, fail, note
from app.cli.service import (
    DATABASE_ERRORS,
    database_errors,
    database_fault,
    read_settings,
    refusals,
    run,
)
from app.core import auth, migrate
from app.core.db import Database
from app.core.errors import Conflict, NotFound, TribunalError
from app.core.migrate import alembic_config, shown_url
from app.core.names import fault_of, shown
from app.core.runtime import now
from app.core.settings import Settings
from app.core.telemetry import configure_logging
from judges.base import Judge, JudgeHealth

database = typer.Typer(help="Bring the database's schema up or down.", no_args_is_help=True)
Change = Callable[[Connection], None]


@database.command("upgrade")
def upgrade(revision: str = "head", as_json: AsJson = False) -> None:
    """Apply every migration."""
    _change("upgraded", lambda c: command.upgrade(alembic_config(c), revision), as_json)


@database.command("downgrade")
def downgrade(
    revision: Annotated[str, typer.Argument(help="base empties the database")],
    as_json: AsJson = False,
) -> None:
    """Undo migrations down to a revision."""
    _change("downgraded", lambda c: command.downgrade(alembic_config(c), revision), as_json)


@database.command("check")
def check(as_json: AsJson = False) -> None:
    """Compare the database with what this version expects; exit status 1 if it differs."""
    settings = read_settings()
    body = run(_on_connection(settings.database_url, _compared), settings)
    Console(as_json).show(body, tables.schema)
    if body["status"] != "current":
        fail(f"the database differs from what this version expects: {body['detail']}")


def _change(done: str, change: Change, as_json: bool) -> None:
    def changed(connection: Connection) -> dict[str, Any]:
        change(connection)
        return {"status": done, "revision": _revision(connection)}

    settings = read_settings()
    body = run(_on_connection(settings.database_url, changed), settings)
    Console(as_json).show(body, tables.schema)


def _compared(connection: Connection) -> dict[str, Any]:
    config = alembic_config(connection)
    config.stdout = StringIO()  # what it finds is ours to say
    try:
        command.check(config)
    except CommandError as error:
        return {"status": "differs", "revision": _revision(connection), "detail": str(error)}
    return {"status": "current", "revision": _revision(connection), "detail": None}


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


async def _on_connection(url: str, verb: Callable[[Connection], dict[str, Any]]) -> dict[str, Any]:
    db = Database(url)
    try:
        async with db.engine.begin() as connection:
            return await connection.run_sync(verb)
    finally:
        await db.aclose()


keys = typer.Typer(help="Make, list and revoke keys.", no_args_is_help=True)


@keys.command("create")
def create_key(
    name: Annotated[str, typer.Argument(help="whose key it is; no two keys in use share a name")],
    as_json: AsJson = False,
) -> None:
    """Make a key and print it, once."""
    fault = fault_of(name.strip())
    if fault is not None:
        fail(f"the name {fault}", status=EXIT_USAGE)
    settings = read_settings()
    body = run(_created(settings, name.strip()), settings)
    note(f"the key {body['name']!r} ({body['id']}) is shown this once; it opens every service on")
    note(f"{shown_url(settings)}, and no other, whatever TRIBUNAL_SERVER says")
    Console(as_json, is_plain=True).show(body, lambda _, made: typer.echo(made["key"]))


@keys.command("list")
def list_keys(as_json: AsJson = False) -> None:
    """List keys, without what opens the door."""
    settings = read_settings()
    Console(as_json).show(run(_listed(settings), settings), tables.keys)


@keys.command("revoke")
def revoke_key(
    key: Annotated[str, typer.Argument(help="name or id, see keys list")],
    as_json: AsJson = False,
) -> None:
    """Close the door for one key."""
    settings = read_settings()
    body = run(_revoked(settings, key), settings)
    Console(as_json).show(body, lambda _, k: note(f"the key {k['name']!r} ({k['id']}) is revoked"))


async def _created(settings: Settings, name: str) -> dict[str, Any]:
    async with _Opened(settings) as db:
        secret = await auth.server_secret(settings, db)
        async with db.write() as session:
            for other in await auth.list_keys(session):
                if other["name"] == name and other["revoked_at"] is None:
                    raise Conflict(
                        f"there is a key {shown(name)} already ({other['id']}): take another name, "
                        "or revoke that one first"
                    )
            _, key = await auth.create_key(session, secret, name, now())
            return {**(await auth.list_keys(session))[-1], "key": key}


async def _listed(settings: Settings) -> list[dict[str, Any]]:
    async with _Opened(settings) as db, db.read() as session:
        return await auth.list_keys(session)


async def _revoked(settings: Settings, ref: str) -> dict[str, Any]:
    async with _Opened(settings) as db, db.write() as session:
        key = await _find(session, ref)
        if key["revoked_at"] is None:
            await auth.revoke_key(session, key["id"], now())
        return await _find(session, key["id"])


async def _find(session: AsyncSession, ref: str) -> dict[str, Any]:
    """Return the key of this id, else the one of this name; one in use comes before revoked ones.

    Raises:
        NotFound: there is none.
        Conflict: several keys of older databases share the name.
    """
    every = await auth.list_keys(session)
    named = [key for key in every if key["name"] == ref]
    in_use = [key for key in named if key["revoked_at"] is None]
    found = [key for key in every if key["id"] == ref] or in_use or named
    if not found:
        raise NotFound(f"there is no key {shown(ref)}")
    if len(found) > 1:
        ids = ", ".join(key["id"] for key in found)
        raise Conflict(f"{len(found)} keys have the name {shown(ref)}: give an id ({ids})")
    return found[0]


class _Opened:
    """The migrated database of the settings, closed at the end."""

    def __init__(self, settings: Settings) -> None:
        self._db = Database(settings.database_url)

    async def __aenter__(self) -> Database:
        await migrate.upgrade(self._db)
        return self._db

    async def __aexit__(self, *_: object) -> None:
        await self._db.aclose()


_LOADING_SECONDS = 900
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
LogAsJson = Annotated[bool, typer.Option("--json", help="log JSON, one event a line")]


def freeze_loaded() -> None:
    """Exempt what is loaded from garbage collection, and collect the rest less often.

    The objects of a started service stay, and those of a shard live until it is stored.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def add_to(app: typer.Typer) -> None:
    """Add these verbs to the command line."""
    app.command()(serve)
    app.command()(worker)
    app.command()(doctor)
    app.add_typer(keys, name="keys")
    app.add_typer(database, name="db")


def serve(
    host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="port to listen on", min=0, max=65535)] = 8000,
    as_json: LogAsJson = False,
) -> None:
    """Start the service; it creates and migrates its database. Ctrl-C ends it."""
    if host not in _LOOPBACK:
        note(
            "without keys only requests from this machine are answered (tribunal keys create NAME)"
        )
    settings = _logging_settings(as_json)
    with refusals():
        settings.load_config()
    from app.main import create_app  # verbs that ask a server need none of the service

    service = Service(create_app(settings), host, port)
    try:
        with refusals(), database_errors(settings), suppress(KeyboardInterrupt):
            service.run()
    except SystemExit:
        # the server itself ends with a status of its own, after it has logged why
        fail(f"cannot listen on {host}:{port}")


class Service(uvicorn.Server):
    """A server that opens and closes the service itself, so that what fails is still an error."""

    def __init__(self, app: FastAPI, host: str, port: int) -> None:
        super().__init__(uvicorn.Config(app, host=host, port=port, log_config=None, lifespan="off"))
        self._app = app
        self._opened = AsyncExitStack()

    async def startup(self, sockets: list[socket] | None = None) -> None:
        """Open the service, then listen."""
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._app.router.lifespan_context(self._app))
            await super().startup(sockets)
            self._opened = stack.pop_all()
            freeze_loaded()

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        """Answer what was asked, then close the service."""
        await super().shutdown(sockets)
        if not self.force_exit:
            await self._opened.aclose()


def worker(as_json: LogAsJson = False) -> None:
    """Work on the batches of the database until Ctrl-C or a signal to end."""
    settings = _logging_settings(as_json)

    from app.batches.worker.loop import work_in_parallel  # as above
    from app.main import open_runtime

    async def work() -> None:
        async with open_runtime(settings) as running:
            await running.open_judges()
            freeze_loaded()
            note(f"working on the batches of {shown_url(settings)}")
            await work_in_parallel(running)

    async def work_until_told() -> None:
        task = asyncio.ensure_future(work())
        with suppress(NotImplementedError):  # where loops know no signals Ctrl-C does it alone
            for number in (signal.SIGINT, signal.SIGTERM):
                asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        with suppress(asyncio.CancelledError):
            await task

    run(work_until_told(), settings)


def _logging_settings(as_json: bool) -> Settings:
    """Return the settings with the logs switched on, as JSON if either of both says so."""
    settings = read_settings()
    if as_json:
        settings = settings.model_copy(update={"log_json": True})
    configure_logging(settings)
    return settings


def doctor(as_json: AsJson = False) -> None:
    """Say what is configured and whether it works; exit status 1 if something does not."""
    settings = read_settings()
    try:
        body = asyncio.run(_examined(settings))
    except KeyboardInterrupt:
        fail("interrupted", status=EXIT_INTERRUPTED)
    except TribunalError as error:
        body = {**_unexamined(settings, configuration="wrong"), "error": error.detail}
    except DATABASE_ERRORS as error:
        fault = database_fault(settings, error)
        body = {**_unexamined(settings, database="down"), "error": fault}
    Console(as_json).show(body, tables.doctor)
    if body["error"]:
        fail(body["error"])
    if not body["is_well"]:
        raise typer.Exit(EXIT_FAILED)


async def _examined(settings: Settings) -> dict[str, Any]:
    from app.main import open_runtime  # as above

    async with open_runtime(settings) as running:
        await running.open_judges()
        judges = [
            {"name": name, "is_ready": health.is_ready, "detail": health.detail}
            for name, judge in running.registry.judges.items()
            for health in [await _health_when_started(judge)]
        ]
        return {
            **_unexamined(settings, database="ok", configuration="ok"),
            "is_well": all(judge["is_ready"] for judge in judges),
            "judges": judges,
            "cascades": {name: list(js) for name, js in running.registry.cascades.items()},
        }


async def _health_when_started(judge: Judge) -> JudgeHealth:
    """Return how a judge is, once a model of its own has loaded."""
    deadline = asyncio.get_running_loop().time() + _LOADING_SECONDS
    health = await judge.health()
    while health.is_starting and asyncio.get_running_loop().time() < deadline:
        await asyncio.sleep(1)
        health = await judge.health()
    return health


def _unexamined(
    settings: Settings, *, database: str = "?", configuration: str = "?"
) -> dict[str, Any]:
    path = settings.config_path
    return {
        "is_well": False,
        "error": None,
        "database": {"status": database, "url": shown_url(settings)},
        "configuration": {"status": configuration, "path": str(path) if path else None},
        "judges": [],
        "cascades": {},
    }
