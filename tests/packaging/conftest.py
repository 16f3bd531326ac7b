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
class Project:
    """A project that is not ours, and the environment in which it has our wheel."""

    folder: Path
    python: Path

    def run(self, *command: str | Path, **variables: str) -> str:
        """Run something in the project's folder, with nothing of ours in the environment."""
        ours = ("TRIBUNAL_", "PYTEST_", "COV_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        answer = subprocess.run(
            command,
            cwd=self.folder,
            env={**kept, "DATABASE_URL": f"sqlite:///{self.folder}/own.db", **variables},
            text=True,
            capture_output=True,
        )
        assert answer.returncode == 0, answer.stdout + answer.stderr
        return answer.stdout


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
def python(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a virtual environment that the wheel is installed in."""
    folder = tmp_path_factory.mktemp("elsewhere")
    venv.create(folder, symlinks=True)
    _share_packages(Path(sysconfig.get_path("purelib", vars={"base": str(folder)})))
    options = ["--quiet", "--no-deps", "--no-index", "--disable-pip-version-check"]
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install"]
    subprocess.run([*pip, *options, str(built.wheel)], check=True)
    return folder / "bin" / "python"


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


@pytest.fixture
def project(python: Path, tmp_path: Path) -> Project:
    """A project with packages that are called like ours."""
    for name, text in {
        "app/__init__.py": "",
        "app/logic.py": "ANSWER = 42\n",
        "calibration/__init__.py": "GAUGE = 'gauge'\n",
        "judges/__init__.py": "BENCH = 'bench'\n",
        "migrations/__init__.py": "raise ImportError('not ours')\n",
        "tests/test_gate.py": GATE,
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    return Project(tmp_path, python)
