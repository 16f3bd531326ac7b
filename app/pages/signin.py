"""Sign-in, sign-out, and the files that pages load."""

from __future__ import annotations

from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, RedirectResponse, Response

from app.core.auth import keys_exist
from app.core.errors import NotAuthenticated, NotFound
from app.core.http import sessions
from app.core.http.access import Open, needs
from app.core.http.openapi import AnswerRoute
from app.core.http.parameters import Running
from app.pages.frame import ASSETS, PageRoute, checked_form, go_to, page

router = APIRouter(include_in_schema=False, route_class=PageRoute)
assets_router = APIRouter(include_in_schema=False, route_class=AnswerRoute)
_ADDRESS: Final = "/signin"
_LONGEST_ADDRESS: Final = 4_000


@router.get(_ADDRESS)
@needs(Open.FRONT)
async def signin_page(request: Request, running: Running) -> Response:
    """Show the form for a key."""
    return await _form(request, running)


@router.post(_ADDRESS)
@needs(Open.FRONT)
async def sign_in(request: Request, running: Running) -> Response:
    """Exchange a key for a session, and go on to the page that was wanted."""
    form = await checked_form(request)
    try:
        cookie = await sessions.begin(running, form.get("key", "").strip())
    except NotAuthenticated as error:
        return await _form(request, running, fault=error.detail)
    response = go_to(_wanted(request) or "/")
    sessions.set_cookie(response, request, cookie, running.settings.session_hours)
    return response


@router.post("/signout")
@needs(Open.FRONT)
async def sign_out(request: Request) -> RedirectResponse:
    """End the session of this browser."""
    await checked_form(request)
    response = go_to(_ADDRESS)
    sessions.end(response)
    return response


async def _form(request: Request, running: Running, fault: str | None = None) -> Response:
    return await page(
        request,
        "signin",
        status=401 if fault else 200,
        fault=fault,
        wanted=_wanted(request),
        has_keys=await keys_exist(running),
        hours=3600 * running.settings.session_hours,
    )


def _wanted(request: Request) -> str | None:
    """Return the page that was asked for, if it is one of this service."""
    wanted = request.query_params.get("next", "")
    is_own = wanted.startswith("/") and not wanted.startswith(("//", "/\\"))
    is_plain = wanted.isprintable() and len(wanted) <= _LONGEST_ADDRESS and "\\" not in wanted
    return wanted if is_own and is_plain else None


@assets_router.get("/assets/{name}")
@needs(Open.FRONT)
async def page_asset(name: str) -> FileResponse:
    """Return a script, a style or a picture that the pages load."""
    known = {path.name: path for path in ASSETS.iterdir()}
    if name not in known:
        raise NotFound(f"there is no file {name!r}")
    # the address of a file changes with its content
    return FileResponse(known[name], headers={"Cache-Control": "public, max-age=31536000"})
