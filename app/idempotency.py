"""`Idempotency-Key`: the same key and body get the first answer again, another body gets 409."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from sqlalchemy.dialects import postgresql, sqlite

from app.errors import Conflict, Unprocessable
from app.models import IdempotencyKey
from app.runtime import Runtime, get_runtime

_LONGEST = 255


class IdempotentRoute(APIRoute):
    """A route that remembers its answers under the keys that callers send."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap the handler; requests without a key pass through."""
        handle = super().get_route_handler()

        async def remember(request: Request) -> Response:
            key = request.headers.get("idempotency-key")
            if key is None or request.method != "POST":
                return await handle(request)
            return await _answer_once(request, key, handle)

        return remember


async def _answer_once(
    request: Request, key: str, handle: Callable[[Request], Coroutine[Any, Any, Response]]
) -> Response:
    if not 0 < len(key) <= _LONGEST:
        raise Unprocessable(f"Idempotency-Key: give 1 to {_LONGEST} characters")
    running = get_runtime(request)
    body_hash = hashlib.sha256(await request.body()).hexdigest()
    earlier = await _find(running, key, request.url.path)
    if earlier is not None:
        if earlier.body_hash != body_hash:
            raise Conflict(f"Idempotency-Key {key!r} was used with another body")
        headers = {"location": earlier.location} if earlier.location else None
        return JSONResponse(earlier.body, earlier.status, headers)
    response = await handle(request)
    await _keep(running, request, key, body_hash, response)
    return response


async def _find(running: Runtime, key: str, path: str) -> IdempotencyKey | None:
    async with running.db.read() as session:
        return await session.get(IdempotencyKey, (key, path))


async def _keep(
    running: Runtime, request: Request, key: str, body_hash: str, response: Response
) -> None:
    row = {
        "key": key,
        "path": request.url.path,
        "body_hash": body_hash,
        "status": response.status_code,
        "location": response.headers.get("location"),
        "body": json.loads(bytes(response.body)),
        "created_at": running.now(),
    }
    async with running.db.write() as session:
        dialect = sqlite if running.db.is_sqlite else postgresql
        await session.execute(dialect.insert(IdempotencyKey).values(row).on_conflict_do_nothing())
