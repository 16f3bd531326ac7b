"""The wheel in use, beside a project whose packages are called as ours are in the repository."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.packaging.conftest import Project
from tests.packaging.wheel import ROOT

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


# several verbs in one process: loading the service takes longer than they do
VERBS = """
import contextlib, io, json, sys
from tribunal.app.cli import main

def tribunal(*words):
    sys.argv = ["tribunal", *words]
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        try:
            main()
        except SystemExit as ended:
            assert not ended.code, said.getvalue()
    return said.getvalue()

judges = ("--judges", "simulated-small,simulated-large")
certificate = json.loads(tribunal("certify", "example", *judges, "--target-agreement", "0.9"))
assert certificate["status"] == "certified"
judged = tribunal("judge", "new.ndjson", "--calibration", certificate["id"])
verdicts = json.loads(judged)["verdicts"]
assert [one["calibration"] for one in verdicts] == [certificate["id"]] * 3
tribunal("report", "example", "--health", "simulated-large", "--html", "card.html")
"""


def test_the_command_line_does_the_main_job(project: Project) -> None:
    file = ROOT / "examples" / "pairs.jsonl"
    (project.folder / "new.ndjson").write_text("".join(file.read_text().splitlines(True)[:3]))
    command = project.python.with_name("tribunal")
    # the folder of a project is often on the path
    project.run(command, "import", file, "--name", "example", PYTHONPATH=".")
    project.run(project.python, "-c", VERBS, PYTHONPATH=".")
    assert "simulated-large" in (project.folder / "card.html").read_text()


@pytest.mark.parametrize("code", [LIBRARY, NAMES], ids=["calibration", "names"])
def test_the_library(project: Project, code: str) -> None:
    project.run(project.python, "-c", code)


def test_a_client_of_a_server_loads_no_server(project: Project) -> None:
    project.run(project.python, "-c", LIGHT.format(package="tribunal"))
    checkout = [sys.executable, "-c", LIGHT.format(package="app.client")]
    subprocess.run(checkout, cwd=ROOT, check=True)


def test_a_gate_under_python_m_pytest(project: Project) -> None:
    said = project.run(project.python, "-m", "pytest", "tests")
    assert "2 passed" in said
    assert "preference gates" in said


@pytest.mark.parametrize("place", ["conftest.py", "src"])
def test_a_gate_under_plain_pytest(project: Project, place: str) -> None:
    """Its path has the folders of conftest.py, and those that `pythonpath` names."""
    if place == "src":
        (project.folder / "src").mkdir()
        for package in ("app", "calibration", "judges"):
            (project.folder / package).rename(project.folder / "src" / package)
        (project.folder / "pytest.ini").write_text("[pytest]\npythonpath = src\n")
    else:
        (project.folder / "conftest.py").touch()
    said = project.run(project.python, "-P", "-m", "pytest", "tests")
    assert "2 passed" in said
    assert "preference gates" in said
