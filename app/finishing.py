"""Lets work come to its end where whoever waits for it is told to stop."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any, TypeVar

_T = TypeVar("_T")
_log = logging.getLogger(__name__)


async def to_the_end(
    work: Coroutine[Any, Any, _T], *, expected: type[Exception] | tuple[()] = ()
) -> _T:
    """Return what `work` returns; cancelled meanwhile, the caller stops when it is done.

    For transactions: one that is cut off in the middle leaves a driver in disorder. An error that
    comes after the caller was told to stop is logged, because nobody else can take it, unless it is
    one that is `expected` then.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if not task.done():
            await asyncio.wait([task])
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, expected):
            _log.error("failed while it was being stopped", exc_info=error)
        raise
