"""Where the command line is tested: an empty folder, and nothing of this machine's settings."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from app.client import Tribunal

_SETTINGS = ("TRIBUNAL_SERVER", "TRIBUNAL_CONFIG", "TRIBUNAL_API_KEY")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder: no server, no configuration, a database of its own."""
    monkeypatch.chdir(tmp_path)
    for name in _SETTINGS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path}/cli.db")
    return tmp_path


@pytest.fixture(scope="module")
def fill(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path, Callable[[], None]], None]:
    """Fills a working folder as it was filled for the first test of a module.

    A new database and an import take longer than many a test.
    """
    kept = tmp_path_factory.mktemp("filled")

    def filled(folder: Path, make: Callable[[], None]) -> None:
        if any(kept.iterdir()):
            shutil.copytree(kept, folder, dirs_exist_ok=True)
        else:
            make()
            shutil.copytree(folder, kept, dirs_exist_ok=True)

    return filled


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the server answers to every verb, by method and path: JSON, bytes, or by the request."""
    said: dict[str, Any] = {}

    def answer(request: httpx.Request) -> httpx.Response:
        body = said.get(f"{request.method} {request.url.path}")
        if callable(body):
            body = body(request)
        if isinstance(body, httpx.Response):
            return body
        if isinstance(body, bytes):
            return httpx.Response(200, content=body)
        problem = {"title": "Not Found", "status": 404, "detail": f"no {request.url.path}"}
        return httpx.Response(404, json=problem) if body is None else httpx.Response(200, json=body)

    def client(server: str, key: str | None) -> Tribunal:
        return Tribunal("http://server", transport=httpx.MockTransport(answer))

    monkeypatch.setattr("app.cli.service._client_of", client)
    monkeypatch.setenv("TRIBUNAL_SERVER", "server")
    return said
