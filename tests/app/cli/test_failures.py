"""What goes wrong on the command line is said in a line, with the right exit status."""

from __future__ import annotations

import gzip
import json
import socket
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from app.cli import app
from app.client import CannotConnect, ConnectionLost, Tribunal
from tests.app.processes import free_port, service
from tests.app.rows import labelled_rows, ndjson


def tribunal(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def refused(ended: Result, status: int, *said: str) -> None:
    assert isinstance(ended.exception, SystemExit), ended.exception
    assert ended.exit_code == status, ended.stderr
    assert "Traceback" not in ended.stderr
    for text in said:
        assert text in ended.stderr


def test_a_lone_fault_is_not_said_twice(folder: Path) -> None:
    for rows in (2, 3):
        file = folder / f"{rows}.jsonl"
        file.write_bytes(ndjson(labelled_rows(rows)))
        ended = tribunal("import", str(file), "--name", "rivers")
    refused(ended, 1, "is taken by other content")
    assert ended.stderr.count("is taken by other content") == 1


@pytest.mark.parametrize("verb", [("doctor",), ("keys", "list"), ("serve",)])
def test_a_database_of_another_kind_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch, verb: tuple[str, ...]
) -> None:
    monkeypatch.setenv("DATABASE_URL", "mysql://root:hunter2@db/x")
    ended = tribunal(*verb)
    refused(ended, 1, "DATABASE_URL", "not mysql")
    assert "hunter2" not in ended.stderr


def test_a_service_without_its_database_fails_with_1(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"postgresql://me:hunter2@127.0.0.1:{free_port()}/x"
    monkeypatch.setenv("DATABASE_URL", url)
    ended = tribunal("serve", "--port", str(free_port()))
    refused(ended, 1, "DATABASE_URL postgresql+asyncpg://me:***@127.0.0.1")
    assert "hunter2" not in ended.stderr


def test_a_port_that_is_taken_is_no_refusal_to_certify(folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        refused(tribunal("serve", "--port", str(taken.getsockname()[1])), 1)


def test_strict_imports_name_the_lines(folder: Path) -> None:
    rows = [json.dumps({"prompt": "?", "response_a": "x"})] * 25
    file = folder / "rows.jsonl"
    file.write_bytes(ndjson(labelled_rows(2)) + "\n".join(rows).encode())
    refused(tribunal("import", str(file), "--strict"), 1, "25 rows", "lines 3-27: response_b")


@pytest.mark.parametrize("arguments", [[], ["rivers", "--resume", "batch_x"]])
def test_a_batch_is_new_or_resumed(folder: Path, arguments: list[str]) -> None:
    refused(tribunal("batch", *arguments), 2, "--resume")


def test_a_batch_outlives_its_server(folder: Path) -> None:
    rows = folder / "rivers.jsonl"
    rows.write_bytes(ndjson(labelled_rows(30)))
    assert tribunal("import", str(rows)).exit_code == 0
    port = free_port()
    with service(folder, port, workers=0) as server, Tribunal(f"127.0.0.1:{port}") as client:
        created = client.create_batch(dataset="rivers", cascade={"judges": ["cheap"]})
        server.process.kill()
        server.process.wait()
        with pytest.raises((CannotConnect, ConnectionLost), match=str(port)):
            client.wait(created["id"], patience_s=0.2)
    ended = tribunal("batch", "--resume", created["id"], "--json")
    assert ended.exit_code == 0, ended.stderr
    assert created["id"] in ended.stderr
    assert json.loads(ended.stdout)["request_counts"]["completed"] == 30


def test_an_unknown_batch_cannot_be_resumed(folder: Path) -> None:
    refused(tribunal("batch", "--resume", "batch_x"), 1, "404", "batch_x")


@pytest.mark.parametrize("is_packed", [False, True])
def test_an_array_is_imported_like_lines(folder: Path, is_packed: bool) -> None:
    text = json.dumps(labelled_rows(5), indent=1).encode()
    file = folder / ("rows.json.gz" if is_packed else "rows.json")
    file.write_bytes(gzip.compress(text) if is_packed else text)
    ended = tribunal("import", str(file), "--json")
    assert ended.exit_code == 0, ended.stderr
    assert json.loads(ended.stdout)["pairs"] == 5


def test_a_database_in_no_folder_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{folder}/nowhere/cli.db")
    refused(tribunal("doctor"), 1, "DATABASE_URL", "no folder")


def test_a_refusal_names_each_fault_once(folder: Path) -> None:
    ended = tribunal("certify", "x", "--target-agreement", "2", "--ties", "odd")
    refused(ended, 1, "target_agreement", "ties")
    assert ended.stderr.count("target_agreement") == ended.stderr.count("ties") == 1


@pytest.mark.parametrize(
    "verb",
    [["report", "x"], ["leaderboard", "x"], ["leaderboards", "list"], ["export", "x"]],
)
def test_a_verb_that_only_reads_makes_no_database(folder: Path, verb: list[str]) -> None:
    refused(tribunal(*verb), 1, f"there is no database {folder}/cli.db", "DATABASE_URL")
    assert not (folder / "cli.db").exists()


def test_what_is_not_found_is_said_with_the_database(folder: Path) -> None:
    place = f"looked into {folder}/cli.db"
    refused(tribunal("certify", "x"), 1, "404", "'x'", f"{place}, which was just made (DATABASE")
    refused(tribunal("report", "x"), 1, "404", "'x'", f"{place} (DATABASE_URL")
