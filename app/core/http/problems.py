"""Answers to what goes wrong: problem and OpenAI bodies; JSON in ASCII."""

from __future__ import annotations

import json
import logging
import re
import sqlite3
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from asyncpg import InterfaceError, PostgresError
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import IntegrityError, NoResultFound, SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.routing import Match

from app.core.errors import TribunalError
from app.core.http.field_errors import field_errors, named
from app.core.inert import finite
from app.core.names import shown
from app.core.outages import RETRY_AFTER, in_words, outage, outages

_log = logging.getLogger(__name__)
MEDIA_TYPE = "application/problem+json"


class TextsResponse(JSONResponse):
    """JSON in ASCII: lone surrogates have no UTF-8 form, but they have a JSON spelling.

    Numbers that JSON does not know (NaN, infinities) become null.
    """

    def render(self, content: Any) -> bytes:
        """Write the body."""
        try:
            return _ascii(content)
        except ValueError:
            return _ascii(finite(content))


def _ascii(content: Any) -> bytes:
    return json.dumps(content, separators=(",", ":"), allow_nan=False).encode("ascii")


_PATHS: Final = re.compile(r"/v1/(files|batches)(/|$)")
_TYPES: Final = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
}
_CODES: Final = {
    404: "not_found",
    409: "conflict",
    413: "too_large",
    415: "unsupported_media_type",
    422: "invalid_value",
    503: "not_ready",
}


def openai_error(
    status: int, detail: str, path: str | None, errors: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return `{"error": ...}` for a refusal under `/v1/files` or `/v1/batches`, else nothing."""
    if path is None or not _PATHS.match(path):
        return {}
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "server_error")
    param = ".".join(str(part) for part in errors[0]["loc"][1:]) if errors else None
    return {
        "error": {
            "message": detail,
            "type": kind,
            "param": param or None,
            "code": _CODES.get(status),
        }
    }


def problem(
    status: int, detail: str, *, extra: Mapping[str, Any] | None = None, **body: Any
) -> JSONResponse:
    """Return an RFC 9457 problem response."""
    content = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        **body,
        **(extra or {}),
        **openai_error(status, detail, body.get("instance"), body.get("errors", ())),
    }
    return TextsResponse(_shortened(content), status, media_type=MEDIA_TYPE)


_MOST_CHARACTERS: Final = 2_000
_MOST_PART_CHARACTERS: Final = 200
_MOST_LISTED: Final = 100
_MOST_PROBLEM_BYTES: Final = 32 * 1024


def _shortened(content: dict[str, Any]) -> dict[str, Any]:
    """Shorten what a refusal repeats of its request: texts are cut, lists end earlier."""
    lists = {name: value for name, value in content.items() if isinstance(value, list)}
    short = {name: _cut(value, _MOST_CHARACTERS) for name, value in content.items()}
    while _size(short) > _MOST_PROBLEM_BYTES:
        longest = max(lists, key=lambda name: _size(short[name]), default=None)
        if longest is None or not short[longest]:
            break
        short[longest] = short[longest][: len(short[longest]) // 2]
    if len(short.get("errors", ())) < len(lists.get("errors", ())):
        short.setdefault("error_count", len(lists["errors"]))
    return short


def _size(content: Any) -> int:
    return len(json.dumps(content))


def _cut(value: Any, characters: int) -> Any:
    if isinstance(value, str):
        return value if len(value) <= characters else f"{value[:characters]}..."
    if isinstance(value, dict):
        return {_cut(name, _MOST_PART_CHARACTERS): _cut(each, characters // 2)
                for name, each in value.items()}  # fmt: skip
    if isinstance(value, list | tuple):
        return [_cut(each, characters // 2) for each in value[:_MOST_LISTED]]
    return value


def install_error_handlers(app: FastAPI) -> None:
    """Make every error of `app` a problem body."""
    app.add_exception_handler(TribunalError, _on_tribunal_error)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(IntegrityError, _on_vanished)
    app.add_exception_handler(NoResultFound, _on_vanished)
    app.add_exception_handler(Exception, on_unexpected)


def install_outage_handlers(app: FastAPI) -> None:
    """Answer 503 where the database or a disk cannot be used, with what is out of order."""
    for kind in (
        *outages(),
        PostgresError,
        InterfaceError,
        SQLAlchemyError,
        sqlite3.Error,
        ExceptionGroup,
    ):
        app.add_exception_handler(kind, _on_failure)


async def answer_to(request: Request, error: Exception) -> Response:
    """Return what the handlers of the application make of an error outside of any route."""
    handlers = request.app.exception_handlers
    kind = next(kind for kind in type(error).__mro__ if kind in handlers)
    response: Response = await handlers[kind](request, error)
    return response


async def _on_tribunal_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, TribunalError)
    response = problem(
        error.status,
        error.detail,
        extra=error.extra,
        errors=[_in_its_place(fault, request) for fault in error.errors],
        instance=request.url.path,
    )
    response.headers.update(error.headers)
    return response


async def _on_invalid_request(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    if isinstance(error.body, bytes) and error.body:
        return _not_json(request)
    errors = field_errors(error.errors(), error.body)
    return problem(422, named(errors), errors=errors, instance=request.url.path)


def _not_json(request: Request) -> JSONResponse:
    """Refuse a body that was not read because its media type is not JSON."""
    sent = request.headers.get("content-type")
    was = f"{shown(sent)} was sent" if sent else "the header is missing"
    message = f"send JSON and say so, Content-Type: application/json; {was}"
    errors = [{"loc": ["header", "content-type"], "msg": message}]
    return problem(415, f"Content-Type: {message}", errors=errors, instance=request.url.path)


async def _on_http_exception(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    response = problem(error.status_code, str(error.detail), instance=request.url.path)
    response.headers.update(error.headers or {})
    if error.status_code == 405:
        response.headers["allow"] = ", ".join(_methods(request))
    return response


def _methods(request: Request) -> list[str]:
    """Return what may be asked of this address; each of its methods is a route of its own."""
    matching = (
        getattr(route, "methods", None) or ()
        for route in request.app.router.routes
        if route.matches(request.scope)[0] is not Match.NONE
    )
    return sorted({method for methods in matching for method in methods})


async def _on_vanished(request: Request, error: Exception) -> JSONResponse:
    """Answer a request whose row was deleted, with its dataset, after it was read."""
    _log.warning("rows vanished during %s", request.url.path, exc_info=error)
    detail = "something this request depends on was deleted or changed while it ran; send it again"
    return problem(409, detail, instance=request.url.path)


async def _on_failure(request: Request, error: Exception) -> JSONResponse:
    said = outage(error)
    if said is None:
        return await on_unexpected(request, error)
    _log.warning("%s %s: %s", request.method, request.url.path, in_words(error))
    response = problem(503, said, instance=request.url.path)
    response.headers.update(RETRY_AFTER)
    return response


async def on_unexpected(request: Request, error: Exception) -> JSONResponse:
    """Answer an error that no one foresaw."""
    _log.error("unexpected error on %s", request.url.path, exc_info=error)
    return problem(500, "an unexpected error; the log has it", instance=request.url.path)


def _in_its_place(fault: Mapping[str, Any], request: Request) -> dict[str, Any]:
    """Move the fields of a request without a body to the query."""
    place, *fields = fault["loc"]
    if place == "body" and request.method in ("GET", "HEAD", "DELETE"):
        place = "query"
    return {**fault, "loc": [place, *fields]}
