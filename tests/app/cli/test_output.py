"""What goes to standard output, and to whom: tables, JSON, completion."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import unicodedata
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.stats import beta
from typer.testing import CliRunner

from app.cli import app
from app.cli.tables import certificates as certificate_tables
from app.cli.tables.layout import Screen, harmless
from app.formats.registry import ALIASES, AUTO, DIALECTS, WRITERS
from app.imports.exporting import SETTINGS
from tests.app.processes import ROOT, TRIBUNAL
from tests.app.rows import labelled_rows, ndjson


@pytest.fixture(autouse=True)
def folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("TRIBUNAL_OUTPUT", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (folder / "rivers.jsonl").write_bytes(ndjson(labelled_rows(20)))
    return folder


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
    environment = {"_TRIBUNAL_COMPLETE": f"complete_{shell}"}
    for typed, expected in (("tribunal exp", "experiment"), ("tribunal gate --min", "--min-win")):
        words = {"COMP_WORDS": typed, "COMP_CWORD": str(len(typed.split()) - 1)}
        others = {"_TYPER_COMPLETE_ARGS": typed, "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
        ended = CliRunner().invoke(
            app, prog_name="tribunal", env={**environment, **words, **others}
        )
        assert expected in ended.stdout, ended.stderr


def test_completion_is_named_in_the_help() -> None:
    said = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "120"}).stdout
    assert "--install-completion" in said
    assert "--show-completion" in said


def bound_of(certificate: dict[str, Any]) -> tuple[float, str]:
    """Return the confidence that is shown of a certificate's bound, and the bound."""
    out = StringIO()
    certificate_tables.certificate(Screen(out, has_edge=False), certificate)
    found = re.search(r"at least ([\d.]+)% with confidence ([\d.]+)%", out.getvalue())
    assert found is not None, out.getvalue()
    return float(found[2]) / 100, found[1]


@pytest.mark.parametrize("method", ["auto", "strongest", "simultaneous"])
def test_a_bound_is_shown_with_the_confidence_that_it_has(folder: Path, method: str) -> None:
    certificate = certified("--method", method)
    confidence, shown = bound_of(certificate)
    found = certificate["calibration"]
    wrong, right = found["disagreements"], found["answered"] - found["disagreements"]
    exact = 1 - beta.ppf(confidence, wrong + 1, right)
    assert shown == f"{100 * exact:.1f}"


def test_of_slices_the_lowest_bound_is_shown_with_its_own_confidence(folder: Path) -> None:
    certificate = certified("--slices", "task")
    parts = [part["calibration"] for part in certificate["certificates"]]
    lowest = min(parts, key=lambda part: float(part["agreement_lower_bound"]))
    confidence, shown = bound_of(certificate)
    assert confidence == pytest.approx(1 - lowest["level"], abs=1e-6)
    assert shown == f"{100 * lowest['agreement_lower_bound']:.1f}"


def test_of_a_stagewise_certificate_the_bound_holds_for_all_judges_together(folder: Path) -> None:
    confidence, _ = bound_of(certified("--method", "stagewise"))
    assert confidence == 0.9


def certified(*options: str) -> dict[str, Any]:
    Path("many.jsonl").write_bytes(ndjson(labelled_rows(600)))
    ran = ["--judges", "cheap,dear", "--target-agreement", "0.8", *options, "--json"]
    assert CliRunner().invoke(app, ["import", "many.jsonl"]).exit_code == 0
    result = CliRunner().invoke(app, ["certify", "many", *ran])
    assert result.exit_code == 0, result.output
    body: dict[str, Any] = json.loads(result.stdout)
    return body


@pytest.mark.parametrize(
    ("verb", "option", "field"),
    [
        ("certify", "--target-agreement", "target_agreement"),
        ("plan", "--target-agreements", "target_agreements.0"),
    ],
)
def test_a_percentage_is_told_to_be_written_as_a_share(verb: str, option: str, field: str) -> None:
    result = CliRunner().invoke(app, [verb, "rivers", option, "80"])
    assert result.exit_code == 1
    assert f"{field}: is a share between 0 and 1: for 80 % write 0.8 (here {option})" in (
        result.stderr
    )


def test_a_format_is_asked_for_by_the_word_of_either_side() -> None:
    for option in ("--format", "--dialect"):
        result = CliRunner().invoke(app, ["import", "rivers.jsonl", option, "alpac_eval"])
        assert "dialect: 'alpac_eval' is none of" in result.stderr
        assert "(here --format)" in result.stderr


@pytest.mark.parametrize(
    ("verb", "names"),
    [("export", (*WRITERS, *SETTINGS)), ("import", (AUTO, *DIALECTS, *ALIASES))],
)
def test_help_names_every_format(verb: str, names: Sequence[str]) -> None:
    command = typer.main.get_command(app).commands[verb]  # type: ignore[attr-defined]
    (option,) = [one for one in command.params if "--format" in one.opts]
    said = re.split(r"\W+", option.help)
    assert [name for name in names if name not in said] == []


NASTY = "\x1b]0;owned\x07[/red][bold]:fire:\u202eevil"


def test_what_rows_hold_neither_steers_a_terminal_nor_is_markup(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TRIBUNAL_OUTPUT", "table")
    rows = [
        {**row, "model_a": "[/red]", "model_b": "[bold]x:fire:", "metadata": {"task": NASTY}}
        for row in labelled_rows(6)
    ]
    Path("nasty.jsonl").write_bytes(ndjson([*rows, {"prompt": NASTY, "response_a": 1}]))
    imported = CliRunner().invoke(app, ["import", "nasty.jsonl"])
    board = CliRunner().invoke(
        app, ["leaderboard", "nasty", "--method", "win_rate", "--group-by", "task"]
    )
    for result in (imported, board, CliRunner().invoke(app, ["datasets", "list"])):
        assert not set("\x1b\x07\u202e") & set(result.output)
    assert imported.exit_code == 4
    for name in ("[/red]", "[bold]x:fire:", r"\x1b]0;owned\x07[/red][bold]:fire:\u202eevil"):
        assert name in board.output


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text())
def test_no_text_for_a_terminal_holds_what_steers_it(text: str) -> None:
    shown = harmless(text)
    assert all(c == "\n" or not unicodedata.category(c).startswith(("Cc", "Cs")) for c in shown)


def test_every_option_is_written_in_small_letters() -> None:
    def options(command: Any) -> set[str]:
        own = {name for one in command.params for name in one.opts if name.startswith("--")}
        return own.union(*map(options, getattr(command, "commands", {}).values()))

    found = options(typer.main.get_command(app))
    assert {name for name in found if name != name.lower()} == set()
    assert {"--purpose", "--target-agreement"} <= found


def test_an_empty_list_and_too_many_pairs_are_told_in_words(folder: Path) -> None:
    run = CliRunner().invoke
    assert run(app, ["import", "rivers.jsonl"]).exit_code == 0
    listed = run(app, ["monitors", "list"], env={"TRIBUNAL_OUTPUT": "table"})
    assert listed.output.strip() == "there are no monitors yet"
    (folder / "many.jsonl").write_bytes(ndjson(labelled_rows(257)))
    refused = run(app, ["judge", "many.jsonl"])
    assert refused.exit_code == 2
    assert "257 pairs, more than 256 at once" in refused.output
