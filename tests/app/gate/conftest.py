from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.client import Tribunal
from app.core.settings import Settings
from tests.app.gate.capitals import certified


@dataclass(frozen=True, slots=True)
class Certified:
    """A service in process whose embedded judge is certified, and where its database is."""

    client: Tribunal
    calibration: str
    database_url: str


@pytest.fixture(scope="package")
def service_with_certificate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Certified]:
    database_url = f"sqlite:///{tmp_path_factory.mktemp('gate')}/gate.db"
    with Tribunal(settings=Settings(database_url=database_url)) as client:
        yield Certified(client, certified(client), database_url)


@pytest.fixture
def folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, service_with_certificate: Certified
) -> Path:
    """An empty working folder whose service is the certified one."""
    monkeypatch.chdir(tmp_path)
    for name in ("TRIBUNAL_SERVER", "TRIBUNAL_CONFIG", "TRIBUNAL_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DATABASE_URL", service_with_certificate.database_url)
    return tmp_path
