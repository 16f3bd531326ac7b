"""What the command line loads: help nothing, a verb of a server no service, a reader no statistics."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer
import typer.main
from typer.models import CommandInfo
from typer.testing import CliRunner

from app.cli import program, reading
from app.core.settings import Settings
from tests.app.processes import ROOT
from tests.app.rows import labelled_rows, ndjson

RUN = """
import sys
from app.cli import main
sys.argv = ["tribunal", *sys.argv[1:]]
try:
    main()
except SystemExit as ended:
    assert not ended.code, ended.code
finally:
    print(*sorted(sys.modules), file=sys.stderr)
"""
STATISTICS = {"scipy.stats", "scipy.special", "scipy.optimize", "scipy.sparse", "pandas", "pyarrow"}
SERVICE = {
    "fastapi",
    "starlette",
    "sqlalchemy",
    "pydantic",
    "alembic",
    "app.main",
    "app.core.errors",
}
CLIENT = {"httpx", "asyncio", "anyio", "app.client"}


def loaded(folder: Path, *arguments: str, **environment: str) -> set[str]:
    """Return the modules that a verb loads, in a process of its own."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("TRIBUNAL_")}
    database = {"DATABASE_URL": f"sqlite:///{folder}/cli.db", "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        [sys.executable, "-c", RUN, *arguments], capture_output=True, text=True, check=False,
        cwd=folder, env={**others, **database, **environment},
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    return set(ended.stderr.splitlines()[-1].split())


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["certify", "--help"]], ids=" ".join
)
def test_help_loads_no_client_no_service_and_nothing_that_draws(
    folder: Path, arguments: list[str]
) -> None:
    found = loaded(folder, *arguments)
    assert not found & (CLIENT | SERVICE | STATISTICS | {"numpy", "rich", "structlog", "stamina"})


@pytest.mark.parametrize(
    ("arguments", "own"),
    [
        (["--version"], set()),
        (["certify", "--help"], {"app.cli.certifying"}),
        (["datasets", "--help"], {"app.cli.stored"}),
    ],
    ids=["--version", "certify", "datasets"],
)
def test_a_verb_loads_no_other_verb(folder: Path, arguments: list[str], own: set[str]) -> None:
    verbs = {f"app.cli.{name}" for name in set(program.MODULES.values())}
    assert loaded(folder, *arguments) & verbs == own


def test_only_the_verb_that_is_named_is_built(monkeypatch: pytest.MonkeyPatch) -> None:
    program.verb.cache_clear()
    built: list[str] = []
    build = typer.main.get_command_from_info

    def counted(info: CommandInfo, **options: Any) -> Any:
        built.append(program.name_of(info))
        return build(info, **options)

    monkeypatch.setattr(typer.main, "get_command_from_info", counted)
    shown = CliRunner().invoke(program.app, ["--help"])
    assert "Certify a cascade on labelled pairs" in shown.output
    assert built == []
    for _ in range(2):
        CliRunner().invoke(program.app, ["plan", "--help"])
    assert built == ["plan"]


def test_each_verb_is_found_in_its_module() -> None:
    folder = Path(program.__file__).parent
    modules = {
        ".".join(file.relative_to(folder).with_suffix("").parts)
        for file in folder.rglob("*.py")
        if "def add_to(" in file.read_text()
    }
    assert set(program.MODULES.values()) == modules
    for module in modules:
        registered = typer.Typer()
        import_module(f"app.cli.{module}").add_to(registered)
        verbs = {program.name_of(info) for info in registered.registered_commands}
        verbs |= {str(info.name) for info in registered.registered_groups}
        assert {verb for verb, where in program.MODULES.items() if where == module} == verbs


class Server(BaseHTTPRequestHandler):
    """A service without any dataset."""

    def do_GET(self) -> None:
        page: dict[str, Any] = {
            "object": "list",
            "data": [],
            "first_id": None,
            "last_id": None,
            "has_more": False,
        }
        body = json.dumps(page).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def address() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("shows", ["table", "json"])
