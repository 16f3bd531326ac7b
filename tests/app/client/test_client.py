"""The client: what it takes, returns and raises, in process and over a network that misbehaves."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from pydantic import TypeAdapter

import app.client.blocking
from app.api.batch_bodies import BatchBody
from app.api.bodies import DatasetBody, JudgmentsBody, VerdictBody
from app.api.certificate_bodies import CertificateBody, PlanBody
from app.api.leaderboard_bodies import LeaderboardBody
from app.api.report_bodies import ReportBody
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
from app.client.in_process import Chunks
from app.core.settings import Settings
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
        def __enter__(self) -> Counted:
            starts.append(self)
            return super().__enter__()

    monkeypatch.setattr(app.client.blocking, "InProcessTransport", Counted)
    with Tribunal(settings=own_settings) as client:
        assert client.get("/readyz")["status"] == "ready"
    assert len(starts) == 1


def test_a_body_longer_than_any_buffer_arrives_whole(opened: Tribunal) -> None:
    rows = [{**row, "metadata": {"text": "x" * 10_000}} for row in labelled_rows(400)]
    assert opened.import_dataset(rows, name="long")["pairs"] == 400
    with pytest.raises(NotFound):
        opened.post("/v1/no-such-thing", {"text": "x" * 1_000_000})


def test_a_service_that_cannot_start_leaves_no_thread_behind(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    with pytest.raises(Exception, match="unable to open database file"):
        Tribunal(settings=Settings(database_url=f"sqlite:///{tmp_path}"))
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
    with pytest.raises(CannotConnect, match=r"nobody answers at http://127\.0\.0\.1:9"):
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


class _Cut(httpx.SyncByteStream):
    def __iter__(self) -> Iterator[bytes]:
        yield json.dumps({"id": "p1"}).encode() + b"\n"
        raise httpx.RemoteProtocolError("peer closed connection")


def test_results_that_break_off_are_an_error() -> None:
    verdicts = over(lambda _: httpx.Response(200, stream=_Cut())).batch_results("batch_1")
    assert next(verdicts)["id"] == "p1"
    with pytest.raises(ConnectionLost, match="peer closed connection"):
        next(verdicts)


def test_an_interrupted_request_has_ended_before_the_service_stops(own_settings: Settings) -> None:
    begun, ended = threading.Event(), []

    class Slow(InProcessTransport):
        async def _handle(self, request: httpx.Request, received: Chunks) -> httpx.Response:
            begun.set()
            async with received:
                try:
                    await anyio.sleep(60)
                finally:
                    with anyio.CancelScope(shield=True):
                        await anyio.sleep(0.1)
                    ended.append(True)
            return httpx.Response(200)

    class Interrupted(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            yield b"{}"
            assert begun.wait(60)
            raise KeyboardInterrupt

    with Slow(own_settings) as transport:
        request = httpx.Request("POST", "http://127.0.0.1/v1/judgments", stream=Interrupted())
        with pytest.raises(KeyboardInterrupt):
            transport.handle_request(request)
        assert ended == [True]
