"""A batch's progress as server-sent events.

An event is sent when more pairs are done or the status changes; its id names that state. A client
that reconnects with `Last-Event-ID` gets no event twice, and none after the last one.

FastAPI's own response for events is not used: it cannot answer 204 after the last event.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event

from app.batches import queries, service
from app.core.errors import NotFound
from app.core.runtime import Runtime
from app.core.tasks import Stopping

POLL_SECONDS: Final = 0.5
# proxies close a connection that is silent for long
_SILENCE_SECONDS: Final = 15.0


def state_id(batch: Mapping[str, Any]) -> str:
    """Return the id of the event that tells of a batch as it is now."""
    counts = batch["request_counts"]
    return f"{counts['completed'] + counts['failed']}-{batch['status']}"


def has_ended(batch: Mapping[str, Any]) -> bool:
    """Whether nothing more will happen to a batch."""
    return batch["status"] not in queries.UNFINISHED


async def events(
    running: Runtime, batch_id: str, last_id: str | None, stopping: Stopping
) -> AsyncIterator[bytes]:
    """Yield the states of a batch behind `last_id` until it has ended or is deleted.

    They end early where the service stops: a listener may come back with the id of the last event.
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


async def _look(running: Runtime, batch_id: str) -> dict[str, Any] | None:
    try:
        return await service.find(running, batch_id)
    except NotFound:
        return None
