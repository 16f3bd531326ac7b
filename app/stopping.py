"""Learns that the process is asked to stop, before its server does anything about it.

A server waits for open connections before it stops the application, and whoever listens to the
progress of a batch keeps one open until the batch has ended: such answers must end by themselves.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Final

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


@dataclass(slots=True)
class Stopping:
    """Whether the process has been asked to stop."""

    has_begun: bool = False

    def begin(self) -> None:
        """Note that it has."""
        self.has_begun = True


@contextmanager
def noticing_stop(notice: Callable[[], None]) -> Iterator[None]:
    """Call `notice` when a signal asks the process to stop; who listened before still hears it.

    Outside of the main thread no signal can be listened to, and nothing is.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}

    def hear(number: int, frame: FrameType | None) -> None:
        notice()
        earlier = before[signal.Signals(number)]
        if callable(earlier):
            earlier(number, frame)

    # where nobody listens the system's own answer stays
    heard = [number for number, earlier in before.items() if callable(earlier)]
    for number in heard:
        signal.signal(number, hear)
    try:
        yield
    finally:
        for number in heard:
            signal.signal(number, before[number])
