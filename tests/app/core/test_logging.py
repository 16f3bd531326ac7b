from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from app.core.db import Database
from app.core.settings import Settings
from app.core.telemetry import configure_logging

PASSWORD = "tell-nobody"
URL = f"postgresql://user:{PASSWORD}@127.0.0.1:1/db"


@pytest.fixture
def _loggers() -> Iterator[None]:
    """Loggers are as before afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers = handlers
    root.setLevel(level)


@pytest.mark.usefixtures("_loggers")
@pytest.mark.parametrize("as_json", [False, True])
def test_a_traceback_shows_code_and_no_values(
    capsys: pytest.CaptureFixture[str], as_json: bool
) -> None:
    settings = Settings(database_url=URL, log_json=as_json)
    configure_logging(settings)
    database = Database(settings.database_url)
    words = ["of", "somebody"]
    try:
        raise ValueError("something broke")
    except ValueError:
        logging.getLogger("app.batches.worker.loop").exception("worker %s stumbled", "w1")
    said = capsys.readouterr().err
    assert "worker w1 stumbled" in said
    assert "something broke" in said
    assert "test_logging.py" in said
    assert PASSWORD not in said
    assert " ".join(words) not in said
    assert repr(words) not in said
    assert database.url.startswith("postgresql+asyncpg://user")
    if as_json:
        assert "something broke" in json.loads(said)["exception"]


def test_settings_do_not_show_the_address_of_the_database() -> None:
    settings = Settings(database_url=URL)
    assert PASSWORD not in f"{settings!r} {settings}"
    assert PASSWORD in settings.database_url


async def test_a_database_that_cannot_be_reached_is_said_without_its_password() -> None:
    database = Database(Settings(database_url=URL).database_url)
    with pytest.raises(OSError, match=r"127\.0\.0\.1") as refused:
        async with database.engine.begin():
            pass
    assert PASSWORD not in str(refused.value)
    await database.aclose()
