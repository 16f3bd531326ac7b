"""Files that appear whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from app.cli.console import EXIT_USAGE, fail


@contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """Open a file to write that takes its place when it is whole; until then what is there stays.

    What is no file (a pipe, `/dev/stdout`) is written as it is.
    """
    place = path.resolve()
    is_file = place.is_file() or not place.exists()
    written = place.with_name(f".{place.name}.part") if is_file else place
    try:
        with written.open("wb") as file:
            yield file
        if is_file:
            written.replace(place)
    except OSError as error:
        fail(f"{path}: {error.strerror or error}")
    finally:
        if is_file:
            written.unlink(missing_ok=True)


def refuse_unwritable(path: Path, option: str) -> None:
    """Judging may cost money: see that its results will have a place before it starts."""
    if path.is_dir():
        fail(f"{option}: {path} is a folder", status=EXIT_USAGE)
    if not path.absolute().parent.is_dir():
        fail(f"{option}: there is no folder {path.parent}", status=EXIT_USAGE)
