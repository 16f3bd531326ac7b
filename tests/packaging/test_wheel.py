"""The wheel: one package, every file, and no name that only the repository knows."""

from __future__ import annotations

import ast
import base64
import csv
import hashlib
import importlib.util
import io
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from zipfile import ZipFile

import pytest

from tests.packaging.wheel import ROOT, Built, hatchling

PACKAGES = ("app", "judges", "calibration", "migrations")


@pytest.fixture(scope="session")
def files(built: Built) -> dict[str, bytes]:
    with ZipFile(built.wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def sources(*packages: str) -> Iterator[tuple[str, bytes]]:
    for package in packages:
        for file in (ROOT / package).rglob("*"):
            if file.is_file() and "__pycache__" not in file.parts:
                yield file.relative_to(ROOT).as_posix(), file.read_bytes()


@pytest.fixture(scope="session")
def modules(files: dict[str, bytes]) -> dict[str, ast.Module]:
    """The modules of the wheel by their dotted names."""
    return {
        name.removesuffix(".py").removesuffix("/__init__").replace("/", "."): ast.parse(text)
        for name, text in files.items()
        if name.endswith(".py")
    }


def test_it_holds_one_package_and_its_metadata(files: dict[str, bytes]) -> None:
    tops = {name.partition("/")[0] for name in files}
    assert tops == {"tribunal", "tribunal_judge-0.1.0.dist-info"}
    below = {name.split("/")[1] for name in files if name.startswith("tribunal/")}
    assert below == {*PACKAGES, "examples", "__init__.py", "py.typed"}


def test_every_file_is_there_and_only_python_is_rewritten(files: dict[str, bytes]) -> None:
    expected = dict(sources(*PACKAGES))
    there = {
        name.removeprefix("tribunal/"): text
        for name, text in files.items()
        if name.startswith(tuple(f"tribunal/{package}/" for package in PACKAGES))
    }
    assert there.keys() == expected.keys()
    for name, text in expected.items():
        if name.endswith(".py"):
            assert there[name].count(b"\n") == text.count(b"\n"), name  # tracebacks are right
        else:
            assert there[name] == text, name
    assert {f"{package}/py.typed" for package in PACKAGES} <= there.keys()
    assert files["tribunal/examples/pairs.jsonl"] == (ROOT / "examples/pairs.jsonl").read_bytes()


def test_its_record_is_right(files: dict[str, bytes]) -> None:
    (record,) = (name for name in files if name.endswith(".dist-info/RECORD"))
    rows = list(csv.reader(io.StringIO(files[record].decode())))
    assert {row[0] for row in rows} == files.keys()
    for name, digest, size in rows:
        if name != record:
            hashed = base64.urlsafe_b64encode(hashlib.sha256(files[name]).digest()).rstrip(b"=")
            assert (digest, size) == (f"sha256={hashed.decode()}", str(len(files[name]))), name


def test_every_import_is_of_a_module_that_is_there(modules: dict[str, ast.Module]) -> None:
    for name, tree in modules.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                imported = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                imported = [node.module or ""]
            else:
                continue
            for one in imported:
                assert one.partition(".")[0] not in PACKAGES, f"{name} imports {one}"
                assert not one.startswith("tribunal.") or one in modules, f"{name} imports {one}"


def test_no_literal_is_the_name_of_a_module_in_the_repository(
    modules: dict[str, ast.Module],
) -> None:
    for name, tree in modules.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                dotted = re.fullmatch(r"(?:python -m )?(\w+\.[\w.]*\w)\W?.{,60}", node.value)
                stale = dotted is not None and f"tribunal.{dotted[1]}" in modules
                assert not stale, f"{name}:{node.lineno}: {node.value!r}"


def test_the_sdist_makes_the_same_wheel(built: Built, tmp_path: Path) -> None:
    with tarfile.open(built.sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (folder,) = tmp_path.iterdir()
    assert not (folder / "tests").exists()
    hatchling(folder, tmp_path / "out", "wheel")
    (wheel,) = (tmp_path / "out").iterdir()
    assert wheel.read_bytes() == built.wheel.read_bytes()


def test_an_editable_install_has_the_same_names_for_the_same_modules(tmp_path: Path) -> None:
    build = f"from hatchling.build import build_editable; build_editable({str(tmp_path)!r})"
    subprocess.run([sys.executable, "-c", build], cwd=ROOT, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    with ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    checks = f"""
import sys
sys.path[:0] = [{str(tmp_path / "site")!r}, {str(ROOT)!r}]
import tribunal
assert tribunal.__file__.startswith({str(tmp_path)!r})
assert "app" not in sys.modules
import tribunal.app.gate.results, app.gate.results, calibration
assert tribunal.app.gate.results is app.gate.results
assert app.gate.results.__name__ == app.gate.results.__spec__.name == "app.gate.results"
assert tribunal.decide is calibration.decide
assert tribunal.app is app
"""
    subprocess.run([sys.executable, "-c", checks], cwd=tmp_path, check=True)
    command = [sys.executable, "-c", checks + "import runpy; runpy.run_module('tribunal.app', run_name='__main__', alter_sys=True)", "--help"]  # fmt: skip
    answer = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)
    assert "COMMAND" in answer.stdout


@pytest.fixture(scope="module")
def hook() -> ModuleType:
    spec = importlib.util.spec_from_file_location("wheel_hook", ROOT / ".ci" / "wheel_hook.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MODULES = frozenset({"app", "app.db", "app.main", "calibration", "judges", "judges.student"})


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("import app.db", "import tribunal.app.db; from tribunal import app"),
        ("import app", "from tribunal import app"),
        ("import calibration as c", "import tribunal.calibration as c"),
        (
            "import os, app.db as d, judges",
            "import os; import tribunal.app.db as d; from tribunal import judges",
        ),
        ("from app import db  # why", "from tribunal.app import db  # why"),
        ("from judges.student import (\n    A,\n)", "from tribunal.judges.student import (\n    A,\n)"),
        ("def f():\n    'Ü'; from app import db", "def f():\n    'Ü'; from tribunal.app import db"),
        ("if TYPE_CHECKING:\n\timport judges\r\n", "if TYPE_CHECKING:\n\tfrom tribunal import judges\r\n"),
        ("import apples, application.db", None),
        ("from . import app", None),
        ("'''See app.db.'''; x = app['app'], 'judges'", None),
        ("files('judges.student')", "files('tribunal.judges.student')"),
        ("PackageLoader(\n  r'''app''')", "PackageLoader(\n  r'''tribunal.app''')"),
        ("a.b.import_module('app.db', x)", "a.b.import_module('tribunal.app.db', x)"),
        ("uvicorn.run('app.main:create_app')", "uvicorn.run('tribunal.app.main:create_app')"),
        ("files('fastapi_offline'), say('judges.gpt-4.p_a'), part('calibration:0')", None),
    ],
)  # fmt: skip
def test_names_of_modules_are_rewritten_and_nothing_else(
    hook: ModuleType, before: str, after: str | None
) -> None:
    made = hook.rewritten(before.encode(), MODULES)
    assert made.decode() == (before if after is None else after)


@pytest.mark.parametrize(
    "source",
    [
        "call('judges.student')",
        "prefix = 'app.db.'",
        "PROGRAM = 'app.main:create_app'",
        "run([python, '-m', 'app', 'serve'])",
        "COMMAND = 'python -m judges.student --data x'",
    ],
)
def test_other_literals_that_name_modules_end_the_build(hook: ModuleType, source: str) -> None:
    with pytest.raises(hook.StaleName, match=r"^some\.py:2: .* is another name in the wheel$"):
        hook.rewritten(f"\n{source}\n".encode(), MODULES, "some.py")
