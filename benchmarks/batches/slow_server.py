"""A server that says the same to everybody after a pause: `... SECONDS PORT`."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any, Final

import uvicorn

_TOKENS: Final = [{"token": "A", "logprob": -0.3567}, {"token": "B", "logprob": -1.204}]
_ANSWER: Final = {
    "model": "judge",
    "choices": [
        {
            "finish_reason": "length",
            "message": {"role": "assistant", "content": "A"},
            "logprobs": {"content": [{**_TOKENS[0], "top_logprobs": _TOKENS}]},
        }
    ],
    "usage": {"prompt_tokens": 100, "completion_tokens": 1},
}


def main() -> None:
    """Serve until killed."""
    pause, port = float(sys.argv[1]), int(sys.argv[2])
    body = json.dumps(_ANSWER).encode()

    async def answer(
        _: dict[str, Any],
        receive: Callable[[], Awaitable[dict[str, Any]]],
        send: Callable[[dict[str, Any]], Awaitable[None]],
    ) -> None:
        while (await receive()).get("more_body"):
            pass
        await asyncio.sleep(pause)
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    uvicorn.run(answer, port=port, log_level="critical", lifespan="off", access_log=False)


if __name__ == "__main__":
    main()
