"""Storing what a shard came to, also where the database is away for a moment."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final

from sqlalchemy.exc import DBAPIError, IntegrityError

from app.finishing import to_the_end
from app.jobs import leases
from app.models import Shard
from app.runtime import Runtime

_log = logging.getLogger(__name__)
_ATTEMPTS: Final = 8


async def store_patiently(
    running: Runtime,
    shard: Shard,
    worker: str,
    store: Callable[[], Coroutine[Any, Any, None]],
) -> None:
    """Run the transaction that completes a shard, again where the database was away.

    Raises:
        LeaseLost: the shard is not this worker's any more.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            await to_the_end(store())
            return
        except (DBAPIError, OSError) as error:
            # what looks like a failure may have been a connection that broke after the commit
            if await _is_stored(running, shard, worker):
                return
            if attempt == _ATTEMPTS or isinstance(error, IntegrityError):
                raise
            _log.warning("shard %d cannot be stored yet: %s", shard.number, error)
            await asyncio.sleep(min(0.1 * 2**attempt, 10.0))


async def _is_stored(running: Runtime, shard: Shard, worker: str) -> bool:
    try:
        async with running.db.read() as session:
            return await leases.is_finished_by(session, shard, worker)
    except (DBAPIError, OSError):
        return False
