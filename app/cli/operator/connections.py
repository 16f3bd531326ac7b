"""Connections of the server with limits: on their number, on waiting for a client, on headers.

uvicorn waits for a client without end: for the rest of a header, for the rest of a body, and until
an answer has been read. Its own limit on concurrency counts a connection only once a header has come.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from enum import Enum, auto
from http import HTTPStatus
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.core.http.problems import problem
from app.core.settings import Settings

# of a header with its request line; a body sent in chunks may have as many bytes around it
_MOST_HEADER_BYTES: Final = 64 * 2**10
_MOST_OVERHEAD: Final = 16
LOOK_SECONDS: Final = 0.5
RETRY_AFTER: Final = "5"


class _Phase(Enum):
    """What the server waits for."""

    HEADER = auto()
    BODY = auto()
    NOTHING = auto()


class LimitedConnection(HttpToolsProtocol):
    """One connection of a client.

    A clock runs while the server waits for the client, and only then: not while a request is
    answered, and not while reading is paused because earlier bytes are still being stored. It stands
    for what the server itself lets wait, too: `look` counts no more than its own interval.
    """

    def __init__(self, *args: Any, settings: Settings, **options: Any) -> None:
        super().__init__(*args, **options)
        self._settings = settings
        self._phase = _Phase.HEADER
        self._looked = self.loop.time()
        self._entered = self._looked
        self._waited = self._unread = 0.0
        self._body = self._overhead = 0
        self._pending: int | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Accept a connection; where there are too many, the one that waits longest goes."""
        super().connection_made(transport)
        if len(self.connections) <= self._settings.max_connections:
            return
        idle = [one for one in self._others() if one.is_idle]
        if idle:
            min(idle, key=lambda one: one._entered).cut()
            return
        self.refuse(
            503,
            f"there are {self._settings.max_connections} connections already "
            "(TRIBUNAL_MAX_CONNECTIONS)",
        )

    def _others(self) -> Iterable[LimitedConnection]:
        return (
            one
            for one in self.connections
            if isinstance(one, LimitedConnection) and one is not self
        )

    @property
    def is_idle(self) -> bool:
        """True if no request is under way: the client may connect again and loses nothing."""
        return self._phase is not _Phase.BODY and not self._is_answering

    @property
    def _is_answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def data_received(self, data: bytes) -> None:
        """Read on; refuse a header that is too large."""
        if self.transport.is_closing():
            return
        if self._phase is _Phase.NOTHING:
            self._enter(_Phase.HEADER)
        self._overhead += len(data)
        super().data_received(data)
        if self._is_header_too_large:
            self._refuse_header()

    @property
    def _is_header_too_large(self) -> bool:
        return self._overhead > _MOST_HEADER_BYTES + _MOST_OVERHEAD * self._body

    def _refuse_header(self) -> None:
        self.refuse(431, f"the address and the header are more than {_MOST_HEADER_BYTES} bytes")

    def send_400_response(self, msg: str) -> None:
        """Refuse what cannot be read as HTTP in the form of every other refusal."""
        if self._is_header_too_large:
            self._refuse_header()
        else:
            self.refuse(400, f"the request cannot be read: {msg}")

    def on_message_begin(self) -> None:
        """Start a request."""
        super().on_message_begin()
        self._enter(_Phase.HEADER)

    def on_headers_complete(self) -> None:
        """Start the body."""
        self._enter(_Phase.BODY)
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Count the body."""
        self._body += len(body)
        self._overhead -= len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End the request; nothing is expected from the client until it is answered."""
        super().on_message_complete()
        self._enter(_Phase.NOTHING)
        self._overhead = self._body = 0

    def _enter(self, phase: _Phase) -> None:
        self._phase = phase
        self._waited = 0.0
        self._entered = self._looked = self.loop.time()

    def pause_writing(self) -> None:
        """Note how much the client has not read yet."""
        super().pause_writing()
        self._pending, self._unread = self.transport.get_write_buffer_size(), 0.0

    def resume_writing(self) -> None:
        """Note that the client reads."""
        super().resume_writing()
        self._pending = None

    def look(self) -> None:
        """End the connection if the client has kept the server waiting for too long."""
        now = self.loop.time()
        passed = min(now - self._looked, 2 * LOOK_SECONDS)
        self._looked = now
        if self._does_not_read(passed):
            self.cut()
        elif self._phase is _Phase.HEADER and not self._is_answering:
            self._waited += passed
            if self._waited > self._settings.header_seconds:
                limit = f"{self._settings.header_seconds:g} s (TRIBUNAL_HEADER_SECONDS)"
                self.refuse(408, f"the header did not come within {limit}")
        elif self._phase is _Phase.BODY and not self.flow.read_paused:
            self._waited += passed
            if self._waited > self._patience(self._settings.body_seconds, self._body):
                limits = "TRIBUNAL_BODY_SECONDS, TRIBUNAL_MIN_BYTES_PER_SECOND"
                self.refuse(408, f"the body comes too slowly ({limits})")

    def _does_not_read(self, passed: float) -> bool:
        """Say whether the client reads an answer too slowly, or keeps a closed connection open."""
        left = self.transport.get_write_buffer_size()
        if self._pending is None:
            if not (self.transport.is_closing() and left):
                return False
            self._pending, self._unread = left, 0.0
        self._unread += passed
        read = max(self._pending - left, 0)
        return self._unread > self._patience(self._settings.send_seconds, read)

    def _patience(self, seconds: float, moved: int) -> float:
        return seconds + moved / self._settings.min_bytes_per_second

    def refuse(self, status: int, detail: str) -> None:
        """Say why, unless an answer has started, and close the connection."""
        if self.transport.is_closing():
            return
        if self._is_answering and self.cycle.response_started:
            return self.cut()
        answer = problem(status, detail)
        if status == 503:
            answer.headers["retry-after"] = RETRY_AFTER
        lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}".encode("ascii")]
        lines += [name + b": " + value for name, value in answer.raw_headers]
        lines += [b"connection: close", b"", bytes(answer.body)]
        self._disconnect()
        self.transport.write(b"\r\n".join(lines))
        self.transport.close()

    def cut(self) -> None:
        """Close the connection without another word; what it has not read is dropped."""
        self._disconnect()
        self.transport.abort()

    def _disconnect(self) -> None:
        """Tell the request under way that its client is gone."""
        if self._is_answering:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            self.flow.resume_writing()
