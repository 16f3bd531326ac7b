"""The client: what it takes, returns and raises, in process and over a network that misbehaves."""

from __future__ import annotations

import gc
import json
import math
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from fastapi import FastAPI
from pydantic import TypeAdapter

import app.client.client
from app.bodies.batches import BatchBody
from app.bodies.certificates import CertificateBody, PlanBody
from app.bodies.datasets import DatasetBody
from app.bodies.judgments import JudgmentsBody, VerdictBody
from app.bodies.leaderboards import LeaderboardBody
from app.bodies.reports import ReportBody
from app.client import (
    CannotConnect,
    Conflict,
    ConnectionInvalid,
    ConnectionLost,
    InProcessTransport,
    NotFound,
    NotReady,
    NotTribunal,
    RequestRefused,
    ServerFailed,
    Tribunal,
    TribunalClientError,
    Unprocessable,
)
from app.client.bodies_in import JudgeOrder
from app.client.errors import refusal
from app.core.settings import Settings
from tests.app.processes import ROOT
from tests.app.rows import labelled_rows

JUDGES: JudgeOrder = {"judges": ["cheap", "dear"]}


@pytest.fixture
def own_settings(tmp_path: Path) -> Settings:
    return Settings(database_url=f"sqlite:///{tmp_path}/client.db")


@pytest.fixture
def opened(own_settings: Settings) -> Iterator[Tribunal]:
    with Tribunal(settings=own_settings) as client:
        yield client


def test_bodies_hold_what_their_types_say(opened: Tribunal) -> None:
    dataset = opened.import_dataset(labelled_rows(200), name="rivers")
    certificate = opened.certify(dataset="rivers", cascade=JUDGES, target_agreement=0.8)
    plan = opened.plan(dataset="rivers", cascade=JUDGES, target_agreements=[0.8])
    pair = {"id": "x", "prompt": "Why?", "response_a": "Rain.", "response_b": ""}
    judged = opened.judge([pair])
    batch = opened.wait(opened.create_batch(dataset="rivers", cascade=JUDGES)["id"])
    verdicts = list(opened.batch_results(batch["id"]))
    board = opened.leaderboard(dataset="rivers")
    report = opened.report(dataset="rivers")
    for found, kind in (
        (dataset, DatasetBody),
        (certificate, CertificateBody),
        (plan, PlanBody),
        (judged, JudgmentsBody),
        (verdicts, list[VerdictBody]),
        (batch, BatchBody),
        (board, LeaderboardBody),
        (report, ReportBody),
    ):
        TypeAdapter(kind).validate_python(found, strict=True)
    assert set(certificate) >= {"claim", "thresholds", "label_set_hash"}
    assert len(verdicts) == 200


def test_refusals_are_classes_with_the_problem(opened: Tribunal) -> None:
    with pytest.raises(NotFound) as missing:
        opened.batch("batch_1/../../x")
    assert missing.value.problem["status"] == missing.value.status == 404
    with pytest.raises(Unprocessable) as wrong:
        opened.certify(dataset="x", target_agreement=2.0)
    assert wrong.value.problem["errors"][0]["loc"] == ["body", "target_agreement"]
    opened.import_dataset(labelled_rows(3), name="taken")
    with pytest.raises(Conflict, match="taken"):
        opened.import_dataset(labelled_rows(4), name="taken")


@pytest.mark.parametrize(
    ("status", "kind"), [(418, RequestRefused), (500, ServerFailed), (503, NotReady)]
)
def test_every_status_has_a_class(status: int, kind: type[RequestRefused]) -> None:
    error = refusal(status, {"detail": "no"})
    assert type(error) is kind
    assert isinstance(error, RequestRefused)
    assert str(error) == f"{status}: no"


def test_texts_that_utf8_cannot_spell_and_nan_are_sent(opened: Tribunal) -> None:
    pair = {"id": "x", "prompt": "\ud800", "response_a": "a", "response_b": "b"}
    assert opened.judge([pair])["verdicts"][0]["status"] == "accepted"
    row = {**pair, "judges": {"other": {"p_a": math.nan}}}
    assert opened.judge([row])["verdicts"][0]["judge"] == "student"


