"""What every page has: templates, headers, the token of forms, and errors as pages."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Coroutine, Mapping
from datetime import datetime
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlencode

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, RedirectResponse, Response
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from pydantic import ValidationError
from starlette.exceptions import HTTPException
from starlette.types import Receive, Send
from starlette.types import Scope as AsgiScope

from app.api.datasets import NameRoute
from app.core.auth import Scope
from app.core.errors import TribunalError, Unprocessable
from app.core.http import sessions
from app.core.http.access import allow, caller_of
from app.core.http.field_errors import field_errors, named
from app.core.http.parameters import get_runtime
from app.core.lists import Paging
from app.core.runtime import Runtime
from app.pages import charts, words

ASSETS: Final = Path(str(files("app.pages"))) / "assets"
# scripts, styles and requests come from this service alone, and none stands in a page
POLICY: Final = (
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
    "object-src 'none'"
)
_HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    # the address of a page may name datasets; a request without an origin is known by it
    "Referrer-Policy": "same-origin",
    "Cache-Control": "private, no-cache",
}
ROWS: Final = 50
# a page for everybody who is signed in: who may only label sees less of it
ANYBODY: Final = frozenset({Scope.READ, Scope.LABEL})


class PageRoute(NameRoute):
    """A route of a page: without a session it leads to sign-in, and its errors are pages."""

    is_page = True

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap the handler, so that errors become pages."""
        handle = super().get_route_handler()

        async def shown(request: Request) -> Response:
            try:
                return await handle(request)
            except (TribunalError, ValidationError, RequestValidationError, HTTPException) as error:
                return await error_page(request, error)

        return shown

    async def handle(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Serve one request; a caller without the scope is told so in words."""
        try:
            if scope["method"] in self.methods:
                allow(scope, self.need)
        except TribunalError as error:
            response = await error_page(Request(scope), error)
            return await response(scope, receive, send)
        await super().handle(scope, receive, send)


async def page(
    request: Request, template: str, /, status: int = 200, **values: Any
) -> HTMLResponse:
    """Return a page.

    Args:
        request: What it answers.
        template: Name of the template without its ending.
        status: Of the answer.
        values: What the template shows; `api` is the address of the same as JSON.
    """
    running = get_runtime(request)
    caller = caller_of(request)
    common: dict[str, Any] = {
        "api": None,
        "path": request.url.path,
        "query": request.query_params,
        "token": await sessions.form_token(running, request),
        "signed_in": sessions.COOKIE in request.cookies and bool(caller and caller.key_id),
        "caller": caller,
        "now": running.now(),
        "is_export": False,
    }
    text = environment().get_template(f"{template}.html").render({**common, **values})
    # lone surrogates, which JSON can spell, have no UTF-8 form
    return HTMLResponse(text.encode("utf-8", "backslashreplace"), status, _HEADERS)


_LINK: Final = re.compile(r"</?a\b[^>]*>|<p class=\"crumbs\">.*?</p>", re.DOTALL)


def single_file(template: str, now: datetime, **values: Any) -> str:
    """Return a page as one file that needs nothing else, and in which no link leads anywhere.

    Args:
        template: Name of the template without its ending.
        now: When it is made.
        values: What the template shows.
    """
    style = Markup((ASSETS / "tribunal.css").read_text("utf-8"))
    common: dict[str, Any] = {"is_export": True, "style": style, "now": now}
    # texts are escaped: every < in a page is one of its template
    text = environment().get_template(f"{template}.html").render({**common, **values})
    return _LINK.sub("", text)


def as_download(text: str, name: str) -> HTMLResponse:
    """Return a page of one file, to be kept under a name."""
    headers = {
        **_HEADERS,
        "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
        "Content-Disposition": f'attachment; filename="{name}.html"',
    }
    return HTMLResponse(text.encode("utf-8", "backslashreplace"), headers=headers)


async def error_page(request: Request, error: Exception) -> HTMLResponse:
    """Return the page that says what went wrong."""
    if isinstance(error, ValidationError | RequestValidationError):
        status, detail = 422, named(field_errors(error.errors(), None))
    elif isinstance(error, HTTPException):
        status, detail = error.status_code, str(error.detail)
    else:
        assert isinstance(error, TribunalError)
        status, detail = error.status, error.detail
    response = await page(request, "error", status=status, detail=detail, code=status)
    response.headers.update(getattr(error, "headers", None) or {})
    return response


async def checked_form(request: Request) -> Mapping[str, str]:
    """Return the fields of a form that this service made for this session.

    Raises:
        NotAllowed: the form's token is another one.
    """
    given = await request.form(max_files=0, max_fields=100, max_part_size=8 * 2**20)
    form = {name: value for name, value in given.items() if isinstance(value, str)}
    token = form.pop(sessions.TOKEN_FIELD, "")
    await sessions.check_form(get_runtime(request), request, token)
    return form


def go_to(path: str) -> RedirectResponse:
    """Lead a browser to another page after a form."""
    return RedirectResponse(path, 303)


def paging(running: Runtime, request: Request, limit: int = ROWS) -> Paging:
    """Return which page of a list, newest first, an address asks for.

    Raises:
        Unprocessable: `after` is too long.
    """
    after = request.query_params.get("after") or None
    if after is not None and len(after) > 512:
        raise Unprocessable.field(["after"], "is the id of no row", place="query")
    return Paging(limit, after, "desc", running.settings.max_page_bytes)


@cache
def environment() -> Environment:
    """Return the templates: everything that is put into them is escaped."""
    made = Environment(
        loader=PackageLoader("app.pages"), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    made.filters |= {**words.FILTERS, "part": part, "json_of": api_link}
    made.globals |= {"asset": asset_address, "with_query": with_query, "heat": charts.heat}
    return made


def part(name: object) -> str:
    """Return a name as one part of an address, slashes included."""
    return quote(str(name).encode("utf-8", "replace"), safe="")


def api_link(name: object, kind: str) -> str:
    """Return the address of a resource of the API."""
    return f"/v1/{kind}/{part(name)}"


def with_query(path: str, query: Mapping[str, Any], **changes: object) -> str:
    """Return an address with a changed query; None and empty values are left out."""
    wanted = {**query, **changes}
    given = [(name, str(value)) for name, value in wanted.items() if value not in (None, "")]
    return f"{path}?{urlencode(given, errors='replace')}" if given else path


@cache
def asset_address(name: str) -> str:
    """Return the address of a file that pages load; it changes with the file."""
    digest = hashlib.sha256((ASSETS / name).read_bytes()).hexdigest()
    return f"/assets/{name}?v={digest[:12]}"
