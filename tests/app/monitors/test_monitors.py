from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import ssl
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import httpx
import numpy as np
import pytest

from app.client import AsyncTribunal
from app.core.models import Monitor
from app.core.runtime import Runtime
from app.core.settings import Settings
from app.main import create_app
from app.monitors.alarms import advance, ask_canaries, loss_of
from app.monitors.service import require
from app.monitors.webhooks import deliver_due, sent
from judges.proxies import certificates
from tests.app.rows import certify, labelled_rows, upload

Json = dict[str, Any]
_JSON = {"content-type": "application/json"}


async def _certified(client: httpx.AsyncClient) -> str:
    await upload(client, "rivers", labelled_rows(400))
    made = await certify(client, "rivers", target_agreement=0.85)
    assert made["status"] == "certified"
    found: str = made["id"]
    return found


async def _monitor(client: httpx.AsyncClient, calibration: str, **options: Any) -> Json:
    body = {"calibration": calibration, "audit_rate": 1.0, **options}
    answer = await client.post("/v1/monitors", json=body)
    assert answer.status_code == 201, answer.text
    found: Json = answer.json()
    return found


async def _look(client: httpx.AsyncClient, monitor: Json) -> Json:
    found: Json = (await client.get(f"/v1/monitors/{monitor['id']}")).json()
    return found


async def _judge(client: httpx.AsyncClient, calibration: str, first: int, n: int) -> Json:
    """Judge pairs that the certificate does not know."""
    rows = labelled_rows(n, seed=first)
    for number, row in enumerate(rows):
        row["id"] = f"new{first + number}"
        row["prompt"] = f"New question {first + number}"
        row.pop("human")
    body = {"pairs": rows, "calibration": calibration}
    answer = await client.post("/v1/judgments", json=body)
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


async def _audits(client: httpx.AsyncClient, monitor: Json) -> list[Json]:
    path = f"/v1/monitors/{monitor['id']}/audits?limit=1000&order=asc"
    return list((await client.get(path)).json()["data"])


async def _say(
    client: httpx.AsyncClient, monitor: Json, risk: float, rng: np.random.Generator
) -> Json:
    """Answer all audits that wait; a share of the answers disagrees with the verdicts."""
    stored = (await client.get("/v1/judgments?limit=1000")).json()["data"]
    labels = {one["judgment"]: one["label"] for one in stored}
    answers = []
    for one in await _audits(client, monitor):
        if not one["answered"] and one["status"] == "accepted":
            label = labels[one["judgment"]]
            other = {"a": "b", "b": "a"}[label]
            said = other if rng.uniform() < risk else label
            answers.append({"judgment": one["judgment"], "label": said, "annotator": "ann"})
    path = f"/v1/monitors/{monitor['id']}/audits"
    answer = await client.post(path, json={"answers": answers})
    assert answer.status_code == 201, answer.text
    found: Json = answer.json()["monitor"]
    return found


@pytest.mark.both_databases
async def test_a_promise_that_holds_raises_no_alarm_and_one_that_breaks_does(
    client: httpx.AsyncClient, running: Runtime
) -> None:
    calibration, rng = await _certified(client), np.random.default_rng(0)
    monitor = await _monitor(client, calibration, on_alarm="suspend", slices="metadata.task")
    first = await _judge(client, calibration, 0, 200)
    accepted = sum(one["status"] == "accepted" for one in first["verdicts"])
    assert first["suspended_because"] is None
    found = await _say(client, monitor, 0.05, rng)
    assert (found["status"], found["audits"]["drawn"], found["audits"]["answered"]) == (
        "watching", accepted, accepted,
    )  # fmt: skip
    assert found["risk"]["low"] < 0.05 < found["risk"]["high"]
    assert found["detectable_risk"] > 0.15
    assert {one["slice"] for one in found["slices"]} == {"rivers", "lakes"}
    metrics = (await client.get("/metrics")).text
    assert f'tribunal_monitor_alarm{{calibration="{calibration}"' in metrics
    await _judge(client, calibration, 1000, 200)
    found = await _say(client, monitor, 0.5, rng)
    assert (found["status"], found["alarm"]["action"]) == ("alarm", "suspend")
    assert found["alarm_at"] is not None
    assert "tribunal certify" in found["alarm"]["recertify"]
    assert found["history"][-1]["e_value"] == found["e_value"]
    overview = (await client.get("/")).text
    assert f'<a href="/monitors/{monitor["id"]}">A monitor</a> raised an alarm' in overview
    assert "No certificate is in force" in overview
    assert "The promise is suspended" in (await client.get(f"/calibrations/{calibration}")).text
    # no verdict given from now on carries the promise, and none of them is audited
    later = await _judge(client, calibration, 2000, 20)
    assert "raised its alarm" in later["suspended_because"]
    assert {one["promise"] for one in later["verdicts"]} == {"suspended"}
    assert (await _look(client, monitor))["audits"] == found["audits"]
    certificate = (await client.get(f"/v1/calibrations/{calibration}")).json()
    assert "raised its alarm" in certificate["suspended_because"]
    ended = await client.post(f"/v1/monitors/{monitor['id']}/end")
    assert ended.json()["status"] == "ended"


