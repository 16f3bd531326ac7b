"""The service inside the client's own process, behind the same seam as the network."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Final, Self

import httpx
from anyio import BrokenResourceError, Event, create_memory_object_stream
from anyio.from_thread import BlockingPortal, start_blocking_portal
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

if TYPE_CHECKING:
    from fastapi import FastAPI

    from app.core.settings import Settings

Chunks = MemoryObjectReceiveStream[bytes]
_STOP_SECONDS: Final = 10.0


class InProcessTransport(httpx.BaseTransport):
    """Serves requests by the service itself, on an event loop in a thread of its own.

    No key is asked for, also where keys exist: nobody but this process can reach the service, and
    whoever can read and write its database could make a key.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self._settings = settings or _read_settings()
        self._stack = ExitStack()
        self._portal: BlockingPortal | None = None
        self._asgi: httpx.ASGITransport | None = None

    def __enter__(self) -> Self:
        """Start the service; whatever keeps it from starting is raised."""
        app = _service(self._settings)
        with ExitStack() as stack:
            self._portal = stack.enter_context(start_blocking_portal())
            stack.enter_context(_living(self._portal, app))
            self._stack = stack.pop_all()
        self._asgi = httpx.ASGITransport(app, raise_app_exceptions=False)
        return self

    def close(self) -> None:
        """Stop the service."""
        self._stack.close()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Answer one request; an interruption of the caller stops the answering, too.

        It waits for that: a transaction that is still being closed when the service stops would be
        cut off with the event loop.
        """
        assert self._portal is not None
        assert isinstance(request.stream, httpx.SyncByteStream)
        chunks, received = create_memory_object_stream[bytes](1)
        ended = threading.Event()
        answer = self._portal.start_task_soon(self._answer, request, received, ended)
        try:
            _feed(self._portal, request.stream, chunks)
            return answer.result()
        except BaseException:
            answer.cancel()
            ended.wait(_STOP_SECONDS)
            raise

    async def _answer(
        self, request: httpx.Request, received: Chunks, ended: threading.Event
    ) -> httpx.Response:
        try:
            return await self._handle(request, received)
        finally:
            ended.set()

    async def _handle(self, request: httpx.Request, received: Chunks) -> httpx.Response:
        assert self._asgi is not None
        async with received:
            inner = httpx.Request(
                request.method, request.url, headers=request.headers, stream=_Body(received)
            )
            response = await self._asgi.handle_async_request(inner)
            content = await response.aread()
        return httpx.Response(response.status_code, headers=response.headers, content=content)


class AsyncInProcessTransport(httpx.AsyncBaseTransport):
    """Serves requests by the service itself, on the event loop of its caller; no key is asked for.

    The service lives in a task of its own, so that any task may start and stop it.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self._settings = settings or _read_settings()
        self._leave = asyncio.Event()
        self._life: asyncio.Task[None] | None = None
        self._asgi: httpx.ASGITransport | None = None

    async def __aenter__(self) -> Self:
        """Start the service; whatever keeps it from starting is raised."""
        app = _service(self._settings)
        started: Future[None] = Future()
        self._life = asyncio.create_task(_live(app, started, self._leave), name="service")
        await asyncio.wrap_future(started)
        self._asgi = httpx.ASGITransport(app, raise_app_exceptions=False)
        return self

    async def aclose(self) -> None:
        """Stop the service."""
        self._leave.set()
        if self._life is not None:
            await self._life

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        assert self._asgi is not None
        return await self._asgi.handle_async_request(request)


def _read_settings() -> Settings:
    from app.core.settings import Settings  # it loads SQLAlchemy and FastAPI

    return Settings()


def _service(settings: Settings) -> FastAPI:
    from app.main import create_app  # the client of a remote server needs none of this

    return create_app(settings, loads_models=False, asks_for_keys=False)


@contextmanager
def _living(portal: BlockingPortal, app: FastAPI) -> Iterator[None]:
    """Start an application and stop it at the end.

    An interruption of the start waits until it is through, because the portal cancels what it
    leaves over and over, and the SQLite driver then waits for ever on a thread that has ended.
    """
    started: Future[None] = Future()
    leave = portal.call(Event)
    ended = portal.start_task_soon(_live, app, started, leave)
    try:
        started.result()
        yield
    finally:
        portal.call(leave.set)
        ended.result()


async def _live(app: FastAPI, started: Future[None], leave: Event | asyncio.Event) -> None:
    try:
        async with app.router.lifespan_context(app):
            started.set_result(None)
            await leave.wait()
    except BaseException as error:
        if started.done():
            raise
        started.set_exception(error)


def _feed(
    portal: BlockingPortal, stream: httpx.SyncByteStream, chunks: MemoryObjectSendStream[bytes]
) -> None:
    """Hand a body over chunk by chunk, so that a large file never is in memory.

    It is read on the caller's side: a terminal that nobody types on must not hold up the service.
    """
    try:
        with suppress(BrokenResourceError):  # the answer did not need the rest of the body
            for chunk in stream:
                portal.call(chunks.send, chunk)
    finally:
        portal.call(chunks.aclose)


class _Body(httpx.AsyncByteStream):
    """A request body as the service reads it."""

    def __init__(self, received: Chunks) -> None:
        self._received = received

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in self._received:
            yield chunk
