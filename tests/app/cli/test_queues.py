from __future__ import annotations

import json
import os
import pty
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app.cli import app
from tests.app.processes import TRIBUNAL
from tests.app.rows import labelled_rows, ndjson


@pytest.fixture(autouse=True)
def folder(folder: Path) -> Path:
    """A working folder with a dataset of 6 pairs without labels."""
    rows = [{**row, "human": []} for row in labelled_rows(6)]
    (folder / "rivers.jsonl").write_bytes(ndjson(rows))
    assert CliRunner().invoke(app, ["import", "rivers.jsonl"]).exit_code == 0
    return folder


def run(*arguments: str, typed: str | None = None, status: int = 0) -> Any:
    result = CliRunner().invoke(app, ["queue", *arguments], input=typed)
    assert result.exit_code == status, result.output
    return result


def votes() -> list[tuple[str, str, str | None]]:
    result = CliRunner().invoke(app, ["export", "rivers"])
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    found = [vote for row in rows for vote in row["human"]]
    return [(vote["annotator"], vote["label"], vote.get("comment")) for vote in found]


def test_pairs_are_labelled_with_one_key_each_and_later_gone_on_with() -> None:
    made = run("create", "rivers", "--votes", "1")
    assert "0 of 6 pairs are done" in made.output
    first = run("label", "rivers", "--annotator", "ann", typed="t\nc\nboth name it\nb\nx\nq\n")
    assert "2 answers; go on" in first.output
    assert "model" not in first.stdout
    assert sorted(votes(), key=str) == [("ann", "tie", "both name it"), ("ann", "tie", None)]
    rest = run("label", "rivers", "--annotator", "ann", typed="l\nr\n1\ns\n")
    assert "nothing is left to label" in rest.output
    assert len(votes()) == 5
    shown = run("status", "rivers").output
    assert "5 of 6 pairs are done, 0 are claimed, 1 skipped, 0 wait" in shown


def test_the_last_answer_is_taken_back() -> None:
    run("create", "rivers")
    run("label", "rivers", "--annotator", "ann", typed="t\nu\nl\nu\nu\nq\n")
    assert votes() == []
    again = run("label", "rivers", "--annotator", "ann", "--most", "2", typed="l\nr\n")
    assert "2 answers" in again.output
    assert len(votes()) == 2


def test_without_the_name_of_a_queue_all_are_served_and_ties_are_refused_where_they_are() -> None:
    run("create", "rivers", "--no-ties", "--labels", "1")
    shown = run("label", "--annotator", "ann", typed="t\nl\n")
    assert "this queue takes no ties" in shown.output
    assert len(votes()) == 1


def test_tasks_go_to_another_tool_and_come_back(folder: Path) -> None:
    run("create", "rivers")
    run("export", "rivers", "-o", "tasks.json")
    tasks = json.loads((folder / "tasks.json").read_text())
    for task in tasks:
        value = {"choices": ["tie"]}
        result = {"from_name": "tie", "to_name": "prompt", "type": "choices", "value": value}
        task["annotations"] = [{"completed_by": "zoe", "result": [result]}]
    tasks.append({"data": {"left": "x", "right": "y"}})
    (folder / "done.json").write_text(json.dumps(tasks))
    found = run("import", "rivers", "done.json", status=4)
    assert "6 answers are new" in found.output
    assert "line 7" in found.output
    assert votes() == [("zoe", "tie", None)] * 6
    assert "there is no queue" in run("status", "none", status=1).output


def test_keys_are_read_one_by_one_from_a_terminal(folder: Path) -> None:
    """No line end is typed; arrows are three characters each."""
    run("create", "rivers")
    process, terminal = pty.fork()
    if process == 0:
        arguments = ["queue", "label", "rivers", "--annotator", "ann"]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
        os.execve(TRIBUNAL[0], [*TRIBUNAL, *arguments], environment)
    said = b""
    for key in (b"\x1b[D", b"\x1b[C", b"t", b"q"):
        while not said.endswith(b"better? "):
            said += os.read(terminal, 4096)
        os.write(terminal, key)
        said = b""
    assert os.waitpid(process, 0)[1] == 0
    os.close(terminal)
    assert len(votes()) == 3


def test_a_certificate_is_watched_from_the_terminal(folder: Path) -> None:
    (folder / "many.jsonl").write_bytes(ndjson(labelled_rows(400)))
    assert CliRunner().invoke(app, ["import", "many.jsonl"]).exit_code == 0
    runner = CliRunner()
    asked = ["certify", "many", "--judges", "cheap,dear", "--part", "calibration:0.5:0", "--json"]
    made = json.loads(runner.invoke(app, asked).stdout)
    started = runner.invoke(app, ["monitors", "create", made["id"], "--audit-rate", "1"])
    assert "watching; 0 of 0 audits are answered" in started.output
    judged = ["batch", "many", "--calibration", made["id"], "--part", "test:0.5:0"]
    assert runner.invoke(app, judged).exit_code == 0
    again = runner.invoke(app, ["replay", "many", "--thresholds", "cheap=never,dear=0.5"])
    assert "400 pairs: 400 answered" in again.output
    assert runner.invoke(app, ["replay", "many", "--thresholds", "dear"]).exit_code == 2
    run("label", "--annotator", "ann", "--most", "3", typed="l\nr\nl\n")
    listed = runner.invoke(app, ["monitors", "list"]).output
    assert "3 of " in listed
    monitor = listed.split()[1]
    assert "risk so far" in runner.invoke(app, ["monitors", "show", monitor]).output
    assert "ended" in runner.invoke(app, ["monitors", "end", monitor]).output
