"""Runs awaited methods for threads that block.

A portal is an event loop in a thread of its own. A blocking call starts a task there and waits.
While it waits, its thread runs what the task asks for: the caller's own functions, which may
use the client themselves, and reads and writes that may block for long, such as of a terminal.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from contextvars import ContextVar
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any, Final, Generic, ParamSpec, TypeVar, TypeVarTuple, Unpack

from anyio import to_thread

from app.client.errors import TribunalClientError

P = ParamSpec("P")
T = TypeVar("T")
A = TypeVar("A")
Ts = TypeVarTuple("Ts")
Work = Callable[P, Coroutine[Any, Any, T]]
_STOP_SECONDS: Final = 10.0


async def in_caller(function: Callable[[Unpack[Ts]], T], *args: *Ts) -> T:
    """Run the caller's own function where the caller runs: in its thread, or on its event loop."""
    call = _CALL.get()
    if call is None:
        return function(*args)
    return await call.ask(function, *args)


async def beside(function: Callable[[Unpack[Ts]], T], *args: *Ts) -> T:
    """Run what may block in the thread of a blocking caller, else in a worker thread."""
    call = _CALL.get()
    if call is None:
        return await to_thread.run_sync(function, *args)
    return await call.ask(function, *args)


class Portal:
    """An event loop in a thread of its own.

    Args:
        close: Awaited on the loop before it ends.
    """

    def __init__(self, close: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._close = close
        self._pid = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._leave = asyncio.Event()
        self._is_stopping = False
        self._lock = threading.Lock()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._live, name="tribunal-client", daemon=True)
        self._thread.start()

    def run(self, work: Work[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Await `work` on the loop and return its result.

        An interruption of this thread cancels the task and waits until it has ended: a transaction
        that is still being closed when the service stops would be cut off with the event loop.

        Raises:
            RuntimeError: the portal is closed, belongs to another process, or is this very thread.
        """
        if self._pid != os.getpid():
            raise RuntimeError(
                "this client was opened in another process, and a fork does not copy its thread: "
                "open a client in each process"
            )
        if threading.current_thread() is self._thread:
            raise RuntimeError(
                "a blocking client is used on its own event loop, which would wait for itself"
            )
        call: _Call[T] | None = None
        try:
            with self._lock:  # what is started comes before the stop
                if self._is_stopping:
                    raise RuntimeError("this client is closed")
                call = _Call(self._loop, work(*args, **kwargs))
                self._loop.call_soon_threadsafe(call.start)
            call.serve()
        except BaseException:
            if call is not None:
                call.cancel()
            raise
        return call.result()

    def stop(self) -> None:
        """Ask the loop to end; nothing is waited for."""
        if self._pid != os.getpid():
            return
        with self._lock:
            if not self._is_stopping:
                self._is_stopping = True
                with suppress(RuntimeError):  # the loop may have ended by an error
                    self._loop.call_soon_threadsafe(self._leave.set)

    def close(self) -> None:
        """End the loop, wait for it, and raise what its closing raised."""
        self.stop()
        if self._pid != os.getpid() or threading.current_thread() is self._thread:
            return
        self._thread.join()
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def _live(self) -> None:
        _OPEN.add(self)
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(self._wait_and_close())
        except BaseException as error:
            self._failure = error
        finally:
            _OPEN.discard(self)

    async def _wait_and_close(self) -> None:
        await self._leave.wait()
        await self._close()


class _Call(Generic[T]):
    """A blocking call: its task on the loop, and what the task asks the waiting thread to do."""

    def __init__(self, loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, T]) -> None:
        self._loop = loop
        self._work = work
        self._task: asyncio.Task[T] | None = None
        # None: the task has ended
        self._asked: SimpleQueue[Callable[[], None] | None] = SimpleQueue()

    def start(self) -> None:
        """Start the task; runs on the loop."""
        _CALL.set(self)  # in the context of this callback, which only the task inherits
        self._task = self._loop.create_task(self._work)
        self._task.add_done_callback(self._end)

    def serve(self) -> None:
        """Run what the task asks for until it has ended; runs in the thread of the caller."""
        while (asked := self._asked.get()) is not None:
            asked()

    def result(self) -> T:
        """Return the result of the task, which has ended."""
        assert self._task is not None
        try:
            return self._task.result()
        except asyncio.CancelledError:
            raise TribunalClientError("the client was closed before the answer came") from None

    def cancel(self) -> None:
        """Cancel the task, and wait until it has ended; runs in the thread of the caller."""
        try:
            self._loop.call_soon_threadsafe(self._cancel)
        except RuntimeError:  # the loop has ended, and with it the task
            self._work.close()
            return
        deadline = monotonic() + _STOP_SECONDS
        with suppress(Empty):
            while self._asked.get(timeout=max(0.0, deadline - monotonic())) is not None:
                pass

    async def ask(self, function: Callable[[Unpack[Ts]], A], *args: *Ts) -> A:
        """Have the waiting thread run a function; what that raises ends the whole call."""
        answer: Future[A] = Future()

        def run() -> None:
            if answer.set_running_or_notify_cancel():
                answer.set_result(function(*args))

        self._asked.put(run)
        return await asyncio.wrap_future(answer)

    def _end(self, task: asyncio.Task[T]) -> None:
        if not task.cancelled():
            task.exception()  # known, also where no one asks for the result any more
        self._asked.put(None)

    def _cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()
        else:  # interrupted before it was started
            self._work.close()
            self._asked.put(None)


_CALL: ContextVar[_Call[Any] | None] = ContextVar("call", default=None)
_OPEN: Final[set[Portal]] = set()


@atexit.register
def _close_all() -> None:
    """Close what a program left open: a service in this process has a database to close."""
    for portal in tuple(_OPEN):
        with suppress(Exception):
            portal.close()
