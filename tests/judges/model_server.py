"""A real HTTP server on this machine that speaks like a model server, and misbehaves on demand.

Its "model" likes the response with more good words, leans a little to what is shown first, and is
moved by the examples: the log-probs are a function of the prompt alone. Asked to rate one response,
it gives more for good words, too.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn

Send = Callable[[dict[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[dict[str, Any]]]

PROMPT_TOKENS, CACHED_TOKENS, REASON_TOKENS = 100, 40, 25
TIE_LOGIT = -1.0


@dataclass
class ModelServer:
    """What the server does and has seen.

    `plan` holds one misbehaviour for each coming request; `faults` says which one befalls every
    request whose last message holds some text, as long as it is set.
    """

    base_url: str = ""
    model: str = "judge"
    plan: list[str] = field(default_factory=list)
    faults: dict[str, str] = field(default_factory=dict)
    health: str = "ok"
    requests: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    arrived: list[float] = field(default_factory=list)
    in_flight: int = 0
    most_in_flight: int = 0
    pause_seconds: float = 0.0
    # nothing is answered before so many requests were in flight at once
    holds_until: int = 0

    def reset(self) -> None:
        self.plan.clear()
        self.faults.clear()
        self.health = "ok"
        self.requests.clear()
        self.headers.clear()
        self.arrived.clear()
        self.in_flight = self.most_in_flight = 0
        self.pause_seconds = 0.0
        self.holds_until = 0

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        if scope["path"] == "/v1/models" and self.health in _ERRORS:
            await _reply(send, *_ERRORS[self.health])
            return
        if scope["path"] == "/v1/models":
            await _reply(send, 200, {"object": "list", "data": [{"id": self.model}]})
            return
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await self._answer(scope, json.loads(body), send)
        finally:
            self.in_flight -= 1

    async def _answer(self, scope: dict[str, Any], request: dict[str, Any], send: Send) -> None:
        self.requests.append(request)
        self.arrived.append(time.monotonic())
        self.headers.append({k.decode(): v.decode() for k, v in scope["headers"]})
        while self.most_in_flight < self.holds_until:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        await asyncio.sleep(self.pause_seconds)
        behaviour = self.plan.pop(0) if self.plan else self._fault_of(request)
        if behaviour in _ERRORS:
            status, content, headers = _ERRORS[behaviour]
            await _reply(send, status, content, headers)
        elif behaviour == "hang":
            await asyncio.sleep(30)
        elif behaviour == "close":
            start = {"type": "http.response.start", "status": 200}
            await send({**start, "headers": [(b"content-length", b"5000")]})
            await send({"type": "http.response.body", "body": b'{"choi', "more_body": True})
        else:
            is_chat = scope["path"].endswith("/chat/completions")
            reply = _completion(request, is_chat=is_chat)
            await _reply(send, 200, _spoiled(behaviour, reply))

    def _fault_of(self, request: dict[str, Any]) -> str:
        text = request["messages"][-1]["content"] if "messages" in request else request["prompt"]
        text = f"why? {text}" if _asks_why(request) else text
        return next((fault for held, fault in self.faults.items() if held in text), "ok")


_ERRORS: dict[str, tuple[int, Any, list[tuple[bytes, bytes]]]] = {
    "429": (429, {"error": {"message": "slow down"}}, [(b"retry-after", b"1")]),
    "429 long": (429, {"error": {"message": "come back tomorrow"}}, [(b"retry-after", b"86400")]),
    "500": (500, {"error": {"message": "out of luck"}}, []),
    "503": (503, "busy", [(b"retry-after", b"0")]),
    "400": (400, {"error": {"message": "the request is invalid"}}, []),
    "401": (401, {"error": {"message": "Incorrect API key provided: sk-secret"}}, []),
    "404": (404, {"error": {"message": "The model `judge` does not exist"}}, []),
    "422": (422, {"detail": "top_logprobs must be at most 5"}, []),
    "context": (
        400,
        {"error": {"message": "This model's maximum context length is 4096 tokens"}},
        [],
    ),
    "redirect": (307, "", [(b"location", b"http://127.0.0.1:9/")]),
}


def _spoiled(behaviour: str, reply: dict[str, Any]) -> Any:
    if behaviour in _BODIES:
        return _BODIES[behaviour]
    choice = reply["choices"][0]
    if behaviour in ("no logprobs", "chatter"):
        choice["logprobs"] = None
    elif behaviour == "empty logprobs":
        choice["logprobs"]["content"][0]["top_logprobs"] = []
    elif "logprob" in behaviour:
        _spoil_tokens(behaviour, choice["logprobs"]["content"][0]["top_logprobs"])
    if behaviour.startswith("says "):
        choice["message"]["content"] = behaviour.removeprefix("says ")
    choice.get("message", {}).update(_MESSAGES.get(behaviour, {}))
    return {**reply, **_FIELDS.get(behaviour, {})}


_BODIES = {"garbage": "<html>Bad gateway</html>", "deep": "[" * 200_000}
_MESSAGES: dict[str, dict[str, Any]] = {
    "chatter": {"content": "Both are fine."},
    "refusal": {"refusal": "I cannot help with that", "content": None},
}
_FIELDS: dict[str, dict[str, Any]] = {
    "no choices": {"choices": []},
    "no usage": {"usage": None},
    "other model": {"model": "judge-2026-01-01"},
}


def _spoil_tokens(behaviour: str, tokens: list[dict[str, Any]]) -> None:
    if behaviour == "nan logprob":
        tokens[0]["logprob"] = math.nan
    if behaviour == "positive logprob":
        tokens[0]["logprob"] = 0.4
    if behaviour == "infinite logprob":
        tokens[0]["logprob"] = -math.inf
    if behaviour == "missing label logprob":
        tokens[:] = [t for t in tokens if t["token"].strip() != "B"]
    if behaviour == "no label logprob":
        tokens[:] = [t for t in tokens if t["token"].strip() not in ("A", "B")]


def expected_p_first(first: str, second: str, examples: int = 0) -> float:
    """What the model says of these two texts where both labels together have all the mass."""
    return 1 / (1 + math.exp(_logit(second, 0, examples) - _logit(first, 1, examples)))


def _logit(text: str, shown_first: int, examples: int) -> float:
    return 0.7 * text.count("good") + 0.3 * shown_first * (1 + 0.1 * examples)


def _asks_why(request: dict[str, Any]) -> bool:
    """Say whether the model has answered already and is to say why."""
    messages = request.get("messages", [])
    has_answered = len(messages) > 1 and messages[-2]["role"] == "assistant"
    return has_answered or "Reason:" in str(request.get("prompt", ""))[-20:]


def _reason(request: dict[str, Any], *, is_chat: bool) -> dict[str, Any]:
    said = request["messages"][-2]["content"] if is_chat else request["prompt"].split()[-2]
    text = f" {said} has more good words, so {said} is better."
    choice: dict[str, Any] = {"index": 0, "finish_reason": "stop"}
    choice |= {"message": {"role": "assistant", "content": text}} if is_chat else {"text": text}
    usage = {"prompt_tokens": PROMPT_TOKENS + 30, "completion_tokens": REASON_TOKENS}
    return {"id": "x", "model": request["model"], "choices": [choice], "usage": usage}


def _completion(request: dict[str, Any], *, is_chat: bool) -> dict[str, Any]:
    if _asks_why(request):
        return _reason(request, is_chat=is_chat)
    tops = _top_logprobs(request, is_chat=is_chat)
    best = max(tops, key=lambda token: tops[token])
    choice: dict[str, Any] = {"index": 0, "finish_reason": "length"}
    wanted = request.get("logprobs")
    if is_chat:
        entries = [{"token": t, "logprob": lp, "bytes": None} for t, lp in tops.items()]
        position = {"token": best, "logprob": tops[best], "top_logprobs": entries}
        choice["message"] = {"role": "assistant", "content": best, "refusal": None}
        choice["logprobs"] = {"content": [position]} if wanted else None
    else:
        listed = {"tokens": [best], "token_logprobs": [tops[best]], "top_logprobs": [tops]}
        choice |= {"text": best, "logprobs": listed if wanted else None}
    usage = {
        "prompt_tokens": PROMPT_TOKENS,
        "completion_tokens": 1,
        "prompt_tokens_details": {"cached_tokens": CACHED_TOKENS},
    }
    return {"id": "x", "model": request["model"], "choices": [choice], "usage": usage}


def expected_shares(text: str, values: int, examples: int = 0) -> list[float]:
    """The distribution of the model's rating over the values of a scale, the worst first."""
    middle = min(values - 1.0, 1.0 + text.count("good") + 0.25 * examples)
    weights = [math.exp(-0.5 * (place - middle) ** 2) for place in range(values)]
    return [weight / sum(weights) for weight in weights]


