"""Sessions of browsers: a key is exchanged for a cookie, and forms carry a token.

The cookie names the key and an end, signed with the server's secret, so nothing is stored: revoking
the key ends its sessions. A page of another site can neither read the token of a form nor make a
browser send the cookie, which is `SameSite=Strict`.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from app.core import auth
from app.core.errors import NotAllowed, NotAuthenticated
from app.core.runtime import Runtime

COOKIE: Final = "tribunal_session"
TOKEN_FIELD: Final = "csrf"
_MOST_CHARACTERS: Final = 300


@dataclass(frozen=True, slots=True)
class Session:
    """What a cookie says, once its signature was checked."""

    key_id: str
    ends_at: datetime


async def begin(running: Runtime, key: str) -> str:
    """Return the cookie of a new session of this key.

    Raises:
        NotAuthenticated: it is no valid key.
    """
    caller = await auth.identify(running, key)
    if caller is None:
        raise NotAuthenticated("this service has no keys: nobody needs to sign in")
    ends = running.now() + timedelta(hours=running.settings.session_hours)
    said = f"{caller.key_id}.{int(ends.timestamp())}.{secrets.token_hex(8)}"
    return f"{said}.{await _signed(running, 'session', said)}"


async def read(running: Runtime, cookie: str) -> Session | None:
    """Return the session of a cookie, None where it is none of this service or over."""
    said, _, mark = cookie.rpartition(".")
    parts = said.split(".")
    if len(cookie) > _MOST_CHARACTERS or not cookie.isascii() or len(parts) != 3:
        return None
    if not hmac.compare_digest(mark, await _signed(running, "session", said)):
        return None
    session = Session(parts[0], datetime.fromtimestamp(int(parts[1]), UTC))
    return session if session.ends_at > running.now() else None


async def caller_of(running: Runtime, cookie: str) -> auth.Caller | None:
    """Return who sends this cookie, None where it opens nothing."""
    session = await read(running, cookie)
    return None if session is None else await auth.caller_with(running, session.key_id)


async def form_token(running: Runtime, request: Request) -> str:
    """Return the token that the forms of this browser's session carry."""
    return await _signed(running, "form", request.cookies.get(COOKIE, ""))


async def check_form(running: Runtime, request: Request, token: str) -> None:
    """Refuse a form that this service did not make for this session.

    Raises:
        NotAllowed: its token is another one.
    """
    wanted = await form_token(running, request)
    if not hmac.compare_digest(token.encode("utf-8", "replace"), wanted.encode()):
        raise NotAllowed(
            "this form was not made for this session: load its page again, and send it from there"
        )


def set_cookie(response: Response, request: Request, cookie: str, hours: float) -> None:
    """Give a browser its session."""
    response.set_cookie(
        COOKIE,
        cookie,
        max_age=int(hours * 3600),
        httponly=True,
        samesite="strict",
        secure=request.url.scheme == "https",
    )


def end(response: Response) -> None:
    """Take a browser's session away."""
    response.delete_cookie(COOKIE, httponly=True, samesite="strict")


async def _signed(running: Runtime, purpose: str, text: str) -> str:
    if running.page_secret is None:
        running.page_secret = await auth.server_secret(running.settings, running.db)
    message = f"{purpose}:{text}".encode("utf-8", "surrogatepass")
    return hmac.new(running.page_secret, message, hashlib.sha256).hexdigest()
