"""The verbs about the database's schema."""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO
from typing import Annotated, Any

import typer
from alembic import command
from alembic.migration import MigrationContext
from alembic.util.exc import CommandError
from sqlalchemy.engine import Connection

from app.cli import tables
from app.cli.console import AsJson, Console, fail
from app.cli.opening import read_settings, run
from app.db import Database
from app.migrate import alembic_config

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
