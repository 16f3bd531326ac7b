"""The verbs about keys; they need the database, not a server."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from sqlalchemy.ext.asyncio import AsyncSession

from app import auth, migrate
from app.cli import tables
from app.cli.console import EXIT_USAGE, AsJson, Console, fail, note
from app.cli.opening import read_settings, run
from app.database_place import shown_url
from app.db import Database
from app.errors import Conflict, NotFound
from app.identifiers import fault_of, shown
from app.runtime import now
from app.settings import Settings

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