@pytest.mark.both_databases
async def test_audits_of_batches_and_requests_go_to_the_queue_blind(
    client: httpx.AsyncClient,
) -> None:
    calibration = await _certified(client)
    monitor = await _monitor(client, calibration, abstained_rate=1.0)
    fresh = labelled_rows(60, seed=5)
    for row in fresh:
        row["prompt"], row["human"] = f"Another {row['id']}", []
    await upload(client, "fresh", fresh)
    batch = await client.post("/v1/batches", json={"dataset": "fresh", "calibration": calibration})
    await client.get(f"{batch.headers['location']}/events")
    await _judge(client, calibration, 0, 40)
    found = await _look(client, monitor)
    assert found["audits"]["drawn"] + found["abstained"]["drawn"] == 100
    claimed = await client.post("/v1/queues/claim", json={"annotator": "ann", "n": 100})
    items = claimed.json()["items"]
    assert len(items) == 100
    assert "cheap" not in json.dumps(items)
    answers = [{"item": item["item"], "label": "tie"} for item in items]
    body = {"annotator": "ann", "answers": answers}
    assert (await client.post(f"/v1/queues/{monitor['queue']}/answers", json=body)).is_success
    found = await _look(client, monitor)
    # the certificate counts pairs on which people have a preference
    assert found["audits"]["answered"] == found["audits"]["excluded"] == found["audits"]["drawn"]
    assert found["risk"]["n"] == 0
    # they were chosen by their verdicts: they are no sample to certify on
    again = await client.post(
        "/v1/calibrations", json={"dataset": "fresh", "cascade": {"judges": ["cheap", "dear"]}}
    )
    assert again.status_code == 422
    for said in ("none of its 60 pairs has", "labels of audits"):
        assert said in again.json()["detail"]


async def test_a_prompt_is_drawn_once_a_day_and_what_the_certificate_knows_never(
    client: httpx.AsyncClient,
) -> None:
    calibration = await _certified(client)
    monitor = await _monitor(client, calibration)
    rows = labelled_rows(400)[:5]
    for row in rows:
        row.pop("human")
    await client.post("/v1/judgments", json={"pairs": rows, "calibration": calibration})
    assert (await _look(client, monitor))["audits"]["drawn"] == 0
    for _ in range(3):
        judged = await _judge(client, calibration, 7, 20)
    accepted = sum(one["status"] == "accepted" for one in judged["verdicts"])
    assert (await _look(client, monitor))["audits"]["drawn"] == accepted


async def test_the_share_that_is_drawn_is_the_rate(client: httpx.AsyncClient) -> None:
    calibration = await _certified(client)
    monitor = await _monitor(client, calibration, audit_rate=0.3)
    accepted = 0
    for first in (0, 1000, 2000):
        judged = await _judge(client, calibration, first, 250)
        accepted += sum(one["status"] == "accepted" for one in judged["verdicts"])
    drawn = (await _look(client, monitor))["audits"]["drawn"]
    assert abs(drawn - 0.3 * accepted) < 4 * (0.21 * accepted) ** 0.5


