"""The verbs of an operator: serve, worker, doctor, keys, db."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from app.cli.console import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    EXIT_USAGE,
    AsJson,
    Console,
    Verbs,
    fail,
    note,
)
from app.cli.service import (
    Key,
    Server,
    database_error_kinds,
    database_errors,
    database_fault,
    open_tribunal,
    read_settings,
    refusals,
    run,
)
from app.cli.tables import service as service_tables

if TYPE_CHECKING:
    from app.core.auth import NewKey
    from app.core.settings import Settings

_MOST: Final = 1_000  # rows of one page
_LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")
LogAsJson = Annotated[bool, typer.Option("--json", help="log JSON, one event a line")]

database = typer.Typer(
    help="Bring the database's schema up or down.", no_args_is_help=True, cls=Verbs
)
keys = typer.Typer(help="Make, list and revoke keys.", no_args_is_help=True, cls=Verbs)


def add_to(app: typer.Typer) -> None:
    """Add these verbs to the command line."""
    app.command()(serve)
    app.command()(worker)
    app.command()(doctor)
    app.add_typer(keys, name="keys")
    app.add_typer(database, name="db")


def _of_a_database() -> Settings:
    """Return the settings of a verb that looks at a database: it makes none."""
    from app.core.migrate import database_place, is_missing

    settings = read_settings()
    if is_missing(settings):
        fail(f"there is no database {database_place(settings)}: nothing is stored here")
    return settings


@database.command()
def upgrade(revision: str = "head", as_json: AsJson = False) -> None:
    """Apply every migration."""
    from app.cli.operator import upkeep

    settings = read_settings()
    body = run(upkeep.upgrade(settings, revision), settings)
    Console(as_json).show(body, service_tables.schema)


@database.command()
def downgrade(
    revision: Annotated[str, typer.Argument(help="base empties the database")],
    as_json: AsJson = False,
) -> None:
    """Undo migrations down to a revision."""
    from app.cli.operator import upkeep

    settings = _of_a_database()
    body = run(upkeep.downgrade(settings, revision), settings)
    Console(as_json).show(body, service_tables.schema)


@database.command()
def check(as_json: AsJson = False) -> None:
    """Compare the database with what this version expects; exit status 1 if it differs."""
    from app.cli.operator import upkeep

    settings = _of_a_database()
    body = run(upkeep.compare(settings), settings)
    Console(as_json).show(body, service_tables.schema)
    if body["status"] != "current":
        fail(f"the database differs from what this version expects: {body['detail']}")


@keys.command("create")
def create_key(
    name: Annotated[str, typer.Argument(help="whose key it is; no two keys in use share a name")],
    scope: Annotated[
        list[str] | None,
        typer.Option(help="what it opens: read, judge, label, admin (all; the default); a set"),
    ] = None,
    annotator: Annotated[
        str | None, typer.Option(help="with label: for whose answers; the key's name by default")
    ] = None,
    expires: Annotated[
        str | None, typer.Option(help="after how long it opens nothing: 12h, 90d, 8w")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and print it, once."""
    from app.cli.operator import upkeep
    from app.core.migrate import shown_url

    wanted, lasts = _new_key(name.strip(), scope, annotator), _duration(expires)
    settings = read_settings()
    body = run(upkeep.create_key(settings, wanted, lasts), settings)
    note(f"the key {body['name']!r} ({body['id']}) is shown this once; it opens every service on")
    note(f"{shown_url(settings)}, and no other, whatever TRIBUNAL_SERVER says")
    Console(as_json, is_plain=True).show(body, lambda _, made: typer.echo(made["key"]))


def _new_key(name: str, scopes: list[str] | None, annotator: str | None) -> NewKey:
    from app.core.auth import NewKey, Scope

    _check_name("name", name)
    words = [word.strip() for given in scopes or [Scope.ADMIN.value] for word in given.split(",")]
    unknown = [word for word in words if word not in list(Scope)]
    if unknown:
        known = ", ".join(Scope)
        fail(f"--scope: there is no scope {unknown[0]!r}; there are {known}", status=EXIT_USAGE)
    chosen = frozenset(Scope(word) for word in words)
    if annotator is not None and not chosen & {Scope.LABEL, Scope.ADMIN}:
        fail("--annotator goes with --scope label", status=EXIT_USAGE)
    if annotator is None and Scope.LABEL in chosen:
        annotator = name
    if annotator is not None:
        annotator = annotator.strip()
        _check_name("annotator", annotator)
    return NewKey(name, chosen, annotator)


def _check_name(what: str, name: str) -> None:
    from app.core.names import fault_of

    fault = fault_of(name)
    if fault is not None:
        fail(f"the {what} {fault}", status=EXIT_USAGE)


def _duration(text: str | None) -> timedelta | None:
    """Return a length of time, written as a number and a unit."""
    if text is None:
        return None
    from app.core.db import read_duration

    try:
        return read_duration(text)
    except ValueError as error:
        fail(f"--expires: {error}", status=EXIT_USAGE)


