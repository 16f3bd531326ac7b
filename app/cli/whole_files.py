"""Files that appear whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from app.cli.console import EXIT_FAILED, EXIT_USAGE, fail


@contextmanager
def whole(
    path: Path, option: str | None = None, *, status: int = EXIT_FAILED
) -> Iterator[BinaryIO]:
    """Open a file to write that takes its place when it is whole; until then what is there stays.

    What is no file (a pipe, `/dev/stdout`) is written as it is. What keeps it from being written is
    one line, with the option that asked for it, and an exit status.
    """
    place = path.resolve()
    is_file = place.is_file() or not place.exists()
    written = place.with_name(f".{place.name}.part") if is_file else place
    try:
        with written.open("wb") as file:
            yield file
        if is_file:
            if place.exists():
                shutil.copymode(place, written)
            written.replace(place)
    except OSError as error:
        named = f"{option}: {path}" if option else str(path)
        fail(f"{named}: {error.strerror or error}", status=status)
    finally:
        if is_file:
            with suppress(OSError):
                written.unlink()


def refuse_unwritable(path: Path, option: str) -> None:
    """Judging may cost money: see that its results will have a place before it starts."""
    if path.is_dir():
        fail(f"{option}: {path} is a folder", status=EXIT_USAGE)
    if not path.absolute().parent.is_dir():
        fail(f"{option}: there is no folder {path.parent}", status=EXIT_USAGE)
