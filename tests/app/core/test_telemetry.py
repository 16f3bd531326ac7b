"""Logs: their form, and that what people wrote is in none, whatever fails."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from io import StringIO
from typing import Any

import httpx
import pytest
from pydantic import ValidationError
from sqlalchemy import text

from app.core.db import Database
from app.core.outages import in_words
from app.core.runtime import Runtime
from app.core.settings import Settings
from app.core.telemetry import configure_logging
from app.judgments import service as judgments
from app.reports import service as reports
from judges.errors import JudgeError, JudgeUnavailable
from tests.app.batches.test_batches import wait_for
from tests.app.paid_judge import PaidJudge, install
from tests.app.rows import labelled_rows, ndjson, upload

pytestmark = pytest.mark.both_databases
SECRET = 'grandmother\'s "will" 7781'
LINES = {"content-type": "application/x-ndjson"}


def private_rows(n: int) -> list[dict[str, Any]]:
    rows = labelled_rows(n)
    for row in rows:
        for name in ("prompt", "response_a", "response_b"):
            row[name] += f" {SECRET}"
        row["human"][0] |= {"annotator": f"anna {SECRET}", "comment": SECRET}
        row["metadata"]["note"] = SECRET
    return rows


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """A shard fails for good at its first failure: what is logged of it is the same."""
    return settings.model_copy(update={"max_attempts": 1})


@pytest.fixture(autouse=True)
def log(settings: Settings) -> Iterator[StringIO]:
    """What a server would write on standard error."""
    root, written = logging.getLogger(), StringIO()
    handlers, level = root.handlers, root.level
    configure_logging(settings.model_copy(update={"log_level": "debug", "log_json": True}))
    [handler] = root.handlers
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(written)
    yield written
    root.handlers = handlers
    root.setLevel(level)


@pytest.fixture
async def judge(running: Runtime) -> PaidJudge:
    """A judge behind a server that repeats what it was asked."""

    class Echo(PaidJudge):
        async def score(self, pair: Any) -> Any:
            raise JudgeUnavailable(f"400: cannot read {pair.user_turns[0]}")

    judge = Echo("echo")
    install(running, judge)
    return judge


def is_private(log: StringIO, *said: str) -> None:
    """Check that the log tells of the failure, and of nothing that people wrote."""
    for part in said:
        assert part in log.getvalue()
    for part in ("grandmother", "7781", "Question number"):
        assert part not in log.getvalue()


async def break_table(db: Database, table: str) -> None:
    """Refuse every row of a table as a database does, with the row in its message."""
    async with db.engine.begin() as connection:
        if db.is_sqlite:
            trigger = (
                f"CREATE TRIGGER no BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'no'); END"
            )
            await connection.execute(text(trigger))
        else:
            await connection.execute(
                text(f"ALTER TABLE {table} ADD CONSTRAINT no CHECK (1 = 0) NOT VALID")
            )


@pytest.mark.parametrize("table", ["pairs", "labels", "recorded_scores", "rejected_lines"])
async def test_an_import_that_cannot_be_stored(
    client: httpx.AsyncClient, running: Runtime, table: str, log: StringIO
) -> None:
    await break_table(running.db, table)
    body = ndjson(private_rows(5)) + f'{{"{SECRET}": 1}}\n'.replace("'s \"", "").encode()
    answer = await client.post("/v1/datasets?name=x", content=body, headers=LINES)
    files = {"file": ("a.jsonl", b'{"custom_id": "' + b"7781" + b'"}\n')}
    await client.post("/v1/files", data={"purpose": "batch"}, files=files)
    assert answer.status_code in (201, 409, 500)
    is_private(log, *([] if table == "rejected_lines" else ["Error"]))


@pytest.mark.parametrize("table", ["verdicts", "scores"])
async def test_verdicts_that_cannot_be_stored(
    client: httpx.AsyncClient, running: Runtime, table: str, log: StringIO
) -> None:
    await upload(client, "x", private_rows(5))
    await break_table(running.db, table)
    pair = dict.fromkeys(("prompt", "response_a", "response_b"), SECRET)
    await client.post("/v1/judgments", json={"pairs": [pair]})
    batch = (await client.post("/v1/batches", json={"dataset": "x"})).json()
    ended = await wait_for(client, batch["id"])
    assert ended["status"] == "failed"
    assert "7781" not in str(ended["error"])
    is_private(log, "shard 0 of batch 1 failed")


@pytest.mark.usefixtures("judge")
async def test_a_judge_that_repeats_what_it_was_asked(
    client: httpx.AsyncClient, log: StringIO
) -> None:
    await upload(client, "x", private_rows(20))
    asked = {"dataset": "x", "cascade": {"judges": ["echo"]}}
    batch = (await client.post("/v1/batches", json=asked)).json()
    await wait_for(client, batch["id"])
    made = (await client.post("/v1/calibrations", json=asked)).json()
    while made["status"] in ("pending", "running"):
        made = (await client.get(f"/v1/calibrations/{made['id']}")).json()
    assert made["status"] == "failed"
    is_private(log, f"calibration {made['id']} failed")


@pytest.mark.parametrize("error", [KeyError(SECRET), ValueError(f"not a number: {SECRET!r}")])
async def test_an_error_that_no_one_foresaw(
    client: httpx.AsyncClient,
    monkeypatch: pytest.MonkeyPatch,
    log: StringIO,
    error: Exception,
) -> None:
    async def fail(*_: Any) -> None:
        raise error

    def fail_to_report(*_: Any) -> None:
        raise error

    await upload(client, "x", private_rows(5))
    monkeypatch.setattr(judgments, "judge", fail)
    monkeypatch.setattr(reports, "agreement_report", fail_to_report)
    pair = dict.fromkeys(("prompt", "response_a", "response_b"), SECRET)
    assert (await client.post("/v1/judgments", json={"pairs": [pair]})).status_code == 500
    report = await client.get("/v1/reports/agreement?dataset=x")
    assert report.status_code == 500
    assert "7781" not in report.text
    is_private(log, type(error).__name__)


async def test_refused_requests(client: httpx.AsyncClient, log: StringIO) -> None:
    rows = private_rows(3)
    rows[1]["human"][0]["label"] = SECRET
    await client.post("/v1/datasets?name=x&strict=true", content=ndjson(rows), headers=LINES)
    for body in ({"pairs": SECRET}, {"pairs": [{"prompt": SECRET, SECRET: 1}]}, [SECRET]):
        assert (await client.post("/v1/judgments", json=body)).status_code == 422
    await client.post("/v1/judgments", content=f"{{{SECRET}")
    await client.post("/v1/labels", json={"dataset": SECRET, "labels": [SECRET]})
    is_private(log)


def invalid_settings() -> ValidationError:
    with pytest.raises(ValidationError) as raised:
        Settings(shard_size=SECRET)
    return raised.value


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (KeyError("x y"), "KeyError: '...'"),
        (ValueError(f"bad {SECRET!r} here"), "ValueError: bad '...' here"),
        (AttributeError("'NoneType' object has no attribute 'x'"), "'NoneType' object"),
        (ValueError("long " * 1_000), "..."),
        (JudgeError(f"the server says {SECRET}"), "JudgeError"),
        (invalid_settings(), "ValidationError: shard_size"),
    ],
)
def test_the_words_of_an_error(error: Exception, said: str, database_kind: str) -> None:
    words = in_words(error)
    assert said in words
    assert SECRET not in words
    assert len(words) < 400


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
    assert "test_telemetry.py" in said
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
