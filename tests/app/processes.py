"""The command line and the service as processes of their own, to be interrupted and killed."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import httpx

TRIBUNAL = (sys.executable, "-m", "app")
ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 180.0
# loading the service takes seconds: one process does it, and all others are forked off that one
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["app.cli", "app.main"])


class Forked:
    """The command line in a process of its own, to be waited for and killed."""

    def __init__(self, arguments: _Arguments) -> None:
        self._process = _FORKS.Process(target=_run, args=(arguments,))
        self._process.start()

    @property
    def pid(self) -> int:
        return self._process.pid or 0

    def poll(self) -> int | None:
        """Return the exit status of a process that has ended."""
        return self._process.exitcode

    def wait(self, seconds: float | None = None) -> int:
        """Return the exit status when the process has ended."""
        self._process.join(seconds)
        status = self._process.exitcode
        assert status is not None, f"it did not end within {seconds} s"
        return status

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self._process.kill()


@dataclass(frozen=True, slots=True)
class _Arguments:
    """What a new process needs: its arguments and environment, and where its streams go."""

    arguments: tuple[str, ...]
    environment: Mapping[str, str]
    folder: Path
    typed: Connection
    out: Path
    err: Path


def _run(given: _Arguments) -> None:
    """Be the command line in a process that was just forked."""
    from app.cli import main

    # a shell starts what runs in the background with Ctrl-C ignored, and a child inherits that
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(given.environment)
    os.chdir(given.folder)
    os.dup2(given.typed.fileno(), 0)
    for number, path in ((1, given.out), (2, given.err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - it stays open as long as the process
    sys.argv = ["tribunal", *given.arguments]
    main()


@dataclass(frozen=True, slots=True)
class Running:
    """A process with its standard error in a file, so that it can be read while it runs."""

    process: Forked
    out: Path
    err: Path

    @property
    def said(self) -> str:
        """What it has said on standard error."""
        return self.err.read_text()

    def wait_until_said(self, text: str) -> None:
        until(lambda: text in self.said or self.process.poll() is not None)
        assert text in self.said, self.said

    def interrupted(self) -> int:
        """Press Ctrl-C once, and return the exit status."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(PATIENCE_SECONDS)


@contextmanager
def tribunal(
    folder: Path,
    name: str,
    *arguments: str,
    environment: Mapping[str, str] | None = None,
    typed: bytes = b"",
) -> Iterator[Running]:
    """Run a verb whose standard input stays open; what is left of it at the end is killed."""
    out, err = folder / f"{name}.out", folder / f"{name}.err"
    out.write_bytes(b"")
    err.write_bytes(b"")
    whole = {**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})}
    read, write = _FORKS.Pipe(duplex=False)
    with closing(write):
        with closing(read):
            process = Forked(_Arguments(arguments, whole, folder, read, out, err))
        try:
            os.write(write.fileno(), typed)
            yield Running(process, out, err)
        finally:
            process.kill()
            process.wait()


@contextmanager
def service(
    folder: Path, port: int, *, workers: int, settings: Mapping[str, str] | None = None
) -> Iterator[Running]:
    """Run a server until it is ready; workers = 0 leaves batches undone."""
    environment = {"TRIBUNAL_WORKERS": str(workers), **(settings or {})}
    arguments = ("serve", "--port", str(port))
    with tribunal(folder, f"serve-{workers}", *arguments, environment=environment) as running:
        until(lambda: _is_ready(port) or running.process.poll() is not None)
        assert running.process.poll() is None, running.said
        yield running


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def until(is_so: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
    """Wait for something, but not for ever."""
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "it never was so"
        time.sleep(0.05)


def _is_ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=5).status_code == 200
    except httpx.TransportError:
        return False
