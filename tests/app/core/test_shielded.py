from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from app.core.tasks import shielded


async def fail_after(moment: asyncio.Event) -> None:
    await moment.wait()
    raise LookupError("too late")


async def stopped(**options: Any) -> list[dict[str, Any]]:
    """Stop a caller whose work fails then, and return what asyncio says nobody has seen."""
    unseen: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: unseen.append(context))
    moment = asyncio.Event()
    caller = asyncio.create_task(shielded(fail_after(moment), **options))
    await asyncio.sleep(0)
    caller.cancel()
    await asyncio.sleep(0)
    assert not caller.done(), "its work is not at its end"
    moment.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    del caller
    await asyncio.sleep(0)
    return unseen


async def test_an_error_after_the_stop_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        assert await stopped() == []
    assert "too late" in caplog.text


async def test_an_expected_error_after_the_stop_is_no_news(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.DEBUG, logger="app"):
        assert await stopped(expected=LookupError) == []
    assert "too late" not in caplog.text


async def test_an_error_before_the_stop_is_the_caller_s() -> None:
    moment = asyncio.Event()
    moment.set()
    with pytest.raises(LookupError):
        await shielded(fail_after(moment), expected=LookupError)
