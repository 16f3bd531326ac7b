"""Who may send a request: checked by its headers alone, before any of its body is read.

Where keys exist, a request needs one with the scope that its route declares. Where there are none,
only this machine is answered: the peer of the socket is loopback, no proxy stands between, and the
request is addressed to this machine, so that no foreign name was pointed at it. What a web page of
another site sends is refused in both cases.

A browser that signed in sends a cookie instead of a key. It opens pages; it opens the API only for
requests that a page of this service sends.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Sequence
from enum import Enum, auto
from typing import Any, Final, TypeVar
from urllib.parse import quote, urlsplit

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as AsgiScope

from app.core.auth import Caller, Scope, caller_with, identify, keys_exist
from app.core.errors import NotAllowed, NotAuthenticated, TribunalError
from app.core.http import sessions
from app.core.http.parameters import get_runtime
from app.core.http.problems import answer_to
from app.core.names import shown
from app.core.outages import outages
from app.core.runtime import Runtime

_CALLER: Final = "tribunal.caller"
_PEER: Final = "tribunal.peer"
_MAKE_A_KEY: Final = "make a key: tribunal keys create NAME"
_FORWARDING: Final = frozenset({
    "forwarded", "via", "x-real-ip", "x-client-ip", "x-cluster-client-ip", "true-client-ip",
    "x-original-forwarded-for", "x-original-host", "x-envoy-external-address", "client-ip",
    "cf-connecting-ip", "fastly-client-ip", "fly-client-ip", "x-azure-clientip", "x-arr-log-id",
})  # fmt: skip
_HOST: Final = re.compile(r"(\[[0-9a-f:.]+\]|[^\[\]:/@?#\\\s]+)(?::(\d{0,5}))?", re.IGNORECASE)
_DEFAULT_PORTS: Final = {"http": "80", "https": "443"}


class Open(Enum):
    """Routes that need no key."""

    # any peer, by any name: probes of load balancers have no key
    PROBE = auto()
    # where keys exist, unless the settings hide them; else as other routes
    PAGE = auto()
    # where keys exist, in any case; else as other routes: what a browser needs to sign in
    FRONT = auto()


# any one of several scopes opens a route
Need = Scope | frozenset[Scope] | Open
EndpointT = TypeVar("EndpointT", bound=Callable[..., Any])


def needs(need: Need) -> Callable[[EndpointT], EndpointT]:
    """Declare what a request to an endpoint needs; each route must say it."""

    def declared(endpoint: EndpointT) -> EndpointT:
        endpoint.__tribunal_needs__ = need  # type: ignore[attr-defined]
        return endpoint

    return declared


def need_of(endpoint: Callable[..., Any]) -> Need:
    """Return what an endpoint declares; one that declares nothing is open to `admin` alone."""
    need: Need = getattr(endpoint, "__tribunal_needs__", Scope.ADMIN)
    return need


def caller_of(request: Request) -> Caller:
    """Return who sends this request."""
    caller: Caller = request.scope[_CALLER]
    return caller


def scopes_of(need: Need) -> list[Scope]:
    """Return the scopes of which a key needs one, besides `admin`; none for an open route."""
    if isinstance(need, Open):
        return []
    return [one for one in Scope if one == need or (isinstance(need, frozenset) and one in need)]


def allow(scope: AsgiScope, need: Need) -> None:
    """Refuse a request whose caller may not do what its route needs.

    Raises:
        NotAuthenticated: nothing is known of the caller.
        NotAllowed: the key has other scopes.
    """
    if isinstance(need, Open):
        return
    caller: Caller | None = scope.get(_CALLER)
    if caller is None:
        raise NotAuthenticated("send a key: Authorization: Bearer ...")
    wanted = scopes_of(need)
    if not any(caller.may(one) for one in wanted):
        has = ", ".join(one for one in Scope if one in caller.scopes) or "none"
        named = " or ".join(wanted)
        raise NotAllowed(f"this needs a key with the scope {named}; this key has: {has}")


class AccessControl:
    """Finds out who sends a request, or refuses it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._open: list[BaseRoute] | None = None
        self._pages: list[BaseRoute] | None = None

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        request = Request(scope)
        try:
            scope[_CALLER] = await self._admitted(request)
        except Exception as error:
            refusal = await self._refusal(request, error)
            return await refusal(scope, receive, send)
        await self.app(scope, receive, send)

    async def _admitted(self, request: Request) -> Caller | None:
        running = get_runtime(request)
        if not running.asks_for_keys:
            return Caller()
        need = self._open_to(request)
        is_page = self._is_page(request)
        _refuse_other_sites(request, running, is_open=is_page or need is not None)
        if need is Open.PROBE:
            return None
        is_shown = need is Open.PAGE and not running.settings.hide_docs
        if (is_shown or need is Open.FRONT) and await keys_exist(running):
            return None
        return await _known(request, running, is_page=is_page)

    async def _refusal(self, request: Request, error: Exception) -> Response:
        """Answer a refused request: a browser without a session is led to the page of sign-in."""
        is_unknown = isinstance(error, NotAuthenticated) and _bearer(request) is None
        if not is_unknown or not self._is_page(request):
            return await answer_to(request, error)
        wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        query = f"?next={quote(wanted)}" if request.method == "GET" and wanted != "/" else ""
        return RedirectResponse(f"/signin{query}", 303)

    def _is_page(self, request: Request) -> bool:
        """Return whether a page for people is at this address."""
        if request.url.path.startswith("/v1/"):
            return False
        if self._pages is None:
            self._pages = [one for one in request.app.routes if getattr(one, "is_page", False)]
        return any(one.matches(request.scope)[0] is not Match.NONE for one in self._pages)

    def _open_to(self, request: Request) -> Need | None:
        """Return how an open route is open, None for every other address."""
        if self._open is None:
            routes: Sequence[BaseRoute] = request.app.routes
            self._open = [one for one in routes if isinstance(getattr(one, "need", None), Open)]
        for route in self._open:
            if route.matches(request.scope)[0] is not Match.NONE:
                need: Need = getattr(route, "need")  # noqa: B009
                return need
        return None


