"""What goes to standard output, and to whom: tables, JSON, completion."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli import app
from tests.app.processes import ROOT, TRIBUNAL
from tests.app.rows import labelled_rows, ndjson


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("TRIBUNAL_SERVER", "TRIBUNAL_CONFIG", "TRIBUNAL_API_KEY", "TRIBUNAL_OUTPUT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path}/cli.db")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (tmp_path / "rivers.jsonl").write_bytes(ndjson(labelled_rows(20)))
    return tmp_path


def test_json_in_a_pipe_and_tables_in_a_terminal() -> None:
    piped = subprocess.run(
        [*TRIBUNAL, "import", "rivers.jsonl"], capture_output=True, text=True, check=True
    )
    assert json.loads(piped.stdout)["pairs"] == 20
    ours, theirs = pty.openpty()
    subprocess.run([*TRIBUNAL, "import", "rivers.jsonl"], stdout=theirs, check=True)
    os.close(theirs)
    shown = os.read(ours, 10_000).decode()
    os.close(ours)
    assert "recorded judges: cheap, dear" in shown
    assert "{" not in shown


@pytest.mark.parametrize(
    ("chosen", "options", "is_json"),
    [("table", [], False), ("json", [], True), ("table", ["--json"], True), ("", [], True)],
)
def test_a_user_may_say_which(
    monkeypatch: pytest.MonkeyPatch, chosen: str, options: list[str], is_json: bool
) -> None:
    monkeypatch.setenv("TRIBUNAL_OUTPUT", chosen)
    result = CliRunner().invoke(app, ["import", "rivers.jsonl", *options])
    assert result.exit_code == 0
    assert result.stdout.startswith("{") is is_json


def test_another_choice_is_bad_usage(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIBUNAL_OUTPUT", "yaml")
    result = CliRunner().invoke(app, ["doctor"])
    assert (result.exit_code, result.stderr) == (
        2, "tribunal: TRIBUNAL_OUTPUT: give table or json, not 'yaml'\n",
    )  # fmt: skip


def test_a_new_key_is_a_word_in_a_pipe_too() -> None:
    """So that `KEY=$(tribunal keys create ci)` holds the key."""
    result = CliRunner().invoke(app, ["keys", "create", "ci"])
    assert not result.stdout.startswith("{")
    assert len(result.stdout.split()) == 1


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_verbs_and_options(shell: str) -> None:
    environment = {**os.environ, "_TRIBUNAL_COMPLETE": f"complete_{shell}"}
    for typed, expected in (("tribunal exp", "experiment"), ("tribunal gate --min", "--min-win")):
        words = {"COMP_WORDS": typed, "COMP_CWORD": str(len(typed.split()) - 1)}
        others = {"_TYPER_COMPLETE_ARGS": typed, "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
        code = "from app.cli import app; app(prog_name='tribunal')"
        ended = subprocess.run(
            [sys.executable, "-c", code], env={**environment, **words, **others},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert expected in ended.stdout, ended.stderr


def test_completion_is_named_in_the_help() -> None:
    said = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "120"}).stdout
    assert "--install-completion" in said
    assert "--show-completion" in said
