"""A real HTTP server that answers as the model servers of public reports do.

It prefers the response with the word "good" with P = .8, whatever the order. What it sends for that
is up to the reply that a test gives it.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx

from judges.openai.judge import OpenAIJudge
from judges.openai.settings import OpenAISettings
from judges.prompting.templates import load_template
from judges.types import Score
from tests.judges.pairs import pair_of

PREFERRED = 0.8
MASS = 0.98  # of both labels together


@dataclass
class Asked:
    """One request, and what the model says to it."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    number: int  # of its prompt, from 0

    @property
    def text(self) -> str:
        if "prompt" in self.body:
            return str(self.body["prompt"])
        return "\n\n".join(message["content"] for message in self.body.get("messages", []))

    @property
    def best(self) -> str:
        """The label that the model prefers."""
        shown = re.search(r"<response_A[^>]*>\n(.*?)\n</response_A", self.text, re.DOTALL)
        return "A" if shown is not None and "good" in shown.group(1) else "B"

    @property
    def other(self) -> str:
        return "B" if self.best == "A" else "A"


@dataclass
class Sent:
    """One response. `cut`: bytes left out of the body that its length promises."""

    body: bytes | Any
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut: int = 0
    billed: tuple[int, int] = (0, 0)


Reply = Callable[[Asked], Sent]


def logprob(share: float) -> float:
    return math.log(share) if share else -math.inf


def usage_of(prompt: int = 300, completion: int = 1, **more: Any) -> dict[str, Any]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, **more}


def labels(asked: Asked, prefix: str = "") -> list[dict[str, Any]]:
    """The list of an ordinary server, most probable first."""
    shares = {prefix + asked.best: PREFERRED * MASS, prefix + asked.other: (1 - PREFERRED) * MASS}
    return [{"token": token, "logprob": logprob(share)} for token, share in shares.items()]


def position(token: str, tops: list[dict[str, Any]], **fields: Any) -> dict[str, Any]:
    own = next((top["logprob"] for top in tops if top["token"] == token), -0.1)
    return {"token": token, "logprob": own, "top_logprobs": tops, **fields}


def answer(
    asked: Asked,
    content: Any = None,
    positions: list[dict[str, Any]] | None = None,
    *,
    usage: Any = None,
    logprobs: Any = None,
    finish_reason: str = "stop",
    **message: Any,
) -> Sent:
    """A reply of the chat endpoint, by default an ordinary one."""
    if positions is None and logprobs is None:
        positions = [position(asked.best, labels(asked))]
    counted = usage_of() if usage is None else usage
    text = asked.best if content is None else content
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text, **message},
        "logprobs": {"content": positions} if logprobs is None else logprobs or None,
        "finish_reason": finish_reason,
    }
    if not asked.path.endswith("/chat/completions"):
        choice["text"] = text
    body = {"model": asked.body.get("model"), "choices": [choice], "usage": counted}
    billed = (counted.get("prompt_tokens", 0), counted.get("completion_tokens", 0))
    return Sent(body, billed=billed)


def refusal(status: int, message: str, **error: Any) -> Sent:
    return Sent({"error": {"message": message, **error}}, status)


class CaseServer:
    """Serves one reply to every request, and keeps what it was asked and what it billed."""

    def __init__(self, reply: Reply, models: Any = None) -> None:
        self.reply = reply
        self.models = {"data": [{"id": "judge"}]} if models is None else models
        self.base_url = ""
        self.asked: list[Asked] = []
        self.billed: list[tuple[str, tuple[int, int]]] = []
        self.in_flight = self.most_in_flight = 0
        self._seen: dict[str, int] = {}
        self._lock = threading.Lock()

    def answer(self, path: str, headers: dict[str, str], body: dict[str, Any]) -> Sent:
        with self._lock:
            asked = Asked(path, headers, body, 0)
            asked.number = self._seen.get(asked.text, 0)
            self._seen[asked.text] = asked.number + 1
            self.asked.append(asked)
            billed = self.billed  # of this test: one that ended may have left requests behind
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            sent = self.reply(asked)
        finally:
            with self._lock:
                self.in_flight -= self.billed is billed
        with self._lock:
            billed.append((asked.text, sent.billed))
        return sent


@contextmanager
def serving(server: CaseServer) -> Iterator[CaseServer]:
    """Serve on a free port of this machine until the block ends."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            models = server.models
            self._send(models if isinstance(models, Sent) else Sent(models))

        def do_POST(self) -> None:
            length = int(self.headers["content-length"])
            body = json.loads(self.rfile.read(length))
            headers = {name.lower(): value for name, value in self.headers.items()}
            self._send(server.answer(self.path, headers, body))

        def _send(self, sent: Sent) -> None:
            body = sent.body if isinstance(sent.body, bytes) else json.dumps(sent.body).encode()
            with suppress(ConnectionError):
                self.send_response(sent.status)
                for name, value in sent.headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body[: len(body) - sent.cut])
            self.close_connection = bool(sent.cut)

        def log_message(self, *_: object) -> None:
            pass

    class Http(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 128

        def handle_error(self, *_: object) -> None:
            pass

    http = Http(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    server.base_url = f"http://127.0.0.1:{http.server_address[1]}/v1"
    try:
        yield server
    finally:
        http.shutdown()
        thread.join()
        http.server_close()


def judge_of(
    server: CaseServer, environ: dict[str, str] | None = None, **settings: Any
) -> OpenAIJudge:
    """A judge of this server that waits little between attempts."""
    quick = {"name": "dear", "model": "judge", "retry_wait_s": 0.001, "timeout_s": 20.0}
    made = OpenAISettings(**{"base_url": server.base_url, **quick, **settings})
    return OpenAIJudge(
        made,
        load_template("pairwise", ("A", "B")),
        # asked for by name, so that a proxy in the environment stays out of it
        transport=httpx.AsyncHTTPTransport(verify=False),
        environ=environ or {},
    )


GOOD = pair_of(a="It is good.", b="It is bad.")
PRICES: dict[str, Any] = {"price_input": 1.0, "price_output": 10.0}


async def score_of(server: CaseServer, reply: Any = answer, **settings: Any) -> Score:
    server.reply = reply
    judge = judge_of(server, **{**PRICES, **settings})
    try:
        return await judge.score(GOOD)
    finally:
        await judge.aclose()


def ledger(server: CaseServer) -> float:
    return sum(prompt + 10 * completion for _, (prompt, completion) in server.billed) / 1e6


async def scores_of(judge: Any, count: int) -> list[Score]:
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(judge.score(pair_of(f"{n}?", "It is good.", "It is bad.")))
            for n in range(count)
        ]
    return [task.result() for task in tasks]
