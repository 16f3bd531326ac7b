"""Request ids, the limit on bodies, and the documentation pages, which work offline."""

from __future__ import annotations

import re
import secrets
import time
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import structlog
from fastapi import APIRouter, Request
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.core import telemetry
from app.core.errors import NotFound
from app.core.http.access import Open, needs
from app.core.http.openapi import AnswerRoute
from app.core.http.problems import problem
from app.core.pools import client
from app.core.tasks import Courtesy

_STREAMED = re.compile(r"^/v1/(datasets|files)/?$")
# whoever has no key may send these, so that they hold a key and no more
_OPEN_FORMS: Final = re.compile(r"^/sign(in|out)/?$")
_MOST_FORM_BYTES: Final = 16 * 1024
_MOST_DIGITS = 18
# browsers neither guess another type for an answer nor show it inside a page of another site
_PRECAUTIONS: Final = ((b"x-content-type-options", b"nosniff"), (b"x-frame-options", b"DENY"))
_NO_FRAME: Final = "frame-ancestors 'none'"
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
                    *_PRECAUTIONS,
                    (b"x-request-id", request_id.encode("latin-1")),
                ]
                _count(scope, message["status"], time.perf_counter() - started)
                answered()
            await send(message)

        token = client.set(receive)
        try:
            with (
                _courtesy(scope).request() as answered,
                structlog.contextvars.bound_contextvars(request_id=request_id),
            ):
                await self.app(scope, receive, send_with_id)
        finally:
            client.reset(token)


def _courtesy(scope: Scope) -> Courtesy:
    runtime = getattr(scope["app"].state, "runtime", None)
    return runtime.courtesy if runtime is not None else Courtesy()


def _count(scope: Scope, status: int, seconds: float) -> None:
    route: Any = scope.get("route")
    path = getattr(route, "path", "unmatched")
    telemetry.requests_total.labels(route=path, status=str(status)).inc()
    telemetry.request_seconds.labels(route=path).observe(seconds)


class BodyLimit:
    """Refuses bodies over the limit, except where they are streamed to disk."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self.app = app
        self.max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http" or _STREAMED.match(scope["path"]):
            return await self.app(scope, receive, send)
        most = self.max_bytes
        message = (
            f"the body is larger than {most} bytes (TRIBUNAL_MAX_BODY_BYTES); "
            "send many pairs as a dataset and a batch"
        )
        if _OPEN_FORMS.match(scope["path"]):
            most = min(most, _MOST_FORM_BYTES)
            message = f"the form is larger than {most} bytes: it holds a key and nothing else"
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and _is_over(declared, most):
            refusal = problem(413, message, instance=scope["path"])
            return await refusal(scope, receive, send)
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            part = await receive()
            seen += len(part.get("body", b""))
            if seen > most:
                # any other exception while a body is read becomes a 400
                raise HTTPException(413, message)
            return part

        await self.app(scope, counted, send)


def _is_over(digits: bytes, most: int) -> bool:
    # Python refuses to read integers of thousands of digits
    return len(digits) > _MOST_DIGITS or int(digits) > most


_TITLE: Final = "Tribunal"
_OPENAPI: Final = "/openapi.json"
_ASSETS: Final = "/static"
_ICON: Final = f"{_ASSETS}/favicon.png"
_FOLDER: Final = Path(str(files("fastapi_offline"))) / "static"
router = APIRouter(include_in_schema=False, route_class=AnswerRoute)


@router.get(_OPENAPI)
@needs(Open.PAGE)
async def openapi(request: Request) -> JSONResponse:
    """Return the description of every endpoint."""
    return JSONResponse(request.app.openapi())


@router.get("/docs")
@needs(Open.PAGE)
async def docs() -> HTMLResponse:
    """Show the documentation with forms to try requests."""
    page = get_swagger_ui_html(
        openapi_url=_OPENAPI,
        title=_TITLE,
        swagger_js_url=f"{_ASSETS}/swagger-ui-bundle.js",
        swagger_css_url=f"{_ASSETS}/swagger-ui.css",
        swagger_favicon_url=_ICON,
    )
    page.headers["Content-Security-Policy"] = _NO_FRAME
    return page


@router.get("/redoc")
@needs(Open.PAGE)
async def redoc() -> HTMLResponse:
    """Show the documentation for reading."""
    page = get_redoc_html(
        openapi_url=_OPENAPI,
        title=_TITLE,
        redoc_js_url=f"{_ASSETS}/redoc.standalone.js",
        redoc_favicon_url=_ICON,
        with_google_fonts=False,
    )
    # the script would fetch a logo from another host
    page.headers["Content-Security-Policy"] = f"img-src 'self' data:; {_NO_FRAME}"
    return page


@router.get(f"{_ASSETS}/{{name}}")
@needs(Open.PAGE)
async def asset(name: str) -> FileResponse:
    """Return a script or a style that the pages load."""
    known = {path.name: path for path in _FOLDER.iterdir()}
    if name not in known:
        raise NotFound(f"there is no file {name!r}")
    return FileResponse(known[name])
