"""Retries print nothing in a program that has configured no logging, and leave hooks of others."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
import stamina
import structlog
from stamina.instrumentation import RetryDetails, set_on_retry_hooks

from judges.retries import retrying


@pytest.fixture(autouse=True)
def default_hooks() -> Iterator[None]:
    set_on_retry_hooks(None)
    structlog.reset_defaults()
    with stamina.set_testing(True, attempts=3, cap=True):
        yield
    set_on_retry_hooks(None)


async def failing() -> None:
    async for attempt in retrying(lambda _: True, attempts=3, pause_s=0.0, longest_s=0.0):
        with attempt:
            raise ConnectionError("away")


@stamina.retry(on=ValueError, attempts=2)
def of_another() -> None:
    raise ValueError("theirs")


def test_our_retries_print_nothing_and_those_of_others_do_as_before(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(ConnectionError):
        asyncio.run(failing())
    assert capsys.readouterr() == ("", "")
    with pytest.raises(ValueError, match="theirs"):
        of_another()
    assert "stamina.retry_scheduled" in capsys.readouterr().out


def test_hooks_that_a_program_has_set_see_our_retries() -> None:
    seen: list[RetryDetails] = []

    def see(details: RetryDetails) -> None:
        seen.append(details)

    set_on_retry_hooks([see])
    with pytest.raises(ConnectionError):
        asyncio.run(failing())
    assert [one.name for one in seen] == ["tribunal", "tribunal"]
