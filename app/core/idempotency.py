"""`Idempotency-Key`: the same key and body get the first answer again, another body gets 409."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any
from urllib.parse import quote

from fastapi import Request, Response
from sqlalchemy.dialects import postgresql, sqlite

from app.core.errors import Conflict, TextsResponse, Unprocessable
from app.core.models import IdempotencyKey
from app.core.names import fault_of
from app.core.openapi import AnswerRoute
from app.core.runtime import Runtime, get_runtime

_LONGEST = 255


class IdempotentRoute(AnswerRoute):
    """A route that remembers its answers under the keys that callers send."""

    # the key was used with another body
    refuses_posts_with = (409,)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Wrap the handler; requests without a key pass through."""
        handle = super().get_route_handler()

        async def remember(request: Request) -> Response:
            key = request.headers.get("idempotency-key")
            if key is None or request.method != "POST":
                return await handle(request)
            _check(key)
            body_hash = hashlib.sha256(await request.body()).hexdigest()
            return await answer_once(request, body_hash, lambda: handle(request))

        return remember


async def answer_once(
    request: Request, body_hash: str, answer: Callable[[], Awaitable[Response]]
) -> Response:
    """Return the first answer to the request's key, or a new one where it has none.

    Args:
        request: Whose `Idempotency-Key` counts.
        body_hash: Of the body, to detect another one under the same key.
        answer: Makes the answer, with a JSON body.

    Raises:
        Conflict: the key came with another body before.
        Unprocessable: the key is malformed.
    """
    key = request.headers.get("idempotency-key")
    if key is None:
        return await answer()
    _check(key)
    running = get_runtime(request)
    # a repetition waits while the first request runs
    async with running.answering.setdefault((key, _path(request)), asyncio.Lock()):
        earlier = await _find(running, key, _path(request))
        if earlier is None:
            response = await answer()
            await _keep(running, request, key, body_hash, response)
            return response
    if earlier.body_hash != body_hash:
        raise Conflict(f"Idempotency-Key {key!r} was used with another body")
    headers = {"location": earlier.location} if earlier.location else None
    return TextsResponse(earlier.body, earlier.status, headers)


def _check(key: str) -> None:
    fault = fault_of(key) if len(key) <= _LONGEST else f"give 1 to {_LONGEST} characters"
    if fault is not None:
        raise Unprocessable(
            f"Idempotency-Key: {fault}",
            errors=[{"loc": ["header", "idempotency-key"], "msg": fault}],
        )


def _path(request: Request) -> str:
    # an address may spell what no database stores
    return quote(request.scope["path"])


async def _find(running: Runtime, key: str, path: str) -> IdempotencyKey | None:
    async with running.db.read() as session:
        return await session.get(IdempotencyKey, (key, path))


async def _keep(
    running: Runtime, request: Request, key: str, body_hash: str, response: Response
) -> None:
    row = {
        "key": key,
        "path": _path(request),
        "body_hash": body_hash,
        "status": response.status_code,
        "location": response.headers.get("location"),
        "body": json.loads(bytes(response.body)),
        "created_at": running.now(),
    }
    async with running.db.write() as session:
        dialect = sqlite if running.db.is_sqlite else postgresql
        await session.execute(dialect.insert(IdempotencyKey).values(row).on_conflict_do_nothing())
