"""The description of the endpoints, and pages that show it; they load nothing from elsewhere."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Final

from fastapi import APIRouter, Depends, Request
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse

from app.auth import authenticate
from app.errors import NotFound

_TITLE: Final = "Tribunal"
_OPENAPI: Final = "/openapi.json"
_ASSETS: Final = "/static"
_ICON: Final = f"{_ASSETS}/favicon.png"
_FOLDER: Final = Path(str(files("fastapi_offline"))) / "static"
router = APIRouter(include_in_schema=False, dependencies=[Depends(authenticate)])


@router.get("/")
async def front() -> RedirectResponse:
    """Lead to the description of the endpoints."""
    return RedirectResponse("/docs")


@router.get(_OPENAPI)
async def openapi(request: Request) -> JSONResponse:
    """Return the description of every endpoint."""
    return JSONResponse(request.app.openapi())


@router.get("/docs")
async def docs() -> HTMLResponse:
    """Show the description, with forms to try it."""
    return get_swagger_ui_html(
        openapi_url=_OPENAPI,
        title=_TITLE,
        swagger_js_url=f"{_ASSETS}/swagger-ui-bundle.js",
        swagger_css_url=f"{_ASSETS}/swagger-ui.css",
        swagger_favicon_url=_ICON,
    )


@router.get("/redoc")
async def redoc() -> HTMLResponse:
    """Show the description, for reading."""
    page = get_redoc_html(
        openapi_url=_OPENAPI,
        title=_TITLE,
        redoc_js_url=f"{_ASSETS}/redoc.standalone.js",
        redoc_favicon_url=_ICON,
        with_google_fonts=False,
    )
    # its script fetches a logo from elsewhere
    page.headers["Content-Security-Policy"] = "img-src 'self' data:"
    return page


@router.get(f"{_ASSETS}/{{name}}")
async def asset(name: str) -> FileResponse:
    """Return a script or a style that the pages load."""
    known = {path.name: path for path in _FOLDER.iterdir()}
    if name not in known:
        raise NotFound(f"there is no file {name!r}")
    return FileResponse(known[name])
