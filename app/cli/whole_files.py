"""Files that appear whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from app.cli.console import EXIT_USAGE, fail


@contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """Open a file to write; half of one is none."""
    is_whole = False
    try:
        with path.open("wb") as file:
            yield file
        is_whole = True
    except OSError as error:
        fail(f"{path}: {error.strerror or error}")
    finally:
        if not is_whole and path.is_file():
            path.unlink()


def refuse_unwritable(path: Path, option: str) -> None:
    """Judging may cost money: see that its results will have a place before it starts."""
    if path.is_dir():
        fail(f"{option}: {path} is a folder", status=EXIT_USAGE)
    if not path.absolute().parent.is_dir():
        fail(f"{option}: there is no folder {path.parent}", status=EXIT_USAGE)