@keys.command("list")
def list_keys(as_json: AsJson = False) -> None:
    """List keys without their secrets."""
    from app.cli.operator import upkeep

    settings = _of_a_database()
    Console(as_json).show(run(upkeep.list_keys(settings), settings), service_tables.keys)


@keys.command("revoke")
def revoke_key(
    key: Annotated[str, typer.Argument(help="name or id, see keys list")],
    as_json: AsJson = False,
) -> None:
    """Revoke a key: it opens nothing any more."""
    from app.cli.operator import upkeep

    settings = _of_a_database()
    body = run(upkeep.revoke_key(settings, key), settings)
    Console(as_json).show(body, lambda _, k: note(f"the key {k['name']!r} ({k['id']}) is revoked"))


@keys.command("signing")
def signing_key(as_json: AsJson = False) -> None:
    """Show the public key of the key that signs exported certificates; made on first use."""
    from app.cli.operator import upkeep

    settings = read_settings()
    body = run(upkeep.signing_key(settings), settings)
    Console(as_json, is_plain=True).show(body, lambda _, made: typer.echo(made["public_key"]))


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
    from app.cli.operator.server import Service
    from app.main import create_app

    service = Service(create_app(settings), settings, host, port)
    try:
        with refusals(), database_errors(settings), suppress(KeyboardInterrupt):
            service.run()
    except SystemExit:
        # the server exits with a status of its own, after it has logged the reason
        fail(f"cannot listen on {host}:{port}")


def worker(as_json: LogAsJson = False) -> None:
    """Work on the batches of the database until Ctrl-C or a signal to end."""
    from app.cli.operator.server import work_until_told

    settings = _logging_settings(as_json)
    run(work_until_told(settings), settings)


def _logging_settings(as_json: bool) -> Settings:
    """Return the settings with logs switched on, as JSON if the option or the settings say so."""
    settings = read_settings()
    if as_json:
        settings = settings.model_copy(update={"log_json": True})
    from app.core.telemetry import configure_logging

    configure_logging(settings)
    return settings


def doctor(server: Server = None, key: Key = None, as_json: AsJson = False) -> None:
    """Show what is configured and whether it works; exit status 1 if something does not.

    With a server it is asked. Without one, the settings, the database and the judges of this
    process are looked at, and nothing is made or changed.
    """
    body = _diagnosis_of(server, key) if server else _diagnosis(read_settings())
    Console(as_json).show(body, service_tables.doctor)
    if body["error"]:
        fail(body["error"])
    if not body["is_well"]:
        raise typer.Exit(EXIT_FAILED)


def _diagnosis_of(server: str, key: str | None) -> dict[str, Any]:
    """Ask a server for its judges and cascades, and whether it is ready."""
    from app.client import NotReady

    body: dict[str, Any] = {
        "is_well": True, "error": None, "server": {"status": "ok", "url": server}, "judges": [],
        "cascades": {},
    }  # fmt: skip
    with open_tribunal(server, key) as tribunal:
        try:
            tribunal.get("/readyz")
            judges = tribunal.get("/v1/judges", limit=_MOST)["data"]
            cascades = tribunal.get("/v1/cascades", limit=_MOST)["data"]
        except NotReady as error:
            return {
                **body,
                "is_well": False,
                "error": f"{server}: {error}",
                "server": {"status": "down", "url": server},
                "judges": _healths(error.problem.get("judges") or {}),
            }
    body["judges"] = _healths({one["name"]: one["health"] for one in judges})
    body["cascades"] = {one["name"]: one["judges"] for one in cascades}
    body["is_well"] = all(one["is_ready"] for one in body["judges"])
    return body


def _healths(health: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        {"name": name, "is_ready": one["ready"], "detail": one["detail"]}
        for name, one in health.items()
    ]


def _diagnosis(settings: Settings) -> dict[str, Any]:
    import asyncio

    from app.cli.operator import upkeep
    from app.core.errors import TribunalError

    try:
        found = asyncio.run(upkeep.examined(settings))
    except KeyboardInterrupt:
        fail("interrupted", status=EXIT_INTERRUPTED)
    except TribunalError as error:
        return {**_unexamined(settings, configuration="wrong"), "error": error.detail}
    except database_error_kinds() as error:
        fault = database_fault(settings, error)
        return {**_unexamined(settings, database="down"), "error": fault}
    status = found.pop("database")
    body = {**_unexamined(settings, database=status, configuration="ok"), **found}
    if status == "newer":
        return {
            **body,
            "is_well": False,
            "error": "the database is of a newer version: upgrade this",
        }
    return body


def _unexamined(
    settings: Settings, *, database: str = "?", configuration: str = "?"
) -> dict[str, Any]:
    from app.core.migrate import shown_url

    path = settings.config_path
    return {
        "is_well": False,
        "error": None,
        "database": {"status": database, "url": shown_url(settings)},
        "configuration": {"status": configuration, "path": str(path) if path else None},
        "judges": [],
        "cascades": {},
    }
