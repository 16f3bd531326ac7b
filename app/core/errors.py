"""Errors with status; problem and OpenAI bodies; ASCII JSON.

TribunalError
+-- ConfigurationInvalid        500  a setting or the configuration file is wrong (at start)
+-- BadRequest                  400  the body cannot be read at all
+-- NotAuthenticated            401  a key is needed, or the key is unknown
+-- NotAllowed                  403  the key has other scopes; without keys, not from here
+-- NotFound                    404
+-- NotAcceptable               406  no form of the answer is among those asked for
+-- Conflict                    409  the name is taken, a fingerprint differs
+-- TooLarge                    413  more than a limit allows; names the setting
+-- Unprocessable               422  names the fields
+-- NotReady                    503  nothing can answer now
"""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, Self

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import IntegrityError, NoResultFound
from starlette.exceptions import HTTPException
from starlette.routing import Match

from app.core.field_errors import field_errors, named
from app.core.names import shown


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


def finite(value: Any) -> Any:
    """Return a value without the numbers that JSON does not know: they are null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {name: finite(field) for name, field in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value


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


_log = logging.getLogger(__name__)
MEDIA_TYPE = "application/problem+json"


class TribunalError(Exception):
    """Any error shown to the user; `errors` names the fields, `extra` adds members to the body."""

    status = 500

    def __init__(
        self,
        detail: str,
        *,
        errors: Sequence[Mapping[str, Any]] = (),
        extra: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.errors = list(errors)
        self.extra = dict(extra or {})
        self.headers = dict(headers or {})

    @classmethod
    def field(cls, loc: Sequence[str | int], msg: str, *, place: str = "body") -> Self:
        """Return the error for one field of the body, or of another place of the request."""
        name = ".".join(str(part) for part in loc)
        return cls(f"{name}: {msg}", errors=[{"loc": [place, *loc], "msg": msg}])


class ConfigurationInvalid(TribunalError):
    """A setting or the configuration file is wrong; the message names it."""


class BadRequest(TribunalError):
    """The body or the request cannot be read."""

    status = 400


class NotAuthenticated(TribunalError):
    """A key is needed, or this one is unknown or revoked."""

    status = 401


class NotAllowed(TribunalError):
    """The request is understood and refused."""

    status = 403


class NotFound(TribunalError):
    """There is no such thing."""

    status = 404


class NotAcceptable(TribunalError):
    """The answer exists, but in none of the forms that the request accepts."""

    status = 406


class Conflict(TribunalError):
    """The request contradicts what is stored."""

    status = 409


class TooLarge(TribunalError):
    """The request holds more than a limit allows; the message names the setting."""

    status = 413


class Unprocessable(TribunalError):
    """The request is well-formed and cannot be honoured; `errors` names the fields."""

    status = 422

    @classmethod
    def whole(cls, msg: str) -> Unprocessable:
        """Return the error for fields of the body that do not fit each other or the data."""
        return cls(msg, errors=[{"loc": ["body"], "msg": msg}])


class NotReady(TribunalError):
    """The service cannot do this now and may later."""

    status = 503


class JudgeDown(TribunalError):
    """A judge that is needed fails on everything it is asked."""

    status = 502


def died_of_it(attempts: int) -> str:
    """Return why a job is set aside whose processes ended while they were at it."""
    return (
        f"set aside after {attempts} attempts (TRIBUNAL_MAX_ATTEMPTS): each time the process ended "
        "before it was done, for lack of memory perhaps; ask for less at a time"
    )


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
