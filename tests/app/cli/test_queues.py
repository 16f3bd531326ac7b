from __future__ import annotations

import json
import os
import pty
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app.cli import app
from app.cli.people.labelling import PASTED, key_of
from tests.app.processes import TRIBUNAL
from tests.app.rows import labelled_rows, ndjson


@pytest.fixture(autouse=True)
def folder(folder: Path, fill: Callable[[Path, Callable[[], None]], None]) -> Path:
    """A working folder with a dataset of 6 pairs without labels."""

    def make() -> None:
        rows = [{**row, "human": []} for row in labelled_rows(6)]
        (folder / "rivers.jsonl").write_bytes(ndjson(rows))
        assert CliRunner().invoke(app, ["import", "rivers.jsonl"]).exit_code == 0

    fill(folder, make)
    return folder


def run(*arguments: str, typed: str | None = None, status: int = 0) -> Any:
    result = CliRunner().invoke(app, ["queue", *arguments], input=typed)
    assert result.exit_code == status, result.output
    return result


def queue(name: str = "rivers") -> Any:
    return json.loads(run("status", name, "--json").stdout)


def votes() -> list[tuple[str, str, str | None]]:
    result = CliRunner().invoke(app, ["export", "rivers"])
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    found = [vote for row in rows for vote in row["human"]]
    return [(vote["annotator"], vote["label"], vote.get("comment")) for vote in found]


def test_pairs_are_labelled_with_one_key_each_and_later_gone_on_with() -> None:
    made = run("create", "rivers", "--votes", "1")
    assert "0 of 6 pairs are done" in made.output
    first = run("label", "rivers", "--annotator", "ann", typed="t\nc\nboth name it\nf\nx\nq\n")
    assert "2 answers; go on" in first.output
    assert "model" not in first.stdout
    assert sorted(votes(), key=str) == [("ann", "tie", "both name it"), ("ann", "tie", None)]
    rest = run("label", "rivers", "--annotator", "ann", typed="l\nr\n1\ns\nn\n")
    assert "3 answers, 1 skip; 1 pair that you skipped is left" in " ".join(rest.output.split())
    assert "go on" not in rest.output
    assert len(votes()) == 5
    shown = run("status", "rivers").output
    assert "5 of 6 pairs are done, 0 are claimed, 1 skipped, 0 wait" in shown


@pytest.mark.parametrize(
    ("key", "said"), [("a", "left"), ("b", "right"), ("t", "tie"), ("f", "both"), ("l", "left")]
)
def test_keys_mean_the_same_as_on_the_page(key: str, said: str) -> None:
    run("create", "rivers")
    shown = run("label", "rivers", "--annotator", "ann", "--most", "1", typed=f"{key}\n").output
    assert {"left": "A is better", "right": "B is better"}.get(said, said) in shown
    page = (Path(__file__).parents[3] / "app/pages/templates/label.html").read_text()
    if key != "l":
        assert f'value="{said}" data-key="{key}"' in page
    annotator = queue()["annotators"][0]
    assert annotator["left"]["value"] == {"left": 1.0, "right": 0.0}.get(said)
    [(_, label, _)] = votes()
    assert (label == "tie") is (said in ("tie", "both"))


def test_guidelines_are_shown_once_and_on_a_key(folder: Path) -> None:
    (folder / "guide.txt").write_text("Prefer the river that is named.")
    run("create", "rivers", "--guidelines", "guide.txt")
    shown = run("label", "rivers", "--annotator", "ann", typed="a\nu\nb\nt\nq\n").output
    assert shown.count("Prefer the river") == 1
    asked = run("label", "rivers", "--annotator", "ann", typed="g\nq\n").output
    assert asked.count("Prefer the river") == 2


def test_skipped_pairs_are_offered_once_when_nothing_else_is_left() -> None:
    run("create", "rivers", "--labels", "3")
    typed = "s\na\ns\ny\nb\ns\n"
    ended = " ".join(run("label", "rivers", "--annotator", "ann", typed=typed).output.split())
    assert ended.count("2 pairs you skipped are left: label them now?") == 1
    assert "2 answers, 1 skip; 1 pair that you skipped is left" in ended
    assert queue()["skipped"] == 1
    last = run("label", "rivers", "--annotator", "ann", typed="y\nt\n").output
    assert "1 pair you skipped is left: label it now?" in last
    assert "1 answer; nothing is left to label" in last
    assert queue()["done"] == 3


def test_pairs_that_wait_for_others_are_told_of() -> None:
    run("create", "rivers", "--labels", "2", "--votes", "2")
    ended = run("label", "rivers", "--annotator", "ann", typed="a\nb\n").output
    assert "2 answers; 2 pairs can only be answered by other people" in ended


def test_an_empty_line_leaves_a_comment() -> None:
    run("create", "rivers", "--labels", "3")
    typed = "c\nfirst\nc\n\na\nc\n\x1b\nb\nc\nkept\ns\nn\n"
    shown = run("label", "rivers", "--annotator", "ann", typed=typed).output
    assert "comment (an empty line: none)" in shown
    assert shown.count("no comment") == 2
    assert "the comment is not kept" in shown
    assert [comment for _, _, comment in votes()] == [None, None]


