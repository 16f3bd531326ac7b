"""A Ray cluster on this machine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.app.processes import PATIENCE_SECONDS, ROOT

QUIET = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_AUTH_MODE": "disabled"}


class RayCluster:
    """A cluster in a process of its own."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.address = self._line()

    def remove_node(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write("remove\n")
        self._process.stdin.flush()
        assert self._line() == "removed"

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


@pytest.fixture(scope="package")
def cluster() -> Iterator[RayCluster]:
    """One cluster for all tests: it takes seconds to start. A test may take nodes but the first."""
    pytest.importorskip("ray", reason="Ray is not installed")
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.app.ray.cluster"], cwd=ROOT, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        env={**os.environ, **QUIET, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    try:
        yield RayCluster(process)
    finally:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        process.wait(PATIENCE_SECONDS)
        process.stdout.close()
