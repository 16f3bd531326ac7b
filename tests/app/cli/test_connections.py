"""Clients that keep a real server waiting: half a header, a dripping body, an answer not read."""

from __future__ import annotations

import json
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import pytest

from tests.app.processes import free_port, service, until
from tests.app.rows import labelled_rows, ndjson

CONNECTIONS = 30
LIMITS = {
    "TRIBUNAL_MAX_CONNECTIONS": str(CONNECTIONS),
    "TRIBUNAL_HEADER_SECONDS": "1",
    "TRIBUNAL_BODY_SECONDS": "1",
    "TRIBUNAL_SEND_SECONDS": "1",
    "TRIBUNAL_MIN_BYTES_PER_SECOND": "100000",
}
DROPS = 200
HALF = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Half: "
POST = b"POST /v1/judgments HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder, found = tmp_path_factory.mktemp("server"), free_port()
    database = {"DATABASE_URL": f"sqlite:///{folder}/test.db"}
    with service(folder, found, workers=2, settings={**LIMITS, **database}):
        yield found


@pytest.fixture
def opened() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def connect(port: int, opened: ExitStack, sent: bytes = b"") -> socket.socket:
    one = opened.enter_context(socket.create_connection(("127.0.0.1", port), timeout=30))
    one.sendall(sent)
    return one


def answer_of(one: socket.socket) -> bytes:
    """Read until the server closes the connection."""
    pieces = []
    with suppress(ConnectionResetError):
        while piece := one.recv(2**16):
            pieces.append(piece)
    return b"".join(pieces)


def drops(one: socket.socket, drop: bytes) -> int:
    """Return how many drops the server took."""
    for sent in range(DROPS):
        try:
            one.sendall(drop)
        except OSError:
            return sent
        time.sleep(0.05)
    return DROPS


def is_healthy(port: int) -> bool:
    return httpx.get(f"http://127.0.0.1:{port}/healthz", timeout=30).status_code == 200


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def detail_of(answer: bytes) -> str:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"application/problem+json" in head
    return str(json.loads(body)["detail"])


def test_half_a_header_is_waited_for_only_so_long(port: int, opened: ExitStack) -> None:
    half = [connect(port, opened, HALF) for _ in range(5)]
    silent = connect(port, opened)
    empty = connect(port, opened, b"\r\n\r\n")
    for one in (*half, silent, empty):
        answer = answer_of(one)
        assert status_of(answer) == 408
        assert "TRIBUNAL_HEADER_SECONDS" in detail_of(answer)


def test_a_header_that_drips_is_cut_as_well(port: int, opened: ExitStack) -> None:
    one = connect(port, opened, HALF)
    assert drops(one, b"x") < DROPS


def test_more_half_headers_than_connections_shut_no_one_out(port: int, opened: ExitStack) -> None:
    half = [connect(port, opened, HALF) for _ in range(3 * CONNECTIONS)]
    assert is_healthy(port)
    assert all(status_of(found) == 408 for one in half if (found := answer_of(one)))


def test_a_connection_that_finds_no_place_is_told_so(port: int, opened: ExitStack) -> None:
    busy = POST + b"Content-Length: 100000\r\n\r\n{"
    for _ in range(CONNECTIONS):
        connect(port, opened, busy)
    answer = answer_of(connect(port, opened, HALF))
    assert status_of(answer) == 503
    assert b"retry-after: 5" in answer
    assert "TRIBUNAL_MAX_CONNECTIONS" in detail_of(answer)


@pytest.mark.parametrize(
    "framing", [b"Content-Length: 100000\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n"]
)
def test_a_body_that_drips_is_cut(port: int, opened: ExitStack, framing: bytes) -> None:
    one = connect(port, opened, POST + framing)
    drop = b"1\r\n{\r\n" if b"chunked" in framing else b"{"
    assert drops(one, drop) < DROPS
    assert is_healthy(port)


def test_a_body_that_drips_after_its_refusal_is_cut(port: int, opened: ExitStack) -> None:
    head = b"POST /v1/nowhere HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100000\r\n\r\n"
    one = connect(port, opened, head)
    assert status_of(one.recv(2**16)) == 404
    assert drops(one, b"{") < DROPS


def test_a_large_body_at_a_fair_rate_is_read_to_its_end(port: int, opened: ExitStack) -> None:
    rows = ndjson(labelled_rows(900))
    head = b"POST /v1/datasets?name=slow HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
    head += b"Content-Type: application/x-ndjson\r\n"
    one = connect(port, opened, head + b"Content-Length: %d\r\n\r\n" % len(rows))
    assert len(rows) > 250_000
    # about 2.5 s of it, more than the limit without a rate
    for start in range(0, len(rows), 12_000):
        one.sendall(rows[start : start + 12_000])
        time.sleep(0.08)
    assert status_of(answer_of(one)) == 201


@pytest.mark.parametrize("sent", [b"a" * 2**17, b"/" + b"a" * 2**17, b"x\r\n" * 2**16])
def test_a_header_of_any_size_is_not_kept(port: int, opened: ExitStack, sent: bytes) -> None:
    one = connect(port, opened)
    with suppress(OSError):
        one.sendall((b"GET " if sent.startswith(b"/") else HALF) + sent.replace(b"\n", b"\na: "))
    assert status_of(answer_of(one)) in (400, 431)