async def test_a_verdict_that_was_not_drawn_is_refused_as_an_audit(
    client: httpx.AsyncClient,
) -> None:
    calibration = await _certified(client)
    await _judge(client, calibration, 0, 5)
    monitor = await _monitor(client, calibration)
    stored = (await client.get("/v1/judgments")).json()["data"][0]
    assert stored["judgment"] == stored["verdict_id"]
    answer = {"judgment": stored["judgment"], "label": "a", "annotator": "ann"}
    path = f"/v1/monitors/{monitor['id']}/audits"
    refused = await client.post(path, json={"answers": [answer]})
    assert refused.status_code == 404
    assert refused.json()["errors"][0]["loc"] == ["body", "answers", 0, "judgment"]


async def test_audits_are_listed_in_pages_and_an_ended_monitor_ends_once(
    client: httpx.AsyncClient, running: Runtime
) -> None:
    calibration = await _certified(client)
    monitor = await _monitor(client, calibration)
    await _judge(client, calibration, 0, 20)
    path = f"/v1/monitors/{monitor['id']}"
    whole = await _audits(client, monitor)
    first = (await client.get(f"{path}/audits?limit=3&order=asc")).json()
    after = {"limit": "1000", "order": "asc", "after": first["last_id"]}
    rest = (await client.get(f"{path}/audits", params=after)).json()
    assert first["data"] + rest["data"] == whole
    for wrong in ("audit_x", "x"):
        missing = await client.get(f"{path}/audits", params={"after": wrong})
        assert missing.status_code == 404
        assert "is no id of an audit" in missing.json()["detail"]
    kept = await _kept(running, monitor["id"])
    ended = (await client.post(f"{path}/end")).json()
    assert (await client.post(f"{path}/end")).json() == ended
    # what read the monitor before it ended observes nothing, and asks no judge
    async with running.db.write() as session:
        await advance(session, kept, running.now())
    await ask_canaries(running, kept, np.random.default_rng(0))
    assert (await _look(client, monitor))["ended_at"] == ended["ended_at"]


async def _kept(running: Runtime, monitor_id: str) -> Monitor:
    async with running.db.read() as session:
        return await require(session, monitor_id)


async def test_answers_that_another_process_has_observed_are_not_observed_again(
    client: httpx.AsyncClient, running: Runtime
) -> None:
    calibration = await _certified(client)
    monitor = await _monitor(client, calibration)
    await _judge(client, calibration, 0, 20)
    found = await _say(client, monitor, 0.0, np.random.default_rng(0))
    async with running.db.write() as session:
        await advance(session, await require(session, monitor["id"]), running.now())
    assert await _look(client, monitor) == found


async def test_what_cannot_be_watched_is_refused(
    client: httpx.AsyncClient, running: Runtime
) -> None:
    calibration = await _certified(client)
    for body, status, field in (
        ({"calibration": "cal_none"}, 404, None),
        ({"calibration": calibration, "slices": "colour"}, 422, "slices"),
        ({"calibration": calibration, "audit_rate": 0}, 422, "audit_rate"),
        ({"calibration": calibration, "webhook": "ftp://x"}, 422, "webhook"),
        ({"calibration": calibration, "webhook": "https://u:secret@x/"}, 422, "webhook"),
    ):
        refused = await client.post("/v1/monitors", json=body)
        assert refused.status_code == status, refused.text
        assert field is None or field in refused.json()["errors"][0]["loc"]
    for options, status, said in (
        ({"scope": "dataset", "max_error": 0.05}, 409, "something of a whole data set"),
        ({"target_agreement": 0.15}, 422, "a target risk of 0.85 cannot be watched"),
        ({"target_agreement": 0.85, "expires_in": "1d"}, 409, "expired at"),
    ):
        running.now = lambda: datetime.now(UTC)
        made = await certify(client, "rivers", **options)
        assert made["status"] == "certified"
        running.now = lambda: datetime.now(UTC) + timedelta(days=2)
        refused = await client.post("/v1/monitors", json={"calibration": made["id"]})
        assert refused.status_code == status, (options, refused.text)
        assert said in refused.json()["detail"]
    await client.post(f"/v1/calibrations/{calibration}/revoke")
    refused = await client.post("/v1/monitors", json={"calibration": calibration})
    assert refused.status_code == 409


