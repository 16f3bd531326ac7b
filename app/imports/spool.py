"""Folders in which uploads are kept while they are read, and what killed processes left of them."""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

_log = logging.getLogger(__name__)
_PREFIX: Final = "tribunal-upload-"
_TRIES: Final = 20
_PAUSE_SECONDS: Final = 0.002


@contextmanager
def upload_folder(parent: Path | None) -> Iterator[Path]:
    """Make a folder that is locked as long as its process uses it, and removed afterwards.

    Args:
        parent: Where; None = where temporary files go.
    """
    place = Path(parent or tempfile.gettempdir())
    with _locked(place):
        folder = tempfile.TemporaryDirectory(prefix=_PREFIX, dir=place, ignore_cleanup_errors=True)
        lock = _lock(Path(folder.name))
    with folder as name:
        try:
            yield Path(name)
        finally:
            if lock is not None:
                os.close(lock)


def remove_left_over(parent: Path | None) -> int:
    """Remove the folders whose processes have ended; return how many there were.

    The system releases a lock when its process ends, however it ends and in whatever container.
    """
    place, removed = Path(parent or tempfile.gettempdir()), 0
    with _locked(place):
        for folder in place.glob(f"{_PREFIX}*"):
            lock = _lock(folder)
            if lock is not None:
                shutil.rmtree(folder, ignore_errors=True)
                os.close(lock)
                removed += 1
    if removed:
        _log.info("removed %d folders that killed imports left in %s", removed, place)
    return removed


@contextmanager
def _locked(place: Path) -> Iterator[None]:
    """Keep others from looking between the making of a folder and its lock.

    That takes no time: who holds the lock for longer, in a folder of all users, is not waited for.
    """
    lock = _lock(place)
    for _ in range(_TRIES):
        if lock is not None:
            break
        time.sleep(_PAUSE_SECONDS)
        lock = _lock(place)
    try:
        yield
    finally:
        if lock is not None:
            os.close(lock)


def _lock(folder: Path) -> int | None:
    """Lock a folder; None where another process has it, or its file system knows no locks."""
    try:
        file = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        with suppress(OSError):
            os.close(file)
        return None
    return file
