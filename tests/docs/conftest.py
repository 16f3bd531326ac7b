"""What the pages' blocks run in: the installed package, and one service that holds the example."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.docs.pages import ROOT
from tests.packaging.wheel import InstalledWheel

_READY_SECONDS = 60.0


@pytest.fixture(scope="session")
def service_port(
    installed_wheel: InstalledWheel, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[int]:
    """The port of a service with nothing configured, which holds the example."""
    folder = tmp_path_factory.mktemp("service")
    port = _free_port()
    environment = {name: text for name, text in os.environ.items() if not _is_ours(name)}
    with (
        (folder / "log").open("wb") as log,
        subprocess.Popen(
            [installed_wheel.bin / "tribunal", "serve", "--port", str(port)],
            cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        ) as process,
    ):  # fmt: skip
        try:
            _wait_until_ready(port, process, folder / "log")
            _import_example(port)
            yield port
        finally:
            process.terminate()


def reader_environment(wheel: InstalledWheel) -> dict[str, str]:
    """Return the variables of somebody who has installed the package and set nothing."""
    kept = {name: text for name, text in os.environ.items() if not _is_ours(name)}
    return {
        **kept,
        "PATH": f"{wheel.bin}{os.pathsep}{kept['PATH']}",
        "TRIBUNAL_OUTPUT": "table",
    }


def _is_ours(name: str) -> bool:
    return name.startswith(("TRIBUNAL_", "DATABASE_URL", "PYTEST_"))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _import_example(port: int) -> None:
    with (ROOT / "examples" / "pairs.jsonl").open("rb") as rows:
        answer = httpx.post(
            f"http://127.0.0.1:{port}/v1/datasets", params={"name": "example"}, content=rows,
            headers={"content-type": "application/x-ndjson"}, timeout=60,
        )  # fmt: skip
    answer.raise_for_status()


def _wait_until_ready(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + _READY_SECONDS
    while time.monotonic() < until and process.poll() is None:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise AssertionError(f"the service is not ready: {log.read_text()}")