def test_the_service_in_process_starts_once(
    own_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = []

    class Counted(InProcessTransport):
        async def _start(self, app: FastAPI) -> None:
            starts.append(app)
            await super()._start(app)

    monkeypatch.setattr(app.client.client, "InProcessTransport", Counted)
    with Tribunal(settings=own_settings) as client:
        assert client.get("/readyz")["status"] == "ready"
        assert client.get("/readyz")["status"] == "ready"
    assert len(starts) == 1


def test_a_body_longer_than_any_buffer_arrives_whole(opened: Tribunal) -> None:
    rows = [{**row, "metadata": {"text": "x" * 10_000}} for row in labelled_rows(400)]
    assert opened.import_dataset(rows, name="long")["pairs"] == 400
    with pytest.raises(NotFound):
        opened.post("/v1/no-such-thing", {"text": "x" * 1_000_000})


def test_a_service_that_cannot_start_leaves_no_thread_behind(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    client = Tribunal(settings=Settings(database_url=f"sqlite:///{tmp_path}"))
    with pytest.raises(Exception, match="unable to open database file"), client:
        pass
    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize("address", ["ftp://x", "http://", "http://a:nan", "://"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(ConnectionInvalid, match="is not the address of a server"):
        Tribunal(address)


@pytest.mark.parametrize("key", ["é", "a\nb"])
def test_what_is_no_key_is_refused_and_not_repeated(key: str) -> None:
    with pytest.raises(ConnectionInvalid) as error:
        Tribunal("127.0.0.1:9", api_key=key)
    assert key not in str(error.value)


def over(answer: Callable[[httpx.Request], httpx.Response], **options: Any) -> Tribunal:
    return Tribunal(transport=httpx.MockTransport(answer), **options)


def test_a_key_from_a_file_loses_its_line_break() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"sent": request.headers["authorization"]})

    assert over(answer, api_key="trib_x\n").get("/") == {"sent": "Bearer trib_x"}


@pytest.mark.parametrize(
    ("response", "said"),
    [
        (httpx.Response(200, text="<html>"), "not with JSON"),
        (httpx.Response(200, json=[1]), "not with JSON"),
        (httpx.Response(307, headers={"location": "https://x/"}), "sends on to https://x/"),
    ],
)
def test_another_service_at_the_address_is_recognised(response: httpx.Response, said: str) -> None:
    with pytest.raises(NotTribunal, match=said):
        over(lambda _: response).get("/v1/datasets")


def test_nobody_at_the_address_is_said() -> None:
    with pytest.raises(CannotConnect, match=r"no server answers at http://127\.0\.0\.1:9"):
        Tribunal("127.0.0.1:9").get("/readyz")


class Flaky:
    """Answers a batch after some failures of the network."""

    def __init__(self, *failures: Exception | int, then: str = "completed") -> None:
        self.failures = list(failures)
        self.then = then

    def __call__(self, request: httpx.Request) -> httpx.Response:
        failure = self.failures.pop(0) if self.failures else None
        if isinstance(failure, Exception):
            raise failure
        if failure is not None:
            return httpx.Response(failure, json={"detail": "away"})
        return httpx.Response(200, json={"id": "batch_1", "status": self.then})


def test_waiting_bears_a_server_that_goes_away() -> None:
    flaky = Flaky(httpx.ConnectError("refused"), httpx.ReadError("reset"), 502, 503)
    lost: list[TribunalClientError] = []
    ended = over(flaky).wait("batch_1", patience_s=30, on_lost=lost.append)
    assert ended["status"] == "completed"
    assert [type(error) for error in lost] == [CannotConnect], "said once, not at every look"


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (httpx.RemoteProtocolError("gone"), ConnectionLost),
        (httpx.ReadTimeout("slow"), ConnectionLost),
        (503, NotReady),
    ],
)
def test_patience_ends(failure: Exception | int, kind: type[Exception]) -> None:
    with pytest.raises(kind):
        over(Flaky(*[failure] * 50)).wait("batch_1", patience_s=0.2)


def test_a_refusal_is_not_waited_out() -> None:
    with pytest.raises(NotFound):
        over(Flaky(404)).wait("batch_1", patience_s=30)


class _Cut(httpx.AsyncByteStream):
    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield json.dumps({"id": "p1"}).encode() + b"\n"
        raise httpx.RemoteProtocolError("peer closed connection")


def test_results_that_break_off_are_an_error() -> None:
    verdicts = over(lambda _: httpx.Response(200, stream=_Cut())).batch_results("batch_1")
    assert next(verdicts)["id"] == "p1"
    with pytest.raises(ConnectionLost, match="peer closed connection"):
        next(verdicts)


class Slow(InProcessTransport):
    """Does not answer before it is cancelled, and then takes a moment to end."""

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.ended: list[bool] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        try:
            await anyio.sleep(60)
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.1)
            self.ended.append(True)
        raise AssertionError("is interrupted")


