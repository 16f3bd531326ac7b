"""A provider with a batch API: a real HTTP server that keeps its state in a file and can be killed.

It answers as `tests.judges.model_server` does, late and badly: it drops, repeats and reorders lines,
fails some, expires, and loses answers to requests that it has carried out. What it bills is in its
ledger, a line for each answer of a model.

Run it as `python -m tests.app.batches.provider.fake_provider STATE PORT PLAN`.
"""

from __future__ import annotations

import json
import re
import secrets
import sqlite3
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np

from tests.judges.model_server import PROMPT_TOKENS, _completion

_ENDED = ("completed", "failed", "expired", "cancelled")
_SCHEMA = """
CREATE TABLE IF NOT EXISTS files (id TEXT PRIMARY KEY, content BLOB);
CREATE TABLE IF NOT EXISTS batches (id TEXT PRIMARY KEY, body TEXT, looks INTEGER);
CREATE TABLE IF NOT EXISTS ledger (batch TEXT, custom_id TEXT, question TEXT, tokens INTEGER);
"""


@dataclass
class Plan:
    """How badly it behaves.

    Attributes:
        looks: How often a batch is looked at before it ends.
        dropped: Share of lines that are left out.
        failed: Share of lines that fail with a 500.
        repeated: Share of answers that come twice.
        expired: Share of batches that expire, half done.
        refusal: What every batch is refused with, if anything.
        unheard: Share of requests that make a batch whose answer is not sent.
        refuses_field: A field of bodies that it does not know.
        garbled: Share of answers without a label.
        seed: Of what it draws.
    """

    looks: int = 1
    dropped: float = 0.0
    failed: float = 0.0
    repeated: float = 0.0
    expired: float = 0.0
    refusal: str = ""
    unheard: float = 0.0
    refuses_field: str = ""
    garbled: float = 0.0
    has_batches: bool = True
    seed: int = 0


