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
        ("good", "bad", 0, "passed on the verdicts: alder wins 100.0% against birch on 40 pairs"),
        ("bad", "good", 1, "failed on the verdicts: birch wins 0.0% against alder"),
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


def test_pairs_that_the_certificate_knows_are_no_evidence(
    folder: Path, service_with_certificate: Certified
) -> None:
    (folder / "good.json").write_text(json.dumps(rows(good(40, start=0), "alder")))
    (folder / "bad.json").write_text(json.dumps(rows(bad(40, start=0), "birch")))
    given = ["--calibration", service_with_certificate.calibration]
    result = CliRunner().invoke(app, ["gate", "good.json", "bad.json", *given, "--json"])
    assert (result.exit_code, json.loads(result.stdout)["calibration_pairs"]) == (3, 40)
    shown = CliRunner(env={"TRIBUNAL_OUTPUT": "table"})
    result = shown.invoke(app, ["gate", "good.json", "bad.json", *given])
    assert "40 of 40 pairs are left out" in result.output


def test_another_folder_is_named_and_left_as_it_is(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path}/other.db")
    given = ["gate", "good.json", "bad.json", "--calibration", "cal_x"]
    result = CliRunner().invoke(app, given)
    assert result.exit_code == 5
    assert f"there is no database {tmp_path}/other.db" in result.stderr
    assert "DATABASE_URL" in result.stderr
    assert not (tmp_path / "other.db").exists()


def test_an_unknown_certificate_is_said_with_the_database(
    files: Path, service_with_certificate: Certified
) -> None:
    given = ["gate", "good.json", "bad.json", "--calibration", "cal_x"]
    result = CliRunner().invoke(app, given)
    place = service_with_certificate.database_url.removeprefix("sqlite:///")
    assert result.exit_code == 5
    assert "there is no calibration 'cal_x'; there is 'cal_" in result.stderr
    assert f"; looked into {place} (DATABASE_URL" in result.stderr


def test_a_gate_elsewhere_needs_the_exported_certificate_and_no_database_of_ours(
    files: Path, service_with_certificate: Certified, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = service_with_certificate.calibration
    assert CliRunner().invoke(app, ["calibrations", "export", name, "-o", "c.json"]).exit_code == 0
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{files}/build.db")
    taken = CliRunner().invoke(app, ["calibrations", "import", "c.json"])
    assert taken.exit_code == 0, taken.output
    assert "made elsewhere, signed by" in taken.output
    decided = CliRunner().invoke(app, ["gate", "good.json", "bad.json", "--calibration", name])
    assert decided.exit_code == 0, decided.output
    assert "alder wins 100.0% against birch on 40 pairs" in decided.output
