"""A batch's progress as server-sent events.

An event is sent whenever more pairs are judged or the status changes; its id names the state that
it reports. A listener that reconnects with `Last-Event-ID` gets no event twice, and none at all if
it has had the last one. FastAPI's own response for events cannot answer 204 then, so that only its
framing is used.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final

from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event

from app.batches import queries, stored
from app.core.errors import NotFound
from app.core.runtime import Runtime
from app.core.tasks import Stopping

POLL_SECONDS: Final = 0.5
# proxies close a connection that is silent for too long
_SILENCE_SECONDS: Final = 15.0


def state_id(batch: Mapping[str, Any]) -> str:
    """Return the id of the event that reports a batch as it is now."""
    counts = batch["request_counts"]
    return f"{counts['completed'] + counts['failed']}-{batch['status']}"


def has_ended(batch: Mapping[str, Any]) -> bool:
    """Say whether a batch has ended."""
    return batch["status"] not in queries.UNFINISHED


async def events(
    running: Runtime,
    batch_id: str,
    last_id: str | None,
    stopping: Stopping,
    may_listen: Callable[[], Awaitable[bool]],
) -> AsyncIterator[bytes]:
    """Yield the states of a batch after `last_id` until it has ended or is deleted.

    The stream ends early when the service stops: a listener may reconnect with its last event's id.
    It ends, too, when the listener may hear no more, since a batch may outlive a key.
    """
    silent = 0.0
    while (batch := await _look(running, batch_id)) is not None:
        state = state_id(batch)
        if state != last_id:
            yield format_sse_event(data_str=json.dumps(batch), id=state)
            last_id, silent = state, 0.0
        elif silent >= _SILENCE_SECONDS:
            yield KEEPALIVE_COMMENT
            silent = 0.0
        if has_ended(batch) or stopping.has_begun:
            return
        await asyncio.sleep(POLL_SECONDS)
        silent += POLL_SECONDS
        if not await may_listen():
            return


async def _look(running: Runtime, batch_id: str) -> dict[str, Any] | None:
    """Return a batch as it is now; any number of listeners make one transaction at a time."""
    look = partial(_look_all, running)
    return await running.coalescer.call("batch events", batch_id, look)


async def _look_all(running: Runtime, batch_ids: Sequence[str]) -> Sequence[dict[str, Any] | None]:
    batches = []
    async with running.db.read() as session:
        for batch_id in set(batch_ids):
            with suppress(NotFound):
                batches.append(await stored.require(session, batch_id))
        found = {one["id"]: one for one in await stored.show(session, batches, running.now())}
    return [found.get(batch_id) for batch_id in batch_ids]