async def _known(request: Request, running: Runtime, *, is_page: bool = False) -> Caller:
    key = _bearer(request)
    cookie = request.cookies.get(sessions.COOKIE) if key is None else None
    if cookie is not None and (is_page or _is_sent_by_own_page(request, running)):
        signed_in = await sessions.caller_of(running, cookie)
        if signed_in is not None:
            return signed_in
    caller = await identify(running, key)
    if caller is None:
        _refuse_far(request, running)
        return Caller()
    return caller


async def may_read(request: Request, running: Runtime) -> bool:
    """Return whether an open route may show more than the bare answer."""
    if not running.asks_for_keys:
        return True
    try:
        return (await _known(request, running)).may(Scope.READ)
    except TribunalError:
        return False
    except outages():
        return False


async def may_still(request: Request, running: Runtime, scope: Scope) -> bool:
    """Return whether the key of a request, whose answer takes long, has not ended meanwhile."""
    caller = caller_of(request)
    if not caller.key_id:
        return True
    now = await caller_with(running, caller.key_id)
    return now is not None and now.may(scope)


def keep_peer(app: ASGIApp) -> ASGIApp:
    """Note the peer of the socket, before what follows believes the headers of a proxy."""

    async def noted(scope: AsgiScope, receive: Receive, send: Send) -> None:
        scope[_PEER] = scope.get("client")
        await app(scope, receive, send)

    return noted


def _bearer(request: Request) -> str | None:
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" and key else None


def _refuse_far(request: Request, running: Runtime) -> None:
    """Refuse, where no keys exist, what does not come straight from this machine.

    Raises:
        NotAllowed: the peer, a proxy's header or the name of the host says so.
    """
    peer = request.scope.get(_PEER, request.scope.get("client"))
    if peer is None or not _is_loopback(peer[0]):
        raise NotAllowed(f"without keys this service answers on loopback only; {_MAKE_A_KEY}")
    for name in request.headers:
        if name in _FORWARDING or name.startswith("x-forwarded"):
            raise NotAllowed(
                f"this request came through a proxy, as its header {name} says; without keys only "
                f"requests straight from this machine are answered; {_MAKE_A_KEY}"
            )
    hosts = request.headers.getlist("host")
    if len(hosts) != 1 or not _is_own(_host_of(hosts[0])[0], running.settings.allowed_hosts):
        named = shown(", ".join(hosts)) if hosts else "no host"
        raise NotAllowed(
            f"this request is addressed to {named}; without keys only requests to 127.0.0.1, "
            f"localhost or [::1] are answered, and to names in TRIBUNAL_ALLOWED_HOSTS; {_MAKE_A_KEY}"
        )


def _refuse_other_sites(request: Request, running: Runtime, *, is_open: bool) -> None:
    """Refuse what a web page of another site sends; links to open pages are no such thing.

    Raises:
        NotAllowed: `Sec-Fetch-Site` or `Origin` says so.
    """
    headers = request.headers
    is_link = request.method == "GET" and headers.get("sec-fetch-mode") == "navigate"
    is_foreign = headers.get("sec-fetch-site", "none").lower() not in ("none", "same-origin")
    if is_foreign and not (is_open and is_link):
        raise NotAllowed("Sec-Fetch-Site: requests that a page of another site sends are refused")
    for origin in headers.getlist("origin"):
        if not _is_same(origin, headers.getlist("host"), running.settings.allowed_hosts):
            raise NotAllowed(
                f"Origin: requests that a page of {shown(origin)} sends are refused; where a proxy "
                "gives this service another name, list that name in TRIBUNAL_ALLOWED_HOSTS"
            )


def _is_sent_by_own_page(request: Request, running: Runtime) -> bool:
    """Return whether a page of this service sends a request, and the browser says so.

    A browser names the site of a request, its origin, or at least the page that it came from.
    """
    headers = request.headers
    if headers.get("sec-fetch-site", "").lower() == "same-origin":
        return True
    named = headers.getlist("origin") or headers.getlist("referer")
    own = (headers.getlist("host"), running.settings.allowed_hosts)
    return len(named) == 1 and _is_same(_origin_of(named[0]), *own)


def _origin_of(address: str) -> str:
    scheme, _, rest = address.partition("://")
    return f"{scheme}://{rest.partition('/')[0]}"


def _is_same(origin: str, hosts: Sequence[str], allowed: Sequence[str]) -> bool:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    default = _DEFAULT_PORTS.get(parts.scheme)
    name, port = _host_of(parts.netloc)
    if default is None or not name:
        return False
    if name in allowed:
        return True
    given = [_host_of(host) for host in hosts]
    return [(name, port or default)] == [(own, at or default) for own, at in given]


def _host_of(text: str) -> tuple[str, str]:
    """Return the name and the port of a host, both empty where it is none."""
    match = _HOST.fullmatch(text.strip())
    if match is None:
        return "", ""
    return match[1].lower().strip("[]").removesuffix("."), match[2] or ""


def _is_own(name: str, allowed: Sequence[str]) -> bool:
    return name == "localhost" or name in allowed or _is_loopback(name)


def _is_loopback(name: str) -> bool:
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return False
    # a socket for both kinds of addresses writes those of the older kind like this
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback
