"""The command line and the service as processes of their own, to be interrupted and killed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

TRIBUNAL = (sys.executable, "-m", "app")
ROOT = Path(__file__).resolve().parents[2]
PATIENCE_SECONDS = 180.0


@dataclass(frozen=True, slots=True)
class Running:
    """A process with its standard error in a file, so that it can be read while it runs."""

    process: subprocess.Popen[bytes]
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
    with out.open("wb") as stdout, err.open("wb") as stderr:
        process = subprocess.Popen(
            [*TRIBUNAL, *arguments], cwd=folder, stdin=subprocess.PIPE, stdout=stdout, stderr=stderr,
            env={**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})},
        )  # fmt: skip
        assert process.stdin is not None
        try:
            process.stdin.write(typed)
            process.stdin.flush()
            yield Running(process, out, err)
        finally:
            process.kill()
            process.communicate()


@contextmanager
def service(folder: Path, port: int, *, workers: int) -> Iterator[Running]:
    """Run a server until it is ready; workers = 0 leaves batches undone."""
    environment = {"TRIBUNAL_WORKERS": str(workers)}
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


def until(is_so: Callable[[], bool]) -> None:
    """Wait for something, but not for ever."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not is_so():
        assert time.monotonic() < deadline, "it never was so"
        time.sleep(0.05)


def _is_ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=5).status_code == 200
    except httpx.TransportError:
        return False