def test_an_interrupted_request_has_ended_before_the_service_stops(own_settings: Settings) -> None:
    transport = Slow(own_settings)
    with Tribunal(transport=transport) as client:
        with pytest.raises(KeyboardInterrupt):
            client.judge([{}])
        assert transport.ended == [True]


def test_rows_that_break_off_say_why_and_end_the_request(opened: Tribunal) -> None:
    def rows() -> Iterator[dict[str, Any]]:
        yield labelled_rows(1)[0]
        raise ZeroDivisionError("the rows end here")

    with pytest.raises(ZeroDivisionError, match="the rows end here"):
        opened.import_dataset(rows(), name="rows")
    assert list(opened.datasets.list()) == []


def test_what_the_caller_gives_runs_in_its_thread_and_may_use_the_client(
    opened: Tribunal,
) -> None:
    threads: list[threading.Thread] = []
    named: list[str] = []

    def rows() -> Iterator[dict[str, Any]]:
        threads.append(threading.current_thread())
        named.extend(one["name"] for one in opened.datasets.list())
        yield from labelled_rows(5)

    def look(batch: BatchBody) -> None:
        threads.append(threading.current_thread())
        named.append(opened.batch(batch["id"])["id"])

    opened.import_dataset(labelled_rows(5), name="first")
    opened.import_dataset(rows(), name="second")
    created = opened.create_batch(dataset="second", cascade=JUDGES)
    opened.wait(created["id"], on_progress=look)
    assert set(threads) == {threading.current_thread()}
    assert set(named) == {"first", created["id"]}


def test_threads_share_a_client(opened: Tribunal) -> None:
    opened.import_dataset(labelled_rows(30), name="rivers")
    with ThreadPoolExecutor(8) as pool:
        pairs = list(pool.map(lambda _: list(opened.datasets.pairs("rivers", limit=7)), range(24)))
    assert pairs == [pairs[0]] * 24
    assert len(pairs[0]) == 30


async def test_a_running_event_loop_does_not_matter(own_settings: Settings) -> None:
    """As in a notebook, whose cells run on a loop."""
    with Tribunal(settings=own_settings) as client:
        assert client.get("/readyz")["status"] == "ready"


def test_a_closed_client_says_so(own_settings: Settings) -> None:
    client = Tribunal(settings=own_settings)
    client.close()
    with pytest.raises(RuntimeError, match="closed"):
        client.get("/readyz")
    with Tribunal(settings=own_settings) as client:
        client.get("/readyz")
    client.close()
    with pytest.raises(RuntimeError, match="closed"):
        client.get("/readyz")


