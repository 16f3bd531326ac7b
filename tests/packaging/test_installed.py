"""The wheel in use, beside a project whose packages are called as ours are in the repository."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.packaging.conftest import ROOT, Installed

LIBRARY = """
import numpy as np
from tribunal.calibration import certify_cascade, decide
import tribunal

rng = np.random.default_rng(0)
confidence = rng.uniform(0.5, 1, (600, 2))
correct = rng.uniform(size=(600, 2)) < confidence
certificate = certify_cascade(
    confidence, correct, target_risk=0.15, costs=[1, 20], rng=np.random.default_rng(0)
)
assert (decide(confidence, certificate.thresholds) >= 0).any()
assert tribunal.decide is decide and tribunal.certify_cascade is certify_cascade
import app.logic, calibration
assert (app.logic.ANSWER, calibration.GAUGE) == (42, "gauge")
"""
LIGHT = """
import sys
from {package} import AsyncTribunal, Tribunal
Tribunal("http://127.0.0.1:9").close()
heavy = {{"fastapi", "sqlalchemy", "alembic", "uvicorn"}} & sys.modules.keys()
assert not heavy, heavy
"""
NAMES = """
import sys
import tribunal
loaded = {name for name in sys.modules if name.startswith("tribunal.") or name == "numpy"}
assert not loaded, loaded
assert tribunal.__version__ == "0.1.0"
from tribunal import *
assert {Tribunal.__name__, AsyncTribunal.__name__, assert_preferred.__name__} <= set(dir(tribunal))
assert Tribunal.__module__.startswith("tribunal.app.client")
"""


def succeeded(answer: subprocess.CompletedProcess[str]) -> str:
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


def test_the_command_line_does_the_main_job(installed: Installed, tmp_path: Path) -> None:
    pairs = (ROOT / "examples" / "pairs.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "new.ndjson").write_text("".join(pairs[:3]))

    def tribunal(*words: str | Path) -> str:
        command = installed.python.with_name("tribunal")
        database = f"sqlite:///{tmp_path}/main.db"
        # the folder of a project is often on the path
        return succeeded(installed.run(command, *words, DATABASE_URL=database, PYTHONPATH="."))

    tribunal("import", ROOT / "examples" / "pairs.jsonl", "--name", "example")
    judges = ("--judges", "simulated-small,simulated-large")
    made = tribunal("certify", "example", *judges, "--target-agreement", "0.9")
    certificate = json.loads(made)
    assert certificate["status"] == "certified"
    judged = json.loads(
        tribunal("judge", tmp_path / "new.ndjson", "--calibration", certificate["id"])
    )
    assert [one["calibration"] for one in judged["verdicts"]] == [certificate["id"]] * 3
    assert json.loads(tribunal("doctor"))["is_well"]
    page = tmp_path / "card.html"
    tribunal("report", "example", "--health", "simulated-large", "--html", page)
    assert "simulated-large" in page.read_text()


@pytest.mark.parametrize("code", [LIBRARY, NAMES], ids=["calibration", "names"])
def test_the_library(installed: Installed, code: str) -> None:
    succeeded(installed.run(installed.python, "-c", code))


def test_a_client_of_a_server_loads_no_server(installed: Installed) -> None:
    succeeded(installed.run(installed.python, "-c", LIGHT.format(package="tribunal")))
    checkout = [sys.executable, "-c", LIGHT.format(package="app.client")]
    subprocess.run(checkout, cwd=ROOT, check=True)


@pytest.mark.parametrize(
    "command",
    [("-m", "pytest"), ("-P", "-m", "pytest", "-o", "pythonpath=src"), ("-P", "-m", "pytest", "-c", "x.ini")],
    ids=["python -m pytest", "pythonpath", "pytest"],
)  # fmt: skip
def test_a_gate_in_a_project_with_packages_of_our_names(
    installed: Installed, tmp_path: Path, command: tuple[str, ...]
) -> None:
    if "x.ini" in command:  # as plain `pytest` does, whose path has the folders of conftest.py only
        (installed.project / "conftest.py").touch()
        (installed.project / "x.ini").write_text("[pytest]\n")
    database = f"sqlite:///{tmp_path}/gate.db"
    answer = installed.run(installed.python, *command, "tests", DATABASE_URL=database)
    assert "2 passed" in succeeded(answer)
    assert "preference gates" in answer.stdout
