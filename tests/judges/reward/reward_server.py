"""A real HTTP server on this machine that speaks as `vllm serve` does with a head that scores."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn


def reward_of(text: str) -> float:
    """The more good words, the better."""
    return 0.8 * text.count("good") - 0.5


@dataclass
class RewardServer:
    """What the server does and has seen; `plan` holds one status for each coming request.

    Responses of more than `longest` characters do not fit its model.
    """

    base_url: str = ""
    plan: list[int] = field(default_factory=list)
    longest: int = 100_000
    requests: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    values_of_ids: Callable[[list[int]], list[float]] = lambda ids: [float(sum(ids))]

    async def __call__(
        self,
        scope: dict[str, Any],
        receive: Callable[[], Awaitable[dict[str, Any]]],
        send: Callable[[dict[str, Any]], Awaitable[None]],
    ) -> None:
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        status = 200
        answer: dict[str, Any] = {}
        if scope["path"] != "/health":
            request = json.loads(body)
            self.requests.append((scope["path"], request))
            status = self.plan.pop(0) if self.plan else 200
            answer = self._answer(scope["path"], request) if status == 200 else {"error": "busy"}
            if len(request.get("text_2", "")) > self.longest:
                status, answer = 400, {"error": {"message": "maximum context length is 9 tokens"}}
        start = {"type": "http.response.start", "status": status}
        await send({**start, "headers": [(b"content-type", b"application/json")]})
        await send({"type": "http.response.body", "body": json.dumps(answer).encode()})

    def _answer(self, path: str, request: dict[str, Any]) -> dict[str, Any]:
        usage = {"prompt_tokens": 10, "total_tokens": 10}
        if path == "/score":
            return {"data": [{"index": 0, "score": reward_of(request["text_2"])}], "usage": usage}
        values = self.values_of_ids(request["input"])
        if path == "/pooling":
            return {"data": [{"index": 0, "data": [[0.0] * len(values), values]}], "usage": usage}
        return {"data": [{"index": 0, "probs": values, "label": "x"}], "usage": usage}


@contextmanager
def serving(server: RewardServer) -> Iterator[RewardServer]:
    """Serve on a free port of this machine until the block ends."""
    config = uvicorn.Config(
        server, host="127.0.0.1", port=0, log_level="critical", lifespan="off", ws="none",
        timeout_graceful_shutdown=1,
    )  # fmt: skip
    process = uvicorn.Server(config)
    thread = threading.Thread(target=process.run, daemon=True)
    thread.start()
    while not process.started:
        time.sleep(0.01)
    host, port = process.servers[0].sockets[0].getsockname()[:2]
    server.base_url = f"http://{host}:{port}"
    try:
        yield server
    finally:
        process.should_exit = True
        thread.join(10)
