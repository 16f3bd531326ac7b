from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli import app
from tests.app.gate.capitals import bad, good, rows
from tests.app.gate.conftest import Certified


@pytest.fixture
def files(folder: Path) -> Path:
    (folder / "good.json").write_text(json.dumps(rows(good(40), "alder")))
    (folder / "bad.json").write_text(json.dumps(rows(bad(40), "birch")))
    (folder / "few.json").write_text(json.dumps(rows(good(2), "alder")))
    (folder / "few-bad.json").write_text(json.dumps(rows(bad(2), "birch")))
    return folder


@pytest.mark.parametrize(
    ("new", "old", "status", "said"),
    [
        ("good", "bad", 0, "passed: alder wins 100.0% against birch on 40 pairs"),
        ("bad", "good", 1, "failed: birch wins 0.0% against alder"),
        ("few", "few-bad", 3, "not enough evidence"),
        ("few", "bad", 2, "38 outputs of old have none of new"),
        ("none", "bad", 2, "none.json"),
    ],
)
def test_the_exit_status_is_the_answer(
    files: Path, service_with_certificate: Certified, new: str, old: str, status: int, said: str
) -> None:
    given = ["--calibration", service_with_certificate.calibration]
    result = CliRunner().invoke(app, ["gate", f"{new}.json", f"{old}.json", *given])
    assert result.exit_code == status, result.output
    assert said in result.output


def test_json_and_markdown(files: Path, service_with_certificate: Certified) -> None:
    given = ["--calibration", service_with_certificate.calibration, "--json", "--markdown", "x.md"]
    result = CliRunner().invoke(app, ["gate", "good.json", "bad.json", *given])
    assert json.loads(result.stdout)["evidence"]["wins"] == 40
    assert "| alder against birch | **passed** |" in (files / "x.md").read_text()


@pytest.mark.parametrize("given", [[], ["--cascade", "default", "--alpha", "2"]])
def test_a_question_that_makes_no_sense_is_bad_usage(files: Path, given: list[str]) -> None:
    result = CliRunner().invoke(app, ["gate", "good.json", "bad.json", *given])
    assert result.exit_code == 2
    assert result.stderr.startswith("tribunal: ")