def test_a_verb_of_a_server_loads_nothing_of_the_service(
    folder: Path, address: str, shows: str
) -> None:
    found = loaded(
        folder, "datasets", "list", TRIBUNAL_SERVER=address, TRIBUNAL_OUTPUT=shows
    )  # fmt: skip
    assert "app.client" in found
    assert not found & (SERVICE | STATISTICS | {"numpy", "structlog"})


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a database that holds a dataset."""
    folder = tmp_path_factory.mktemp("filled")
    (folder / "rows.jsonl").write_bytes(ndjson(labelled_rows(5)))
    loaded(folder, "import", "rows.jsonl")
    return folder


@pytest.mark.parametrize("collection", ["datasets", "calibrations", "batches", "leaderboards"])
def test_a_look_at_the_database_here_starts_no_service(filled: Path, collection: str) -> None:
    found = loaded(filled, collection, "list", TRIBUNAL_OUTPUT="json")
    assert "sqlalchemy" in found
    asks = {"httpx", "app.client", "app.main", "app.api", "judges.registry", "asyncpg"}
    serves = {"fastapi", "starlette", "structlog", "prometheus_client", "uvicorn", "alembic"}
    assert not found & (asks | serves | STATISTICS | {"numpy", "scipy", "app.formats.canonical"})
    assert not found & {
        "pydantic",
        "pydantic_settings",
        "app.core.settings",
        "app.bodies.judgments",
    }
    tables = {name.removeprefix("app.core.models.") for name in found if "core.models." in name}
    assert tables == {"base", "data"} | OWN_TABLES[collection]


OWN_TABLES: dict[str, set[str]] = {
    "datasets": set(),
    "calibrations": {"results"},
    "batches": {"results", "batches"},
    "leaderboards": {"results"},
}


@pytest.mark.parametrize(
    "name", ["base", "data", "results", "batches", "files", "keys", "people", "monitors"]
)
def test_tables_refer_only_to_tables_that_are_loaded_before_them(name: str) -> None:
    code = (
        "import sys; from app.core import models; from importlib import import_module\n"
        "for one in models._MODULES:\n"
        "    tables = import_module(f'app.core.models.{one}').Base.metadata.tables.values()\n"
        f"    if one == {name!r}: break\n"
        "print(*(key.column for table in tables for key in table.foreign_keys))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, capture_output=True)


@pytest.mark.parametrize(
    ("environment", "is_plain"),
    [
        ({}, True),
        ({"TRIBUNAL_SERVER": "", "TRIBUNAL_OUTPUT": "json"}, True),
        ({"TRIBUNAL_DATABASE_URL": "sqlite:///other.db"}, True),
        ({"DATABASE_URL": "postgresql://user@host/base"}, True),
        ({"TRIBUNAL_MAX_PAGE_BYTES": "2048"}, False),
        ({"tribunal_database_wait_seconds": "3"}, False),
        ({"DATABASE_URL": "sqlite:///one.db", "TRIBUNAL_DATABASE_URL": "sqlite:///two.db"}, False),
    ],
)
def test_a_look_reads_the_settings_that_the_service_would(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    environment: dict[str, str],
    is_plain: bool,
) -> None:
    for name in [name for name in os.environ if "TRIBUNAL_" in name or name == "DATABASE_URL"]:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    chosen, whole = reading._settings(), Settings()
    assert isinstance(chosen, reading.Plain) is is_plain
    for name in ("database_url", "database_wait_seconds", "max_page_bytes"):
        assert getattr(chosen, name) == getattr(whole, name)


@pytest.mark.parametrize("collection", ["datasets", "calibrations", "batches", "leaderboards"])
@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("TRIBUNAL_WORKERS", "few", "TRIBUNAL_WORKERS: Input should be a valid integer"),
        ("DATABASE_URL", "mysql://x", "DATABASE_URL: it must start with sqlite://"),
        ("DATABASE_URL", "", "DATABASE_URL: it must start with sqlite://"),
        ("DATABASE_URL", "sqlite:////no/such/x.db", "DATABASE_URL: there is no folder '/no/such'"),
    ],
)
def test_a_look_names_a_wrong_setting(
    monkeypatch: pytest.MonkeyPatch, collection: str, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)
    ended = CliRunner().invoke(program.app, [collection, "list"])
    assert (ended.exit_code, said in ended.output) == (1, True), ended.output
