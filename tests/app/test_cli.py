from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app.cli import app
from tests.app.rows import labelled_rows, ndjson

runner = CliRunner()
HALF = ["--judges", "cheap,dear", "--part", "calibration:0.5:0"]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder: no server, no configuration, a database of its own."""
    monkeypatch.chdir(tmp_path)
    for name in ("TRIBUNAL_SERVER", "TRIBUNAL_CONFIG", "TRIBUNAL_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path}/cli.db")
    (tmp_path / "rivers.jsonl").write_bytes(ndjson(labelled_rows(300)))
    return tmp_path


def run(*arguments: str, status: int = 0, text: str | None = None) -> str:
    result = runner.invoke(app, list(arguments), input=text)
    assert result.exit_code == status, f"{result.output}\n{result.exception!r}"
    return result.stdout


def run_json(*arguments: str, status: int = 0) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(run(*arguments, "--json", status=status))
    return body


def test_the_main_job_in_process(folder: Path) -> None:
    assert run_json("import", "rivers.jsonl")["pairs"] == 300
    certificate = run_json("certify", "rivers", *HALF, "--target-agreement", "0.8")
    assert certificate["status"] == "certified"
    held = ("--calibration", certificate["id"], "--part", "test:0.5:0")
    batch = run_json("batch", "rivers", *held, "--results", "verdicts.ndjson")
    assert batch["request_counts"]["completed"] == 150
    assert len((folder / "verdicts.ndjson").read_text().splitlines()) == 150
    board = run_json("leaderboard", "rivers", "--source", "cascade", *held)
    assert {row["model"] for row in board["rows"]} == {"left", "right"}
    report = run_json("report", "rivers", *held)
    assert report["cascade"]["agreement"]["value"] > 0.7
    plan = run_json("plan", "rivers", "--judges", "cheap,dear", "--target-agreements", "0.8")
    assert len(plan["frontier"]) == 1


def test_tables_for_people() -> None:
    assert "300 pairs" in run("import", "rivers.jsonl")
    out = run("certify", "rivers", "--judges", "cheap,dear", "--target-agreement", "0.8")
    assert "certified" in out
    assert "threshold" in out
    assert "Krippendorff" in run("report", "rivers").replace("\n", " ")
    assert "left" in run("leaderboard", "rivers")
    assert "labels needed" in run("plan", "rivers", "--judges", "cheap,dear")


def test_judge_reads_pairs_from_standard_input() -> None:
    pair = {"id": "x", "prompt": "Why?", "response_a": "Because of the rain.", "response_b": ""}
    out = run("judge", "-", "--json", text=json.dumps(pair))
    assert json.loads(out)["verdicts"][0]["judge"] == "student"
    assert "student" in run("judge", "-", text=json.dumps(pair))


def test_exit_status_3_where_nothing_is_certifiable(folder: Path) -> None:
    rows = labelled_rows(150, cheap=0.5, dear=0.55)
    (folder / "guesses.jsonl").write_bytes(ndjson(rows))
    run("import", "guesses.jsonl")
    out = run("certify", "guesses", "--judges", "cheap,dear", status=3)
    assert "not_certifiable" in out
    assert "No number of labels will do" in out.replace("\n", " ")


def test_exit_status_4_where_lines_were_rejected(folder: Path) -> None:
    (folder / "bad.jsonl").write_bytes(ndjson(labelled_rows(3)) + b"{broken\n")
    out = run("import", "bad.jsonl", status=4)
    assert "line 4" in out


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["import", "nothing.jsonl"], 2),
        (["import", "-"], 2),
        (["certify", "nothing"], 1),
        (["certify", "x", "--part", "half"], 2),
        (["certify", "x", "--judges", "a", "--cascade", "b"], 2),
        (["plan", "x", "--target-agreements", "high"], 2),
        (["judge", "nothing.jsonl"], 2),
        (["no-such-verb"], 2),
        (["report", "nothing"], 1),
        (["judge", "rivers.jsonl", "--server", "http://127.0.0.1:9"], 1),
    ],
)
def test_what_is_wrong_is_said_and_has_a_status(arguments: list[str], status: int) -> None:
    result = runner.invoke(app, arguments)
    assert result.exit_code == status, result.output
    assert result.stderr
    assert "Traceback" not in result.stderr


def test_keys_are_made_listed_and_revoked() -> None:
    key = run("keys", "create", "ci").strip()
    assert key.startswith("trib_")
    listed = json.loads(run("keys", "list"))
    assert listed[0]["name"] == "ci"
    run("keys", "revoke", listed[0]["id"])
    assert json.loads(run("keys", "list"))[0]["revoked_at"]
    run("keys", "revoke", "key_none", status=1)


def test_doctor_and_database(folder: Path) -> None:
    out = run("doctor")
    assert "student" in out
    run("db", "check")
    run("db", "downgrade", "base")
    run("db", "upgrade")
    (folder / "tribunal.toml").write_text("[judges.small]\nkind = 'openai'\nmodle = 'x'\n")
    result = runner.invoke(app, ["doctor"])
    assert result.exit_code == 1
    assert "model" in result.stderr