def test_more_than_one_character_at_once_is_no_answer() -> None:
    run("create", "rivers")
    shown = run("label", "rivers", "--annotator", "ann", typed="atb\nleft\na\nq\n").output
    assert shown.count("several characters came at once") == 2
    assert len(votes()) == 1


@pytest.mark.parametrize(
    ("typed", "key"),
    [
        (b"T", "t"), (b"\x1b[D", "\x1b[D"), (b"\x1b", "\x1b"), (b"\xc3\xa9", "\u00e9"),
        (b"\x1b[3~", "?"), (b"at", PASTED), (b"aa", PASTED), (b"a\n", PASTED),
        (b"\x1b[D\x1b[D", PASTED), (b"\x1b[200~a\x1b[201~", PASTED),
    ],
)  # fmt: skip
def test_one_key_is_told_from_pasted_text(typed: bytes, key: str) -> None:
    assert key_of(typed) == key


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
    """No line end is typed; arrows are three characters each, and pasted text is none."""
    run("create", "rivers")
    process, terminal = pty.fork()
    if process == 0:
        arguments = ["queue", "label", "rivers", "--annotator", "ann"]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
        os.execve(TRIBUNAL[0], [*TRIBUNAL, *arguments], environment)
    pasted = b"\x1b[200~" + 2_000 * b"ttt" + b"\x1b[201~"
    # a terminal is asked to mark pasted text when a key is waited for; Ctrl-C leaves the comment
    asked, comment = b"better? \x1b[?2004h", b"none): "
    keys = (b"\x1b[D", b"tttt", pasted, b"a", b"c", b"\x03", b"b", b"q")
    for key in keys:
        said = b""
        while not said.endswith(comment if key == b"\x03" else asked):
            said += os.read(terminal, 4096)
        os.write(terminal, key)
    assert os.waitpid(process, 0)[1] == 0
    os.close(terminal)
    assert len(votes()) == 3


def _exported(calibration: str, file: Path) -> Any:
    """Export a certificate, and return what `verify` says of the file."""
    runner = CliRunner()
    asked = ["calibrations", "export", calibration, "--output", str(file)]
    assert runner.invoke(app, asked).exit_code == 0
    return runner.invoke(app, ["verify", str(file)])


def test_a_certificate_is_watched_from_the_terminal(folder: Path) -> None:
    (folder / "many.jsonl").write_bytes(ndjson(labelled_rows(400)))
    assert CliRunner().invoke(app, ["import", "many.jsonl"]).exit_code == 0
    runner = CliRunner()
    asked = ["certify", "many", "--judges", "cheap,dear", "--part", "calibration:0.5:0", "--json"]
    made = json.loads(runner.invoke(app, asked).stdout)
    warned = run("create", "many", "--name", "twice", "--labels", "50").output
    assert "certificates rest on the labels of" in warned
    certified = queue("twice")["certified_pairs"]
    assert 0 < certified < 50
    assert f"{certified} of these 50 pairs" in " ".join(warned.split())
    assert "certificates rest" not in run("create", "rivers").output
    watch = ["monitors", "create", made["id"], "--audit-rate", "1", "--on-alarm", "suspend"]
    started = runner.invoke(app, watch)
    assert "watching; 0 of 0 audits are answered" in started.output
    judged = ["batch", "many", "--calibration", made["id"], "--part", "test:0.5:0"]
    assert runner.invoke(app, judged).exit_code == 0
    again = runner.invoke(app, ["replay", "many", "--thresholds", "cheap=never,dear=0.5"])
    assert "400 pairs: 400 answered" in again.output
    assert runner.invoke(app, ["replay", "many", "--thresholds", "dear"]).exit_code == 2
    # without a name audits are served first; one alone, on a side drawn at random, raises no alarm
    run("label", "--annotator", "ann", "--most", "1", typed="l\n")
    listed = runner.invoke(app, ["monitors", "list"]).output
    assert " 1 of " in listed
    monitor = listed.split()[1]
    assert "risk so far" in runner.invoke(app, ["monitors", "show", monitor]).output
    before = _exported(made["id"], folder / "before.json")
    assert "state at export: certified" in before.output
    assert "export it again" in " ".join(before.output.split())
    run("label", "--annotator", "ann", "--most", "80", typed="a\n" * 80)
    # how it stands now comes first, with when and why
    why = f"suspended, no new verdict carries its promise: the monitor {monitor} raised its alarm on 2"
    shown = " ".join(runner.invoke(app, ["calibrations", "show", made["id"]]).output.split())
    assert shown.startswith(f"certificate {made['id']}: suspended {why}")
    listed = " ".join(runner.invoke(app, ["calibrations", "list"]).output.split())
    assert f"{made['id']} suspended " in listed
    assert f"{made['id']}: {why}" in listed
    # an old file cannot know; a fresh one does
    assert "certified" in runner.invoke(app, ["verify", "before.json"]).output
    after = _exported(made["id"], folder / "after.json")
    assert after.exit_code == 3
    assert "state at export: suspended" in after.output
    assert f"its promise was suspended: the monitor {monitor}" in " ".join(after.output.split())
    assert "ended" in runner.invoke(app, ["monitors", "end", monitor]).output
