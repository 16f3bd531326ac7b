"""The errors that reach a user, each with its HTTP status, as RFC 9457 problem bodies.

TribunalError
+-- ConfigurationInvalid        500  a setting or the configuration file is wrong (at start)
+-- BadRequest                  400  the body cannot be read at all
+-- NotAuthenticated            401  a key is needed, or the key is unknown
+-- NotAllowed                  403  reachable on loopback only until keys exist
+-- NotFound                    404
+-- Conflict                    409  the name is taken, a fingerprint differs
+-- Unprocessable               422  names the fields
+-- NotReady                    503  nothing can answer now
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from sqlalchemy.exc import IntegrityError, NoResultFound
from starlette.exceptions import HTTPException

from app.responses import TextsResponse

_log = logging.getLogger(__name__)
MEDIA_TYPE = "application/problem+json"
_FIELD_ERROR = {
    "type": "object",
    "properties": {"loc": {"type": "array"}, "msg": {"type": "string"}},
    "required": ["loc", "msg"],
}
_PROBLEM = {
    "type": "object",
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "instance": {"type": "string"},
        "errors": {"type": "array", "items": _FIELD_ERROR},
    },
    "required": ["type", "title", "status", "detail"],
}
# how every route describes its refusals
DESCRIPTION: dict[int | str, dict[str, Any]] = {
    status: {"description": words, "content": {MEDIA_TYPE: {"schema": _PROBLEM}}}
    for status, words in (("4XX", "the request is refused"), ("5XX", "the service cannot answer"))
}


class TribunalError(Exception):
    """Any error that is told to the user. `errors` names the fields, `extra` is sent along."""

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


class Conflict(TribunalError):
    """The request contradicts what is stored."""

    status = 409


class Unprocessable(TribunalError):
    """The request is well-formed and cannot be honoured; `errors` names the fields."""

    status = 422

    @classmethod
    def field(cls, loc: Sequence[str | int], msg: str) -> Unprocessable:
        """Return the error for one field of the body."""
        name = ".".join(str(part) for part in loc)
        return cls(f"{name}: {msg}", errors=[{"loc": ["body", *loc], "msg": msg}])

    @classmethod
    def whole(cls, msg: str) -> Unprocessable:
        """Return the error for fields of the body that do not fit each other or the data."""
        return cls(msg, errors=[{"loc": ["body"], "msg": msg}])


class NotReady(TribunalError):
    """The service cannot do this now and may later."""

    status = 503


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
    }
    return TextsResponse(content, status, media_type=MEDIA_TYPE)


def install_error_handlers(app: FastAPI) -> None:
    """Make every error of `app` a problem body."""
    app.add_exception_handler(TribunalError, _on_tribunal_error)
    app.add_exception_handler(RequestValidationError, _on_invalid_request)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(IntegrityError, _on_vanished)
    app.add_exception_handler(NoResultFound, _on_vanished)
    app.add_exception_handler(Exception, _on_unexpected)


async def _on_tribunal_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, TribunalError)
    response = problem(
        error.status,
        error.detail,
        extra=error.extra,
        errors=error.errors,
        instance=request.url.path,
    )
    response.headers.update(error.headers)
    return response


async def _on_invalid_request(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    errors = [{"loc": _printable(e["loc"]), "msg": e["msg"]} for e in error.errors()]
    named = [".".join(str(part) for part in e["loc"][1:]) + ": " + e["msg"] for e in errors]
    detail = "; ".join(named[:5]) + (f"; and {len(named) - 5} more" if len(named) > 5 else "")
    return problem(422, detail, errors=errors, instance=request.url.path)


async def _on_http_exception(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    response = problem(error.status_code, str(error.detail), instance=request.url.path)
    response.headers.update(error.headers or {})
    return response


async def _on_vanished(request: Request, error: Exception) -> JSONResponse:
    """A row that was read before is gone: its dataset was deleted while the request ran."""
    _log.warning("rows vanished during %s", request.url.path, exc_info=error)
    detail = "what this request stands on was deleted or changed while it ran; look again"
    return problem(409, detail, instance=request.url.path)


async def _on_unexpected(request: Request, error: Exception) -> JSONResponse:
    _log.error("unexpected error on %s", request.url.path, exc_info=error)
    return problem(500, "an unexpected error; the log has it", instance=request.url.path)


def _printable(loc: Sequence[str | int]) -> list[str | int]:
    """Field names come from the body and may hold what UTF-8 cannot."""
    return [
        part if isinstance(part, int) else part.encode("utf-8", "backslashreplace").decode()
        for part in loc
    ]
