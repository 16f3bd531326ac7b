"""Waiting for batches and calibrations while servers die, come back, and users press Ctrl-C."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli import app
from tests.app.processes import PATIENCE_SECONDS, free_port, service, tribunal, until
from tests.app.rows import labelled_rows, ndjson
from tests.judges.model_server import ModelServer
from tests.judges.model_server import running as serving

JUDGES = ("--judges", "cheap,dear")
IDLE = {"TRIBUNAL_WORKERS": "0"}


@pytest.fixture
def folder(folder: Path) -> Path:
    (folder / "rivers.jsonl").write_bytes(ndjson(labelled_rows(40)))
    return folder


@pytest.fixture
def model_server() -> Iterator[ModelServer]:
    with serving(ModelServer()) as opened:
        yield opened


def run(*arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments))
    assert result.exit_code in (0, 3), f"{result.output}\n{result.exception!r}"
    return result.stdout


def id_in(said: str) -> str:
    found = re.search(r"\b(batch|cal)_\w+", said)
    assert found, said
    return found.group()


def test_a_batch_outlives_its_server_and_whoever_waits_for_it(folder: Path) -> None:
    run("import", "rivers.jsonl")
    port = free_port()
    address = ("--server", f"127.0.0.1:{port}")
    batch = ("batch", "rivers", *JUDGES, *address, "--results", "verdicts.ndjson", "--json")
    with service(folder, port, workers=0) as server, tribunal(folder, "patient", *batch) as patient:
        patient.wait_until_said("--resume")
        batch_id = id_in(patient.said)
        resume = ("batch", "--resume", batch_id, *address, "--patience", "0")
        with tribunal(folder, "hasty", *resume) as hasty:
            hasty.wait_until_said("40 pairs")
            server.process.kill()
            assert hasty.process.wait(PATIENCE_SECONDS) == 1
        last = hasty.said.splitlines()[-1]
        assert f"batch {batch_id} is kept" in last
        assert f"tribunal batch --resume {batch_id} --server 127.0.0.1:{port}" in last
        assert "Traceback" not in hasty.said
        patient.wait_until_said("trying again")
        with service(folder, port, workers=1):
            assert patient.process.wait(PATIENCE_SECONDS) == 0, patient.said
    assert json.loads(patient.out.read_text())["request_counts"]["completed"] == 40
    assert len((folder / "verdicts.ndjson").read_text().splitlines()) == 40


def test_ctrl_c_during_a_batch_in_process_says_how_to_go_on(folder: Path) -> None:
    run("import", "rivers.jsonl")
    with tribunal(folder, "batch", "batch", "rivers", *JUDGES, environment=IDLE) as running:
        running.wait_until_said("--resume")
        assert running.interrupted() == 130
    assert running.said.splitlines()[-1].startswith("tribunal: interrupted; batch batch_")
    assert "Traceback" not in running.said
    resumed = run("batch", "--resume", id_in(running.said), "--json")
    assert json.loads(resumed)["status"] == "completed"


def test_ctrl_c_during_a_calibration_says_how_to_go_on(
    folder: Path, model_server: ModelServer
) -> None:
    (folder / "tribunal.toml").write_text(
        f"[judges.live]\nkind = 'openai'\nbase_url = '{model_server.base_url}'\nmodel = 'judge'\n"
    )
    run("import", "rivers.jsonl")
    model_server.pause_seconds = 5.0
    with tribunal(folder, "certify", "certify", "rivers", "--judges", "live") as running:
        running.wait_until_said("--resume")
        assert running.interrupted() == 130
    assert "Traceback" not in running.said
    assert f"tribunal certify --resume {id_in(running.said)}" in running.said.splitlines()[-1]
    model_server.reset()
    resumed = run("certify", "--resume", id_in(running.said), "--json")
    assert json.loads(resumed)["calibration"]["pairs"] > 0


def test_ctrl_c_at_a_terminal_that_nobody_types_on(folder: Path) -> None:
    arguments = ("import", "-", "--name", "typed")
    with tribunal(folder, "import", *arguments, typed=b'{"prompt": "x", ') as running:
        until(lambda: (folder / "cli.db").exists())
        assert running.interrupted() == 130
    assert running.said == "tribunal: interrupted\n"
