"""Repeats calls that failed, and prints nothing.

By default stamina reports each retry through structlog, which prints to standard output where it
is not configured. There a program that uses this library would find lines among its own output.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from typing import Final

import stamina
from stamina.instrumentation import (
    RetryDetails,
    RetryHook,
    get_on_retry_hooks,
    set_on_retry_hooks,
)

_log = logging.getLogger(__name__)
_NAME: Final = "tribunal"


def retrying(
    on: Callable[[Exception], bool | float], *, attempts: int, pause_s: float, longest_s: float
) -> AsyncIterator[stamina.Attempt]:
    """Yield attempts, with pauses between them that grow.

    Args:
        on: Whether an error may pass; a number is the pause that the server asks for.
        attempts: How many at most.
        pause_s: The first pause; each pause is also varied by up to so much.
        longest_s: The longest pause.
    """

    def may_pass(error: Exception) -> bool | float:
        again = on(error)
        if again is not False:
            _print_nothing()
        return again

    context = stamina.retry_context(
        on=may_pass, attempts=attempts, timeout=None, wait_initial=pause_s, wait_max=longest_s,
        wait_jitter=pause_s,
    )  # fmt: skip
    return aiter(context.with_name(_NAME, (), {}))


def _print_nothing() -> None:
    """Take our retries from the default hook; other hooks, and the retries of others, stay."""
    hooks = get_on_retry_hooks()
    if any(map(_is_default, hooks)):
        set_on_retry_hooks([_without_ours(one) if _is_default(one) else one for one in hooks])


def _is_default(hook: RetryHook) -> bool:
    return getattr(hook, "__module__", "") == "stamina.instrumentation._structlog"


def _without_ours(hook: RetryHook) -> RetryHook:
    from structlog import is_configured  # it is installed, or this hook would not be there

    def called(details: RetryDetails) -> None:
        if details.name != _NAME or is_configured():
            hook(details)
        else:
            _log.info("retry %d after %s", details.retry_num, details.caused_by)

    return called
