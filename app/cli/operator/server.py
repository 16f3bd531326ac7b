"""The server and the workers that a verb runs in this process."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import signal
import sys
import threading
from contextlib import AsyncExitStack, suppress
from functools import partial
from socket import socket
from typing import Any, Final, cast

import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from app.batches.worker.loop import work_in_parallel
from app.cli.console import note
from app.cli.operator.connections import LOOK_SECONDS, LimitedConnection
from app.cli.operator.upkeep import _log
from app.core.http.access import keep_peer
from app.core.migrate import shown_url
from app.core.settings import Settings
from app.main import open_runtime

# beside the requests under way: background work, judges, the database
_CLOSING_SECONDS: Final = 15.0
# beside connections: the database, uploads, model servers
_OTHER_FILES: Final = 500
# a tick of the server is a tenth of a second
_LOOK_TICKS: Final = round(LOOK_SECONDS * 10)


def tune_interpreter() -> None:
    """Exempt what is loaded from garbage collection, and collect the rest less often.

    The objects of a started service stay, and those of a shard live until it is stored.
    """
    import scipy.special
    import scipy.stats  # noqa: F401 - the first request would wait for them

    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    # a thread that computes leaves the interpreter to the event loop as often
    sys.setswitchinterval(0.001)


def end_after(seconds: float) -> None:
    """End the process after so long, whatever it is doing then.

    A thread that runs foreign code, such as the loading of a model, cannot be asked to end.
    """

    def end() -> None:
        _log.error("stopping took more than %g s: the process ends now", seconds)
        os._exit(1)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()


def _allow_files(wanted: int) -> None:
    """Let the process open as many files as it may have connections, as far as it is permitted."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, most), hard))


class Service(uvicorn.Server):
    """A server that opens and closes the service itself, so that a fault in it is an error."""

    def __init__(self, app: FastAPI, settings: Settings, host: str, port: int) -> None:
        # the application is told of the socket's own peer first: what a proxy says may be forged
        trusted = os.environ.get("FORWARDED_ALLOW_IPS", "127.0.0.1")
        served = keep_peer(cast(ASGIApp, ProxyHeadersMiddleware(cast(Any, app), trusted)))
        config = uvicorn.Config(
            served,
            host=host,
            port=port,
            log_config=None,
            lifespan="off",
            proxy_headers=False,
            http=cast(Any, partial(LimitedConnection, settings=settings)),
            ws="none",
            timeout_graceful_shutdown=settings.shutdown_seconds,
        )
        super().__init__(config)
        self._settings = settings
        self._app = app
        self._opened = AsyncExitStack()

    async def startup(self, sockets: list[socket] | None = None) -> None:
        """Open the service, then listen."""
        _allow_files(self._settings.max_connections + _OTHER_FILES)
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self._app.router.lifespan_context(self._app))
            await super().startup(sockets)
            self._opened = stack.pop_all()
            tune_interpreter()

    async def on_tick(self, counter: int) -> bool:
        """Look after the connections."""
        if counter % _LOOK_TICKS == 0:
            for connection in tuple(self.server_state.connections):
                if isinstance(connection, LimitedConnection):
                    connection.look()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        """Answer what was asked, then close the service."""
        end_after(self._settings.shutdown_seconds + _CLOSING_SECONDS)
        await super().shutdown(sockets)
        if not self.force_exit:
            await self._opened.aclose()


async def work_until_told(settings: Settings) -> None:
    """Work on the batches of the database until a signal says to end."""
    task = asyncio.ensure_future(_work(settings))

    def stop() -> None:
        end_after(settings.shutdown_seconds + _CLOSING_SECONDS)
        task.cancel()

    with suppress(NotImplementedError):  # where loops know no signals, Ctrl-C alone ends it
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stop)
    with suppress(asyncio.CancelledError):
        await task


async def _work(settings: Settings) -> None:
    async with open_runtime(settings) as running:
        await running.open_judges()
        tune_interpreter()
        note(f"working on the batches of {shown_url(settings)}")
        await work_in_parallel(running)
