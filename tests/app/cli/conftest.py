"""Where the command line is tested: an empty folder, and nothing of this machine's settings."""

from __future__ import annotations

from pathlib import Path

import pytest

_SETTINGS = ("TRIBUNAL_SERVER", "TRIBUNAL_CONFIG", "TRIBUNAL_API_KEY")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder: no server, no configuration, a database of its own."""
    monkeypatch.chdir(tmp_path)
    for name in _SETTINGS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path}/cli.db")
    return tmp_path
