"""The verbs that run and look after a service: serve, worker, doctor; keys and db beside them."""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack, suppress
from socket import socket
from typing import Annotated, Any

import typer
import uvicorn
from fastapi import FastAPI

from app.cli import database, keys, tables
from app.cli.console import EXIT_FAILED, EXIT_INTERRUPTED, AsJson, Console, fail, note
from app.cli.opening import (
    DATABASE_ERRORS,
    database_errors,
    database_fault,
    read_settings,
    refusals,
    run,
)
from app.database_place import shown_url
from app.errors import TribunalError
from app.garbage import spare_what_is_loaded
from app.logging import configure_logging
from app.settings import Settings
from judges.base import Judge, JudgeHealth

_LOADING_SECONDS = 900
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
LogAsJson = Annotated[bool, typer.Option("--json", help="log JSON, one event a line")]


def add_to(app: typer.Typer) -> None:
    """Add these verbs to the command line."""
    app.command()(serve)
    app.command()(worker)
    app.command()(doctor)
    app.add_typer(keys.keys, name="keys")
    app.add_typer(database.database, name="db")


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
            spare_what_is_loaded()

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        """Answer what was asked, then close the service."""
        await super().shutdown(sockets)
        if not self.force_exit:
            await self._opened.aclose()


def worker(as_json: LogAsJson = False) -> None:
    """Work on the batches of the database until Ctrl-C or a signal to end."""
    settings = _logging_settings(as_json)

    from app.jobs.worker import work_in_parallel  # as above
    from app.main import open_runtime

    async def work() -> None:
        async with open_runtime(settings) as running:
            await running.open_judges()
            spare_what_is_loaded()
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
