"""Every error that a user may see, with its HTTP status.

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

from collections.abc import Mapping, Sequence
from typing import Any, Self


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
        """Return the error for one field of the body, or of another place of the request.

        A part of the path has no name that a user would know: only what is wrong is said.
        """
        name = "" if place == "path" else ".".join(str(part) for part in loc) + ": "
        return cls(f"{name}{msg}", errors=[{"loc": [place, *loc], "msg": msg}])


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