def _rating_logprobs(whole: str, shared: str) -> dict[str, float]:
    """Rate the last response; a tenth of the mass lies elsewhere."""
    *_, text = re.findall(r"<response[^>_]*>\n(.*?)\n</response", whole, re.DOTALL)
    words = re.findall(r"^(\S+) = -?\d+$", shared, re.MULTILINE)
    if not words:
        words = re.findall(r"Answer with one of (.*)\.", shared)[0].split(", ")
    shares = expected_shares(text, len(words), shared.count("People rated"))
    return {word: math.log(0.9 * share) for word, share in zip(words, shares, strict=True)}


def _top_logprobs(request: dict[str, Any], *, is_chat: bool) -> dict[str, float]:
    whole = request["messages"][-1]["content"] if is_chat else request["prompt"]
    shared = request["messages"][0]["content"] if is_chat else whole
    if whole.rstrip().endswith("Rating:"):
        return _rating_logprobs(whole, shared)
    examples = shared.count("Better response: ")
    *_, first = re.findall(r"<response_A[^>]*>\n(.*?)\n</response_A", whole, re.DOTALL)
    *_, second = re.findall(r"<response_B[^>]*>\n(.*?)\n</response_B", whole, re.DOTALL)
    logits = {"A": _logit(first, 1, examples), " B": _logit(second, 0, examples)}
    if "(C" in shared or "with C" in shared:
        logits["C"] = TIE_LOGIT
    total = math.log(sum(math.exp(v) for v in logits.values())) - math.log(0.9)
    # a tenth of the mass lies elsewhere, and one label has a second spelling
    tops = {token: value - total for token, value in logits.items()}
    half = math.log(0.5)
    return {**tops, "A": tops["A"] + half, "\nA": tops["A"] + half, "The": math.log(0.06)}


async def _reply(
    send: Send, status: int, content: Any, headers: list[tuple[bytes, bytes]] | None = None
) -> None:
    body = content.encode() if isinstance(content, str) else json.dumps(content).encode()
    start = {"type": "http.response.start", "status": status}
    await send({**start, "headers": [(b"content-type", b"application/json"), *(headers or [])]})
    await send({"type": "http.response.body", "body": body})


@contextmanager
def running(server: ModelServer) -> Iterator[ModelServer]:
    """Serve on a free port of this machine until the block ends."""
    config = uvicorn.Config(
        server,
        host="127.0.0.1",
        port=0,
        log_level="critical",
        lifespan="off",
        ws="none",
        timeout_graceful_shutdown=1,
    )
    process = uvicorn.Server(config)
    thread = threading.Thread(target=process.run, daemon=True)
    thread.start()
    while not process.started:
        time.sleep(0.01)
    host, port = process.servers[0].sockets[0].getsockname()[:2]
    server.base_url = f"http://{host}:{port}/v1"
    try:
        yield server
    finally:
        process.should_exit = True
        # a daemon: a client that reads no more must not keep the tests from ending
        thread.join(10)
