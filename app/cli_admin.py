"""The verbs that run and look after a service: serve, worker, keys, db, doctor."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Annotated, Any

import typer
import uvicorn
from sqlalchemy import make_url, select
from sqlalchemy.exc import SQLAlchemyError

from app import auth, migrate
from app.cli_console import fail
from app.db import Database
from app.errors import TribunalError
from app.jobs.worker import work_forever
from app.logging import configure_logging
from app.main import create_app, open_runtime
from app.runtime import now
from app.settings import Settings

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
keys = typer.Typer(help="Make, list and revoke keys.", no_args_is_help=True)
database = typer.Typer(help="Bring the database's schema up or down.", no_args_is_help=True)
Verb = Callable[[Database, Settings], Awaitable[Any]]


def add_to(app: typer.Typer) -> None:
    """Add these verbs to the command line."""
    app.command()(serve)
    app.command()(worker)
    app.command()(doctor)
    app.add_typer(keys, name="keys")
    app.add_typer(database, name="db")


def serve(
    host: Annotated[str, typer.Option(help="address to listen on")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="port to listen on")] = 8000,
) -> None:
    """Start the service; it creates and migrates its database."""
    if host not in _LOOPBACK:
        typer.echo(
            "tribunal: without keys only requests from this machine are answered "
            "(tribunal keys create NAME)",
            err=True,
        )
    settings = Settings()
    try:
        settings.load_config()
    except TribunalError as error:
        fail(error.detail)
    configure_logging(settings)
    _with_database(_reach, upgrade_first=False)
    try:
        uvicorn.run(create_app(settings), host=host, port=port, log_config=None)
    except SystemExit as error:
        # uvicorn's own number for a failed start means something else here
        if error.code:
            fail("the service did not start; the log says why")
        raise


async def _reach(db: Database, _: Settings) -> None:
    """Fail in one line where there is no database to serve from."""
    async with db.read() as session:
        await session.execute(select(1))


def worker() -> None:
    """Work on the batches of the database until interrupted."""
    settings = Settings()
    configure_logging(settings)

    async def run() -> None:
        async with open_runtime(settings) as running:
            await work_forever(running)

    with suppress(KeyboardInterrupt):
        asyncio.run(run())


def doctor() -> None:
    """Say what is configured and whether it works; exit status 1 if something does not."""
    settings = Settings()

    async def look() -> bool:
        async with open_runtime(settings) as running:
            typer.echo(f"database    ok    {settings.database_url.split('@')[-1]}")
            config = settings.config_path or "none: the embedded judge alone"
            typer.echo(f"configured  ok    {config}")
            healths = {name: await j.health() for name, j in running.registry.judges.items()}
            for name, health in healths.items():
                state = "ok  " if health.is_ready else "down"
                typer.echo(f"judge       {state}  {name} {health.detail}")
            for name, judges in running.registry.cascades.items():
                typer.echo(f"cascade     ok    {name}: {' -> '.join(judges)}")
            return all(health.is_ready for health in healths.values())

    try:
        is_well = asyncio.run(look())
    except (TribunalError, OSError, ValueError, SQLAlchemyError) as error:
        fail(str(error).splitlines()[0])
    if not is_well:
        raise typer.Exit(1)


@keys.command("create")
def create_key(name: Annotated[str, typer.Argument(help="whose key it is")]) -> None:
    """Make a key and print it, once."""

    async def create(db: Database, settings: Settings) -> str:
        secret = await auth.server_secret(settings, db)
        async with db.write() as session:
            return (await auth.create_key(session, secret, name, now()))[1]

    typer.echo(_with_database(create))


@keys.command("list")
def list_keys() -> None:
    """List keys, without what opens the door."""

    async def listed(db: Database, _: Settings) -> list[dict[str, Any]]:
        async with db.read() as session:
            return await auth.list_keys(session)

    typer.echo(json.dumps(_with_database(listed), indent=2))


@keys.command("revoke")
def revoke_key(key_id: Annotated[str, typer.Argument(help="id from keys list")]) -> None:
    """Close the door for one key."""

    async def revoke(db: Database, _: Settings) -> None:
        async with db.write() as session:
            await auth.revoke_key(session, key_id, now())

    _with_database(revoke)


@database.command("upgrade")
def upgrade(revision: str = "head") -> None:
    """Apply every migration."""
    _with_database(lambda db, _: migrate.upgrade(db, revision), upgrade_first=False)


@database.command("downgrade")
def downgrade(revision: Annotated[str, typer.Argument(help="base empties the database")]) -> None:
    """Undo migrations down to a revision."""
    _with_database(lambda db, _: migrate.downgrade(db, revision), upgrade_first=False)


@database.command("check")
def check() -> None:
    """Compare the database with what this version expects."""
    _with_database(lambda db, _: migrate.check(db), upgrade_first=False)


def _with_database(verb: Verb, *, upgrade_first: bool = True) -> Any:
    """Run one verb on the database of the settings; what is refused becomes an exit status."""
    settings = Settings()

    async def run() -> Any:
        db = Database(settings.database_url)
        try:
            if upgrade_first:
                await migrate.upgrade(db)
            return await verb(db, settings)
        finally:
            await db.aclose()

    try:
        return asyncio.run(run())
    except TribunalError as error:
        fail(error.detail)
    except (OSError, SQLAlchemyError) as error:
        where = make_url(settings.database_url).render_as_string(hide_password=True)
        fail(f"DATABASE_URL {where}: {str(error).splitlines()[0]}")
