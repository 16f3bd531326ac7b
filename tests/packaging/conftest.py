from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OURS = "tribunal-judge"


@dataclass(frozen=True, slots=True)
class Built:
    """What hatchling makes of the checkout."""

    wheel: Path
    sdist: Path


@dataclass(frozen=True, slots=True)
class Installed:
    """A virtual environment that the wheel is installed in, and a project that is not ours."""

    python: Path
    project: Path

    def run(self, *command: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run something in the project's folder, with nothing of ours in the environment."""
        own = {
            k: v
            for k, v in os.environ.items()
            if not k.startswith(("TRIBUNAL_", "PYTEST_", "COV_"))
        }
        return subprocess.run(
            command, cwd=self.project, env={**own, **variables}, text=True, capture_output=True
        )


def hatchling(source: Path, target: Path, *kinds: str) -> None:
    options = [word for kind in kinds for word in ("-t", kind)]
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(target), *options]
    subprocess.run(command, cwd=source, check=True, capture_output=True)


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("dist")
    hatchling(ROOT, folder, "sdist", "wheel")
    (wheel,), (sdist,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return Built(wheel, sdist)


@pytest.fixture(scope="session")
def installed(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("elsewhere")
    venv.create(folder / "venv", symlinks=True)
    python = folder / "venv" / "bin" / "python"
    _share_packages(Path(sysconfig.get_path("purelib", vars={"base": str(folder / "venv")})))
    options = ["--quiet", "--no-deps", "--no-index", "--no-compile", "--disable-pip-version-check"]
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", *options]
    subprocess.run([*pip, str(built.wheel)], check=True)
    return Installed(python, _foreign_project(folder / "project"))


def _share_packages(site: Path) -> None:
    """Link the packages of this environment, without this project and without other plugins."""
    left_out = {"__pycache__"}
    for found in distributions(path=[sysconfig.get_path("purelib")]):
        names = {file.parts[0] for file in found.files or ()}
        metadata = {name for name in names if name.endswith(".dist-info")}
        if found.name == OURS:
            left_out |= names
        elif any(entry.group == "pytest11" for entry in found.entry_points):
            left_out |= metadata
    for package in Path(sysconfig.get_path("purelib")).iterdir():
        if package.name not in left_out and package.suffix != ".pth":
            (site / package.name).symlink_to(package)


GATE = """
from app.logic import ANSWER
from calibration import GAUGE
from judges import BENCH

def answers(text):
    return {f"Tell me about the capital of country {n}.": text for n in range(20)}

def test_ours():
    assert (ANSWER, GAUGE, BENCH) == (42, "gauge", "bench")

def test_gate(assert_preferred):
    new = answers("It lies on a river; it grew around its harbour, and most people work in trade.")
    result = assert_preferred(new, answers("I do not know."), cascade="default")
    assert result.evidence.wins == 20
"""


def _foreign_project(folder: Path) -> Path:
    """Write a project with packages that are called like ours."""
    for name, text in {
        "app/__init__.py": "",
        "app/logic.py": "ANSWER = 42\n",
        "calibration/__init__.py": "GAUGE = 'gauge'\n",
        "judges/__init__.py": "BENCH = 'bench'\n",
        "migrations/__init__.py": "raise ImportError('not ours')\n",
    }.items():
        for place in (folder, folder / "src"):
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_text(text)
    (folder / "tests").mkdir()
    (folder / "tests" / "test_gate.py").write_text(GATE)
    return folder
