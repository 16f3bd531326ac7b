"""A slow judge model in a process of its own, which outlives whatever happens to the service.

It speaks the chat form of the OpenAI API. What it answers is a function of the text alone. It counts
its calls per caller and case: a caller is the first part of the path, so that each process of the
service can have an address of its own, and a case is what the text says between two brackets.
`GET /calls` gives all counts, `GET /total` their sum. It ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import math
import os
import re
import sys
import threading
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn

Send = Callable[[dict[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[dict[str, Any]]]

_CASE = re.compile(r"\[case (\S+)\]")


class SlowJudge:
    """The application; a call is counted when it arrives, answered or not."""

    def __init__(self, pause_seconds: float) -> None:
        self._pause_seconds = pause_seconds
        self._calls: dict[str, Counter[str]] = defaultdict(Counter)

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        caller, _, rest = scope["path"].strip("/").partition("/")
        await _reply(send, await self._answer(caller, rest, body))

    async def _answer(self, caller: str, rest: str, body: bytes) -> Any:
        if caller == "calls":
            return self._calls
        if caller == "total":
            return sum(calls.total() for calls in self._calls.values())
        if rest == "v1/models":
            return {"object": "list", "data": [{"id": "judge"}]}
        request = json.loads(body)
        text = request["messages"][-1]["content"]
        found = _CASE.search(text)
        assert found is not None, text
        self._calls[caller][found.group(1)] += 1
        await asyncio.sleep(self._pause_seconds)
        return _completion(text)


def _completion(text: str) -> dict[str, Any]:
    digest = hashlib.sha256(text.encode()).digest()
    p_first = 0.02 + 0.96 * int.from_bytes(digest[:6], "big") / 2**48
    entries = [
        {"token": token, "logprob": math.log(p), "bytes": None}
        for token, p in (("A", p_first), ("B", 1 - p_first))
    ]
    said = "A" if p_first > 0.5 else "B"
    position = {**entries[said == "B"], "top_logprobs": entries}
    choice = {
        "index": 0,
        "finish_reason": "length",
        "message": {"role": "assistant", "content": said, "refusal": None},
        "logprobs": {"content": [position]},
    }
    usage = {"prompt_tokens": 100, "completion_tokens": 1}
    return {"id": "x", "model": "judge", "choices": [choice], "usage": usage}


async def _reply(send: Send, content: Any) -> None:
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(content).encode()})


def _end_with_standard_input() -> None:
    sys.stdin.read()
    os._exit(0)


def main() -> None:
    """Serve on a port, with a pause in seconds before each answer."""
    port, pause_seconds = int(sys.argv[1]), float(sys.argv[2])
    threading.Thread(target=_end_with_standard_input, daemon=True).start()
    uvicorn.run(
        SlowJudge(pause_seconds),
        port=port, log_level="critical", lifespan="off", ws="none", access_log=False,
    )  # fmt: skip


if __name__ == "__main__":
    main()