def test_losses_follow_the_rules_of_the_certificate() -> None:
    majority = {"label_rule": "majority", "ties": "exclude"}
    assert loss_of("a", ["a", "b"], majority) is None
    assert loss_of("b", ["a", "b", "b"], majority) == 0.0
    assert loss_of("a", ["tie"], {**majority, "ties": "error"}) == 1.0
    assert loss_of("a", ["tie"], {**majority, "ties": "half"}) == 0.5
    assert loss_of("tie", ["tie"], {**majority, "ties": "class"}) == 0.0
    drawn = {"label_rule": "random_annotator", "ties": "exclude"}
    assert loss_of("a", ["a", "b", "tie"], drawn) == 0.5


class _Receiver:
    """A webhook of somebody, which is down at first, and loses its first answer."""

    def __init__(self) -> None:
        self.is_down, self.got = True, list[tuple[dict[str, str], bytes]]()

    @contextmanager
    def served(self) -> Iterator[str]:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                if not receiver.is_down:
                    receiver.got.append((dict(self.headers.items()), body))
                lost = receiver.is_down or len(receiver.got) == 1
                self.send_response(503 if lost else 200)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/alarms"
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


async def test_a_receiver_that_was_down_for_ten_minutes_gets_the_alarm_once_by_id(
    client: httpx.AsyncClient, running: Runtime
) -> None:
    calibration, receiver = await _certified(client), _Receiver()
    with receiver.served() as address:
        monitor = await _monitor(client, calibration, webhook=address, on_alarm="revoke")
        await _judge(client, calibration, 0, 100)
        moment = datetime.now(UTC)
        running.now = lambda: moment
        found = await _say(client, monitor, 0.9, np.random.default_rng(0))
        assert found["alarm"]["action"] == "revoke"
        assert found["webhook_secret"] is None
        async with httpx.AsyncClient() as http:
            begun = moment
            for second in range(0, 2_400, 10):
                moment = begun + timedelta(seconds=second)
                receiver.is_down = second < 600
                await deliver_due(running, http)
    ids = [headers["Tribunal-Id"] for headers, _ in receiver.got]
    assert set(ids) == {found["alarm"]["id"]}
    # the answer to the first one was lost: it came again, with the same id
    assert len(ids) == 2
    headers, body = receiver.got[-1]
    signed = headers["Tribunal-Time"].encode() + b"." + body
    expected = hmac.new(monitor["webhook_secret"].encode(), signed, hashlib.sha256).hexdigest()
    assert headers["Tribunal-Signature"] == f"sha256={expected}"
    assert json.loads(body)["calibration"] == calibration
    certificate = (await client.get(f"/v1/calibrations/{calibration}")).json()
    assert certificate["revoked_at"] is not None


