"""The service inside the client's own process, behind the same seam as the network."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

import httpx

if TYPE_CHECKING:
    from fastapi import FastAPI

    from app.core.settings import Settings


class InProcessTransport(httpx.AsyncBaseTransport):
    """Serves requests by the service itself, which starts with the first of them.

    The service lives in a task of its own on the event loop of its caller, so that any task may
    start and stop it. It asks for no key, also where keys exist: only this process can reach it,
    and a process that can write its database could make a key.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self._settings = settings or _read_settings()
        self._starting = asyncio.Lock()
        self._leave = asyncio.Event()
        self._life: asyncio.Task[None] | None = None
        self._asgi: httpx.ASGITransport | None = None

    async def __aenter__(self) -> Self:
        """Start the service; what keeps it from starting is raised."""
        await self._started()
        return self

    async def aclose(self) -> None:
        """Stop the service."""
        self._leave.set()
        life, self._life = self._life, None
        if life is not None:
            await life

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        asgi = self._asgi or await self._started()
        return await asgi.handle_async_request(request)

    async def _started(self) -> httpx.ASGITransport:
        async with self._starting:
            if self._asgi is None:
                app = _service(self._settings)
                await self._start(app)
                self._asgi = httpx.ASGITransport(app, raise_app_exceptions=False)
        return self._asgi

    async def _start(self, app: FastAPI) -> None:
        started, self._leave = asyncio.get_running_loop().create_future(), asyncio.Event()
        self._life = asyncio.create_task(_live(app, started, self._leave), name="service")
        try:
            await asyncio.wait([self._life, started], return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            await self.aclose()  # a start that is cut short would leave its database open
            raise
        if not started.done():
            await self.aclose()


def _read_settings() -> Settings:
    from app.core.settings import Settings  # it loads SQLAlchemy and FastAPI

    return Settings()


def _service(settings: Settings) -> FastAPI:
    from app.main import create_app  # the client of a remote server needs none of this

    return create_app(settings, loads_models=False, asks_for_keys=False)


async def _live(app: FastAPI, started: asyncio.Future[None], leave: asyncio.Event) -> None:
    """Start an application, say so, and stop it when it is told to leave."""
    async with app.router.lifespan_context(app):
        started.set_result(None)
        await leave.wait()