class Provider:
    """The state of the provider, and what it does."""

    def __init__(self, state: Path, plan: Plan | None = None) -> None:
        self.plan = plan or Plan()
        self.state = state
        self.lock = threading.Lock()
        self.base_url = ""
        self.requests: list[tuple[str, str]] = []
        self.random = np.random.default_rng(self.plan.seed)
        self.db = sqlite3.connect(state, check_same_thread=False, isolation_level=None)
        self.db.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;" + _SCHEMA)

    def handle(self, method: str, path: str, body: bytes, query: str) -> tuple[int, Any]:
        """Carry a request out; bytes are sent as they are."""
        with self.lock:
            self.requests.append((method, path))
            if path == "/v1/models":
                return 200, {"object": "list", "data": [{"id": "judge"}]}
            if path == "/v1/chat/completions":
                return self._direct(json.loads(body))
            if not self.plan.has_batches:
                return 404, {"error": {"message": "unknown path"}}
            if path == "/v1/files":
                return self._upload(body)
            if path == "/v1/batches":
                return self._create(json.loads(body)) if method == "POST" else self._list(query)
            if found := re.fullmatch(r"/v1/batches/(\w+)(/cancel)?", path):
                return self._look(found[1], is_cancel=bool(found[2]))
            if found := re.fullmatch(r"/v1/files/(\w+)/content", path):
                row = self.db.execute("SELECT content FROM files WHERE id=?", [found[1]]).fetchone()
                return (200, bytes(row[0])) if row else (404, {"error": {"message": "no file"}})
            return 404, {"error": {"message": f"unknown path {path}"}}

    def _direct(self, request: dict[str, Any]) -> tuple[int, Any]:
        status, answer = self._answer(request)
        if status == 200:
            self._bill([(None, None, json.dumps(request["messages"]))])
        return status, answer

    def _answer(self, request: dict[str, Any]) -> tuple[int, Any]:
        if self.plan.refuses_field in request:
            name = self.plan.refuses_field
            return 400, {"error": {"message": f"'{name}' is not supported with this model"}}
        return 200, _completion(request, is_chat=True)

    def _bill(self, rows: list[tuple[str | None, str | None, str]]) -> None:
        self.db.executemany(
            "INSERT INTO ledger VALUES (?, ?, ?, ?)", [(*row, PROMPT_TOKENS) for row in rows]
        )

    def _upload(self, body: bytes) -> tuple[int, Any]:
        boundary = body.split(b"\r\n", 1)[0]
        part = next(p for p in body.split(boundary) if b'name="file"' in p)
        content = part.split(b"\r\n\r\n", 1)[1].removesuffix(b"\r\n")
        name = self._file(content)
        return 200, {"id": name, "object": "file", "purpose": "batch"}

    def _file(self, content: bytes) -> str:
        name = f"file_{secrets.token_hex(8)}"
        self.db.execute("INSERT INTO files VALUES (?, ?)", [name, content])
        return name

    def _create(self, request: dict[str, Any]) -> tuple[int, Any]:
        name = f"batch_{secrets.token_hex(8)}"
        body = {
            "id": name, "object": "batch", "status": "validating", **request,
            "output_file_id": None, "error_file_id": None, "errors": None,
            "request_counts": {"total": 0, "completed": 0, "failed": 0},
        }  # fmt: skip
        if self.plan.refusal:
            body["status"] = "failed"
            body["errors"] = {"data": [{"code": self.plan.refusal, "message": self.plan.refusal}]}
        self.db.execute("INSERT INTO batches VALUES (?, ?, 0)", [name, json.dumps(body)])
        if self.random.random() < self.plan.unheard:
            return 0, None
        return 200, body

    def _list(self, query: str) -> tuple[int, Any]:
        self._go_on()
        rows = self.db.execute("SELECT body FROM batches ORDER BY rowid DESC").fetchall()
        listed = [json.loads(row[0]) for row in rows]
        if found := re.search(r"after=(\w+)", query):
            names = [one["id"] for one in listed]
            listed = listed[names.index(found[1]) + 1 :]
        page = listed[:2]
        return 200, {"object": "list", "data": page, "has_more": len(listed) > 2}

    def _look(self, name: str, *, is_cancel: bool) -> tuple[int, Any]:
        if not is_cancel:
            self._go_on()
        row = self.db.execute("SELECT body FROM batches WHERE id=?", [name]).fetchone()
        if row is None:
            return 404, {"error": {"message": f"no batch {name}"}}
        body = json.loads(row[0])
        if is_cancel and body["status"] in _ENDED:
            return 409, {"error": {"message": "it has ended"}}
        if is_cancel:
            self._step(body, 0, "cancelled")
        return 200, body

    def _go_on(self) -> None:
        """Work on all batches, also on those that nobody looks at."""
        for text, looks in self.db.execute("SELECT body, looks FROM batches").fetchall():
            body = json.loads(text)
            if body["status"] in _ENDED:
                continue
            status = "in_progress"
            if looks >= self.plan.looks:
                is_late = self.random.random() < self.plan.expired
                status = "expired" if is_late else "completed"
            self._step(body, looks + 1, status)

    def _step(self, body: dict[str, Any], looks: int, status: str) -> None:
        self.db.execute("BEGIN")
        body["status"] = status
        if status in _ENDED:
            self._work(body, status)
        values = [json.dumps(body), looks, body["id"]]
        self.db.execute("UPDATE batches SET body=?, looks=? WHERE id=?", values)
        self.db.execute("COMMIT")

    def _work(self, body: dict[str, Any], status: str) -> None:
        draw, plan = self.random, self.plan
        [content] = self.db.execute(
            "SELECT content FROM files WHERE id=?", [body["input_file_id"]]
        ).fetchone()
        lines = [json.loads(line) for line in bytes(content).splitlines()]
        if status != "completed":
            draw.shuffle(lines)
        until = len(lines) if status == "completed" else len(lines) // 2
        good, bad, billed = [], [], []
        for line in lines[:until]:
            shown = {"id": "x", "custom_id": line["custom_id"], "error": None}
            if draw.random() < plan.dropped:
                continue
            if draw.random() < plan.failed:
                failure = {"status_code": 500, "body": {"error": {"message": "out of luck"}}}
                bad.append({**shown, "response": failure})
                continue
            code, answer = self._answer(line["body"])
            if code == 200 and draw.random() < plan.garbled:
                answer["choices"] = []
            answered = {**shown, "response": {"status_code": code, "body": answer}}
            if code != 200:
                bad.append(answered)
                continue
            billed.append((body["id"], line["custom_id"], json.dumps(line["body"]["messages"])))
            good += [answered] * (2 if draw.random() < plan.repeated else 1)
        if status == "expired":
            error = {"code": "batch_expired", "message": "not in time"}
            bad += [
                {"custom_id": line["custom_id"], "response": None, "error": error}
                for line in lines[until:]
            ]
        draw.shuffle(good)
        self._bill(billed)
        body["status"] = status
        body["output_file_id"] = self._file(_jsonl(good)) if good else None
        body["error_file_id"] = self._file(_jsonl(bad)) if bad else None
        body["request_counts"] = {
            "total": len(lines), "completed": len(billed), "failed": len(lines) - len(billed)
        }  # fmt: skip

    @property
    def batches(self) -> list[dict[str, Any]]:
        """All batches, in the order of their making."""
        with self.lock:
            rows = self.db.execute("SELECT body FROM batches ORDER BY rowid").fetchall()
        return [json.loads(row[0]) for row in rows]

    @property
    def ledger(self) -> list[tuple[str | None, str | None, str]]:
        """What was billed: the batch, None for a direct call; the custom id; the question."""
        with self.lock:
            return self.db.execute("SELECT batch, custom_id, question FROM ledger").fetchall()


def _jsonl(lines: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def _handler(provider: Provider) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._serve("GET")

        def do_POST(self) -> None:
            self._serve("POST")

        def _serve(self, method: str) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            path, _, query = self.path.partition("?")
            status, content = provider.handle(method, path, body, query)
            if not status:
                self.close_connection = True
                return
            sent = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        def log_message(self, *_: Any) -> None:
            return

    return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 256


@contextmanager
def serving(state: Path, plan: Plan | None = None) -> Iterator[Provider]:
    """Serve on a free port until the block ends."""
    provider = Provider(state, plan)
    server = _Server(("127.0.0.1", 0), _handler(provider))
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    provider.base_url = f"http://127.0.0.1:{server.server_address[1]}/v1"
    try:
        yield provider
    finally:
        server.shutdown()
        server.server_close()
        provider.db.close()


def spelt(plan: Plan) -> str:
    """Return a plan as an argument of the program."""
    return json.dumps(asdict(plan))


if __name__ == "__main__":
    state, port, plan = sys.argv[1:]
    made = Provider(Path(state), Plan(**json.loads(plan)))
    _Server(("127.0.0.1", int(port)), _handler(made)).serve_forever(0.05)
