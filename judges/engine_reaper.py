"""Ends an engine's processes when this process has died without ending them itself."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from typing import Final

# The pipe closes when its writer dies, however it dies: the reader then kills what is left. A line
# on it means that all has ended in order. The children of the processes go first.
_PROGRAM: Final = """
import os, signal, sys
def family(pid):
    try:
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            children = [int(word) for word in file.read().split()]
    except OSError:
        children = []
    return [d for child in children for d in family(child)] + [pid]
if not sys.stdin.readline():
    for root in sys.argv[1:]:
        for pid in family(int(root)):
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass
"""


class EngineReaper:
    """Watches over processes from a process of its own until `close`."""

    def __init__(self, processes: Sequence[int]) -> None:
        self._watcher = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _PROGRAM, *map(str, processes)],
            stdin=subprocess.PIPE,
            # Ctrl-C goes to every process of a terminal's group: this one is to outlive it
            start_new_session=True,
        )

    def close(self) -> None:
        """Leave the processes alone: they have ended, or somebody else ends them."""
        if self._watcher.stdin is not None and not self._watcher.stdin.closed:
            try:
                self._watcher.stdin.write(b"\n")
                self._watcher.stdin.close()
            except BrokenPipeError:
                pass
        self._watcher.wait()
