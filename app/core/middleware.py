"""What surrounds every request: its id, its size limit, its measurements. Plain ASGI."""

from __future__ import annotations

import re
import secrets
import time
from typing import Any

import structlog
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app import metrics
from app.errors import problem

_STREAMED = re.compile(r"^/v1/(datasets|files)/?$")
_MOST_DIGITS = 18
_REQUEST_ID = re.compile(r"^[\w.:-]{1,128}$", re.ASCII)


class RequestContext:
    """Gives every request an id (the caller's, if it sent a sane one) and counts it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        given = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
        request_id = given if _REQUEST_ID.match(given) else f"req_{secrets.token_hex(8)}"
        started = time.perf_counter()

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [
                    *message["headers"],
                    (b"x-request-id", request_id.encode("latin-1")),
                ]
                _count(scope, message["status"], time.perf_counter() - started)
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            await self.app(scope, receive, send_with_id)


def _count(scope: Scope, status: int, seconds: float) -> None:
    route: Any = scope.get("route")
    path = getattr(route, "path", "unmatched")
    metrics.requests_total.labels(route=path, status=str(status)).inc()
    metrics.request_seconds.labels(route=path).observe(seconds)


class BodyLimit:
    """Refuses bodies over the limit, except where they are streamed to disk."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self.app = app
        self.max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or _STREAMED.match(scope["path"]):
            return await self.app(scope, receive, send)
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and self._is_over(declared):
            refusal = problem(413, self._message(), instance=scope["path"])
            return await refusal(scope, receive, send)
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > self.max_bytes:
                # whoever reads the body turns any other exception into a 400
                raise HTTPException(413, self._message())
            return message

        await self.app(scope, counted, send)

    def _is_over(self, digits: bytes) -> bool:
        # Python refuses to read integers of thousands of digits
        return len(digits) > _MOST_DIGITS or int(digits) > self.max_bytes

    def _message(self) -> str:
        return (
            f"the body is larger than {self.max_bytes} bytes (TRIBUNAL_MAX_BODY_BYTES); "
            "send many pairs as a dataset and a batch"
        )
