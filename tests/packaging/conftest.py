from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.packaging.wheel import InstalledWheel


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


@pytest.fixture(scope="session")
def python(installed_wheel: InstalledWheel) -> Path:
    """The interpreter of an environment that has the wheel."""
    return installed_wheel.python


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
