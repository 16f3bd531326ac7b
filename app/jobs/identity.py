"""Who a worker is, so that the shards of one that is known to be dead need no waiting.

A worker is named `node/process/start/token`. Processes of one node see one another: where the
process is gone, or another one has its number by now, the worker is dead and its leases are free at
once. Of workers on other nodes only the end of a lease tells.
"""

from __future__ import annotations

import os
import secrets
import socket
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc")
_LONGEST_NODE: Final = 80


def node_name(given: str | None = None) -> str:
    """Return the name of the place whose processes see one another.

    By default the host, this boot of it and the process namespace: two containers of the same name
    do not take each other's processes for dead. A container that is started anew is another node,
    unless it is `given` a name that stays.
    """
    if given:
        return given.replace("/", "_")[:_LONGEST_NODE]
    boot = _read(_PROC / "sys/kernel/random/boot_id")[:8]
    try:
        namespace = str((_PROC / "self/ns/pid").stat().st_ino)
    except OSError:
        namespace = ""
    return f"{socket.gethostname()[:40]}:{boot}:{namespace}".replace("/", "_")


def worker_name(node: str) -> str:
    """Return a name that no other worker has."""
    pid = os.getpid()
    return f"{node}/{pid}/{_started(pid)}/{secrets.token_hex(4)}"


def is_dead(worker: str, node: str) -> bool:
    """Whether a worker is known to be dead; False where that cannot be known."""
    place, _, rest = worker.partition("/")
    parts = rest.split("/")
    if place != node or len(parts) != 3 or not parts[0].isdigit():
        return False
    pid, started = int(parts[0]), parts[1]
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return _started(pid) != started


def _started(pid: int) -> str:
    """When a process was started, in the kernel's own count; empty where it does not say."""
    # the second field is the program's name in brackets, which may hold anything
    fields = _read(_PROC / str(pid) / "stat").rpartition(")")[2].split()
    return fields[19] if len(fields) > 19 else ""


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
