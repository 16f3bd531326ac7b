"""A package of the library is used through its `__init__`, which says what it offers."""

from __future__ import annotations

import ast
import importlib
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = sorted(file.parent.name for file in (ROOT / "calibration").glob("*/__init__.py"))


@cache
def imports() -> list[tuple[Path, str]]:
    """Return every file of the project that imports from a module, and the module's name."""
    folders = ("app", "judges", "calibration", "benchmarks", "examples", "migrations")
    return [
        (file, node.module)
        for folder in folders
        for file in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and node.module is not None
    ]


@pytest.mark.parametrize("package", PACKAGES)
def test_nothing_outside_reaches_into_a_package(package: str) -> None:
    folder = ROOT / "calibration" / package
    reaching = [
        (str(file.relative_to(ROOT)), module)
        for file, module in imports()
        if module.startswith(f"calibration.{package}.") and folder not in file.parents
    ]
    assert reaching == []


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_lists_its_public_names(package: str) -> None:
    module = importlib.import_module(f"calibration.{package}")
    assert module.__all__
    assert [name for name in module.__all__ if not hasattr(module, name)] == []