def test_a_client_closed_by_another_thread_ends_its_requests(own_settings: Settings) -> None:
    begun = threading.Event()

    class Silent(InProcessTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            begun.set()
            await anyio.sleep(60)
            raise AssertionError("is closed")

    client = Tribunal(transport=Silent(own_settings))
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(client.get, "/readyz")
        assert begun.wait(60)
        client.close()
        with pytest.raises(TribunalClientError, match="closed"):
            asked.result(60)


def test_a_client_that_is_thrown_away_leaves_no_thread_behind() -> None:
    client = over(lambda _: httpx.Response(200, json={}))
    client.get("/")
    assert client.datasets  # it refers to the client, which refers to it
    portals = [one for one in threading.enumerate() if one.name == "tribunal-client"]
    del client
    gc.collect()
    for portal in portals:
        portal.join(60)
        assert not portal.is_alive()


class Endless(httpx.AsyncByteStream):
    """Verdicts without an end."""

    def __init__(self) -> None:
        self.closed = threading.Event()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            yield b'{"id": "p1"}\n'

    async def aclose(self) -> None:
        self.closed.set()


def test_results_that_no_one_reads_to_their_end_are_closed() -> None:
    stream = Endless()
    with over(lambda _: httpx.Response(200, stream=stream)) as client:
        verdicts = client.batch_results("batch_1")
        assert next(verdicts)["id"] == "p1"
        del verdicts
        assert stream.closed.wait(60)


def test_results_are_closed_with_the_client(caplog: pytest.LogCaptureFixture) -> None:
    stream = Endless()
    with over(lambda _: httpx.Response(200, stream=stream)) as client:
        verdicts = client.batch_results("batch_1")
        assert next(verdicts)["id"] == "p1"
    assert stream.closed.is_set()
    with pytest.raises(RuntimeError, match="closed"):
        list(verdicts)
    assert [record.getMessage() for record in caplog.records if record.name == "asyncio"] == []


@pytest.mark.parametrize(
    "chunks",
    [
        [b'{"id": "1"}\n{"id": "2"}\n'],
        [b'{"id": "1"}', b'\n{"id', b'": "2', b'"}\n'],
        [b'{"id": "1"}\n\n', b'{"id": "2"}'],
    ],
)
def test_verdicts_arrive_whole_however_they_are_cut(chunks: list[bytes]) -> None:
    async def stream() -> AsyncIterator[bytes]:
        for chunk in chunks:
            yield chunk

    verdicts = over(lambda _: httpx.Response(200, content=stream())).batch_results("batch_1")
    assert [verdict["id"] for verdict in verdicts] == ["1", "2"]


LOADED = """
import sys

def loaded(*modules):
    return sorted(set(modules) & sys.modules.keys())

SERVICE = ("alembic", "fastapi", "sqlalchemy", "uvicorn")
NUMBERS = ("numpy", "pandas", "scipy")
import app.cli
assert not loaded(*SERVICE, *NUMBERS, "httpx", "pydantic"), "help and completion are fast"
import app.client
assert not loaded(*SERVICE, *NUMBERS, "pydantic")
import app.gate, app.gate.wording
assert not loaded(*SERVICE)
"""


def test_a_client_and_the_help_load_no_service() -> None:
    subprocess.run([sys.executable, "-c", LOADED], cwd=ROOT, check=True, timeout=120)


FORKED_AND_LEFT_OPEN = """
import os
from app.client import InProcessTransport, NotFound, Tribunal
from app.core.settings import Settings

class Told(InProcessTransport):
    async def aclose(self):
        await super().aclose()
        print("the service has stopped")

client = Tribunal(transport=Told(Settings(database_url="sqlite:///open.db")))
try:
    client.get("/v1/datasets/none")
except NotFound:
    pass
child = os.fork()
if not child:
    try:
        client.get("/readyz")
    except RuntimeError as error:
        client.close()
        os._exit(0 if "in each process" in str(error) else 1)
    os._exit(1)
assert os.waitpid(child, 0)[1] == 0
"""


def test_a_program_ends_in_which_no_one_closes_the_client(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        [sys.executable, "-c", FORKED_AND_LEFT_OPEN], cwd=tmp_path, env=environment,
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == "the service has stopped\n"


def test_a_client_says_where_it_may_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json=asked_inside() if request.url.path == "/inside" else {})

    def asked_inside() -> dict[str, str]:
        try:
            client.get("/")
        except RuntimeError as error:
            return {"said": str(error)}
        return {"said": ""}

    client = over(answer)
    assert "used on its own event loop" in client.get("/inside")["said"]
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: 0)
        with pytest.raises(RuntimeError, match="open a client in each process"):
            client.get("/")
        client.close()  # the thread belongs to the first process, which goes on
    assert client.get("/") == {}
    client.close()


def test_a_fault_while_a_client_closes_is_raised() -> None:
    class Broken(httpx.MockTransport):
        async def aclose(self) -> None:
            raise OSError("the connection was lost")

    client = Tribunal(transport=Broken(lambda request: httpx.Response(200, json={})))
    client.get("/")
    with pytest.raises(OSError, match="was lost"):
        client.close()


@pytest.mark.parametrize("text", ["", "upstream is away", "[1]"])
def test_a_refusal_of_another_program_on_the_way_is_told(text: str) -> None:
    with pytest.raises(RequestRefused, match=text.strip("[]1") or "Forbidden|1"):
        over(lambda _: httpx.Response(403, text=text)).get("/v1/datasets")


def test_a_certificate_and_a_health_card_are_waited_for() -> None:
    looks = iter(["running", "certified"])

    def answer(request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if path.startswith("/v1/calibrations"):
            status = "pending" if request.method == "POST" else next(looks)
            return httpx.Response(200, json={"id": "cal_1", "status": status})
        if path == "/v1/reports/rep_1/health":
            return httpx.Response(200, json={"object": "health_card", "judge": "j"})
        status = "pending" if request.method == "POST" else next(looks)
        return httpx.Response(200, json={"id": "rep_1", "status": status})

    client = over(answer)
    assert client.certify(dataset="d", cascade=JUDGES)["status"] == "certified"
    looks = iter(["running", "completed"])
    assert client.health_card(dataset="d", judge="j")["object"] == "health_card"