def test_trailers_of_any_size_are_not_kept(port: int, opened: ExitStack) -> None:
    one = connect(port, opened, POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n")
    with suppress(OSError):
        one.sendall(b"".join(b"t%d: %s\r\n" % (n, b"x" * 1_000) for n in range(200)))
    assert status_of(answer_of(one)) in (422, 431)


def test_requests_on_one_connection_go_on_past_every_limit(port: int) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        for _ in range(3):
            assert client.get("/healthz").status_code == 200
            time.sleep(0.8)


def test_an_answer_that_is_not_read_is_cut(port: int, opened: ExitStack) -> None:
    base = f"http://127.0.0.1:{port}"
    rows = ndjson([{**row, "response_a": "word " * 2_000} for row in labelled_rows(1_500)])
    made = httpx.post(
        f"{base}/v1/datasets?name=large", content=rows, timeout=60,
        headers={"content-type": "application/x-ndjson"},
    )  # fmt: skip
    assert made.status_code == 201, made.text
    export = b"GET /v1/datasets/large/export HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    stalled = [connect(port, opened, export) for _ in range(3)]
    for one in stalled:
        one.recv(10)
    size = len(httpx.get(f"{base}/v1/datasets/large/export", timeout=60).content)
    time.sleep(3)
    for one in stalled:
        assert len(answer_of(one)) < size


def test_a_slow_reader_at_a_fair_rate_gets_all(port: int, opened: ExitStack) -> None:
    export = (
        b"GET /v1/datasets/large/export HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    )
    one = connect(port, opened, export)
    size, started = 0, time.monotonic()
    while piece := one.recv(2**17):
        size += len(piece)
        time.sleep(0.02)
    assert time.monotonic() - started > 1
    length = int(httpx.get(f"http://127.0.0.1:{port}/v1/datasets/large").json()["pairs"])
    assert size > 10_000 * length
    until(lambda: is_healthy(port))


def test_a_signal_to_stop_ends_long_work_and_stalled_readers(
    tmp_path: Path, opened: ExitStack
) -> None:
    """Two experiments of minutes run and two wait, and a client that keeps its body back."""
    found = free_port()
    database = {"DATABASE_URL": f"sqlite:///{tmp_path}/stop.db", "TRIBUNAL_SHUTDOWN_SECONDS": "1"}
    with service(tmp_path, found, workers=1, settings=database) as running:
        base = f"http://127.0.0.1:{found}"
        rows = ndjson(labelled_rows(2_000))
        kind = {"content-type": "application/x-ndjson"}
        made = httpx.post(f"{base}/v1/datasets?name=x", content=rows, timeout=60, headers=kind)
        assert made.status_code == 201
        asked = {"dataset": "x", "cascade": {"judges": ["cheap", "dear"]}, "splits": 10_000}
        body = json.dumps(asked).encode()
        post = b"POST /v1/experiments HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        post += b"Content-Length: %d\r\n\r\n" % len(body) + body
        working = [connect(found, opened, post) for _ in range(4)]
        connect(found, opened, POST + b"Content-Length: 100000\r\n\r\n{")
        # answered beside the experiments
        assert is_healthy(found)
        time.sleep(1)
        running.process.send_signal(signal.SIGTERM)
        running.process.wait(60)
        assert "took more than" not in running.said
        assert all(b" 200 " not in answer_of(one)[:20] for one in working)


UNREADABLE = {
    "no HTTP": b"hello\r\n\r\n",
    "no method": b"G@T / HTTP/1.1\r\nHost: x\r\n\r\n",
    "a version that is none": b"GET / HTTP/9.x\r\nHost: x\r\n\r\n",
    "a header without a name": b"GET / HTTP/1.1\r\n: x\r\n\r\n",
    "two lengths": POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\n{}",
    "a length that is none": POST + b"Content-Length: x\r\n\r\n{}",
    "a chunk that is none": POST + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
    "an address with a blank": b"GET /a\x00b HTTP/1.1\r\nHost: x\r\n\r\n",
    "a long address": b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "a very long address": b"GET /" + b"x" * 300_000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    "a long query": b"GET /healthz?" + b"x" * 70_000 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_read_is_refused_as_a_problem(
    port: int, opened: ExitStack, name: str
) -> None:
    answer = answer_of(connect(port, opened, UNREADABLE[name]))
    assert status_of(answer) == (431 if "long" in name else 400)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"application/problem+json" in head
    assert json.loads(body)["status"] == status_of(answer)
    assert len(answer) < 2_000


@pytest.mark.parametrize("length", [1_000, 60_000])
def test_an_address_within_the_limit_is_answered_as_a_problem(
    port: int, opened: ExitStack, length: int
) -> None:
    request = b"GET /v1/datasets/" + b"x" * length + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    answer = answer_of(connect(port, opened, request + b"Connection: close\r\n\r\n"))
    assert status_of(answer) == 404
    assert b"application/problem+json" in answer
    assert len(answer) < 3_000