async def test_a_message_is_sent_by_one_process_and_given_up_after_some_days(
    client: httpx.AsyncClient, running: Runtime, caplog: pytest.LogCaptureFixture
) -> None:
    calibration = await _certified(client)
    monitor = await _monitor(client, calibration, webhook="http://receiver/", on_alarm="alarm")
    await _judge(client, calibration, 0, 100)
    moment = datetime.now(UTC)
    running.now = lambda: moment
    await _say(client, monitor, 0.9, np.random.default_rng(0))
    asked: list[httpx.Request] = []

    def away(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(503)

    async with httpx.AsyncClient(transport=httpx.MockTransport(away)) as http:
        # two processes that find it due at the same time
        async with asyncio.TaskGroup() as group:
            both = [group.create_task(deliver_due(running, http)) for _ in range(2)]
        assert [one.result() for one in both] == [0, 0]
        assert len(asked) == 1
        moment += timedelta(days=30)
        assert await deliver_due(running, http) == 0
        assert "could not be delivered: status 503; given up" in caplog.text
        moment += timedelta(days=30)
        assert await deliver_due(running, http) == 0
    assert len(asked) == 2


async def test_a_receiver_that_hangs_keeps_no_other_waiting(
    client: httpx.AsyncClient, running: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the service itself sends nothing meanwhile
    monkeypatch.setattr("app.monitors.webhooks.deliver_due", lambda *_: asyncio.sleep(0))
    calibration, told = await _certified(client), asyncio.Event()
    monitors = [
        await _monitor(client, calibration, webhook=f"http://{name}/", on_alarm="alarm")
        for name in ("hung", "quick")
    ]
    await _judge(client, calibration, 0, 100)
    for monitor in monitors:
        await _say(client, monitor, 0.9, np.random.default_rng(0))

    async def answer(request: httpx.Request) -> httpx.Response:
        if request.url.host == "hung":
            await told.wait()
        told.set()
        return httpx.Response(200)

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
        # one after the other, the first would be given up for now
        assert await deliver_due(running, http) == 2


@pytest.mark.parametrize("address", ["http://host/\ud800", "http://h\u00f6st/", "http://host/\n"])
async def test_an_address_that_nothing_can_be_sent_to_ends_no_delivery(
    client: httpx.AsyncClient, address: str
) -> None:
    body = {"calibration": await _certified(client), "webhook": address}
    refused = await client.post("/v1/monitors", content=json.dumps(body), headers=_JSON)
    assert refused.status_code == 422
    assert refused.json()["errors"][0]["loc"] == ["body", "webhook"]
    # one that an earlier version took is told of, and not raised
    async with httpx.AsyncClient(trust_env=False) as http:
        assert await sent(http, "http://127.0.0.1:1/\ud800", b"{}", {}) is not None


async def test_no_token_in_an_address_is_shown_to_readers(
    client: httpx.AsyncClient, running: Runtime
) -> None:
    calibration = await _certified(client)
    for address, shown in (
        ("https://hooks.example/services/t0ken", "https://hooks.example/..."),
        ("https://hooks.example:8443?key=t0ken", "https://hooks.example:8443/..."),
        ("http://hooks.example/", "http://hooks.example/"),
    ):
        monitor = await _monitor(client, calibration, webhook=address)
        assert monitor["webhook"] == address
        assert (await _look(client, monitor))["webhook"] == shown
        async with running.db.read() as session:
            # where alarms are sent to
            assert (await require(session, monitor["id"])).options["webhook"] == address
        for path in ("/v1/monitors", f"/monitors/{monitor['id']}", "/monitors"):
            assert "t0ken" not in (await client.get(path)).text


async def test_what_a_receiver_says_without_end_is_not_read() -> None:
    written = 0
    ended = asyncio.Event()

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        with suppress(ConnectionError):
            while written < 100 * 2**20:
                writer.write(b"10000\r\n" + b"x" * 2**16 + b"\r\n")
                await writer.drain()
                written += 2**16
        writer.close()
        ended.set()

    server = await asyncio.start_server(endless, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, httpx.AsyncClient(trust_env=False) as http:
        assert await sent(http, f"http://127.0.0.1:{port}/", b"{}", {}) is None
        assert await sent(http, "http://[::1/", b"{}", {}) == "InvalidURL"
        await asyncio.wait_for(ended.wait(), 20)
    assert written < 50 * 2**20


async def test_clients_share_the_authorities_that_they_trust(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # to read them takes longer than the rest of a start
    given: list[object] = []

    def noted(verify: Any = True, *others: Any, **named: Any) -> ssl.SSLContext:
        given.append(verify)
        return httpx.create_ssl_context(verify, *others, **named)

    monkeypatch.setattr("httpx._transports.default.create_ssl_context", noted)
    app = create_app(settings)
    async with app.router.lifespan_context(app), AsyncTribunal("http://127.0.0.1:9"):
        async with asyncio.timeout(60):
            while len(given) < 2:  # noqa: ASYNC110 - the sender of alarms says nothing when it starts
                await asyncio.sleep(0)
    assert {id(one) for one in given} == {id(certificates())}
