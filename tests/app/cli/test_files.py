from __future__ import annotations

import json
import os
from pathlib import Path
from threading import Thread

import pytest
import typer
from typer.testing import CliRunner, Result

from app.cli import app
from app.cli.service import whole
from tests.app.formats.hand_written import EXAMPLES, content
from tests.app.rows import labelled_rows, ndjson

runner = CliRunner()


def run(*arguments: str, status: int = 0) -> Result:
    result = runner.invoke(app, list(arguments))
    assert result.exit_code == status, f"{result.output}\n{result.exception!r}"
    return result


def _write(folder: Path, name: str) -> list[str]:
    for file, rows in EXAMPLES[name].files.items():
        (folder / file).write_bytes(content(file, rows))
    return list(EXAMPLES[name].files)


def test_two_files_of_answers_are_joined_and_written_as_tasks(folder: Path) -> None:
    files = _write(folder, "alpaca_eval_outputs")
    body = json.loads(run("import", *files, "--json").stdout)
    assert (body["name"], body["pairs"], body["unmatched"]) == ("first", 3, 0)
    run("export", "first", "--format", "label_studio", "-o", "tasks.json", "--seed", "4")
    tasks = json.loads((folder / "tasks.json").read_text())
    assert len(tasks) == 3
    assert {task["data"]["seed"] for task in tasks} == {4}
    assert "<Pairwise" in run("export", "first", "--format", "label_studio_config").stdout
    again = json.loads(run("import", "tasks.json", "--name", "first", "--json").stdout)
    assert (again["id"], again["labels"]) == (body["id"], 0)


def test_what_a_format_cannot_hold_is_said(folder: Path) -> None:
    (folder / "rivers.jsonl").write_bytes(ndjson(labelled_rows(5)))
    run("import", "rivers.jsonl")
    result = run("export", "rivers", "--format", "evalica")
    assert result.stdout.splitlines()[0] == "left,right,winner"
    assert "not in this format: texts: 5" in result.stderr
    run("export", "rivers", "--format", "nothing", status=1)


def test_rows_without_a_partner_and_misspelt_fields_are_said(folder: Path) -> None:
    [first, second] = _write(folder, "alpaca_eval_outputs")
    rows = EXAMPLES["alpaca_eval_outputs"].files[second][:1]
    (folder / second).write_bytes(content(second, rows))
    assert "2 rows found none" in run("import", first, second, status=4).stderr
    row = {"prompt": "q", "response_a": "x", "response_b": "y", "humans": []}
    (folder / "rows.jsonl").write_bytes(ndjson([row]))
    assert (
        "humans: kept as metadata in 1 rows; did you mean human?"
        in run("import", "rows.jsonl").stderr
    )


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_table_goes_out_and_in(folder: Path, suffix: str) -> None:
    (folder / "rivers.jsonl").write_bytes(ndjson(labelled_rows(20)))
    first = json.loads(run("import", "rivers.jsonl", "--json").stdout)
    run("export", "rivers", "--format", suffix, "-o", f"table.{suffix}")
    again = json.loads(run("import", f"table.{suffix}", "--name", "rivers", "--json").stdout)
    assert (again["id"], again["labels"]) == (first["id"], 20)


def test_trusted_verdicts_come_with_their_card(folder: Path) -> None:
    (folder / "rivers.jsonl").write_bytes(ndjson(labelled_rows(300)))
    run("import", "rivers.jsonl")
    judges = ("--judges", "cheap,dear", "--json")
    certificate = json.loads(run("certify", "rivers", *judges, "--target-agreement", "0.8").stdout)
    assert certificate["status"] == "certified"
    fresh = [{**row, "prompt": f"Anew: {row['prompt']}"} for row in labelled_rows(100, seed=1)]
    (folder / "fresh.jsonl").write_bytes(ndjson(fresh))
    run("import", "fresh.jsonl")
    batch = json.loads(run("batch", "fresh", "--calibration", certificate["id"], "--json").stdout)
    result = run("export", "--trusted", batch["id"], "-o", "train.jsonl")
    assert "certified" in result.stderr
    rows = [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]
    card = json.loads((folder / "train.jsonl.card.json").read_text())
    assert card["rows"] == len(rows) > 0
    uncertified = json.loads(run("batch", "rivers", *judges).stdout)
    run("export", "--trusted", uncertified["id"], "-o", "no.jsonl", status=1)
    assert not (folder / "no.jsonl").exists()
    run("export", "--trusted", uncertified["id"], "--any-promise", "-o", "any.jsonl")
    assert (folder / "any.jsonl").read_text()


@pytest.mark.parametrize(
    "arguments",
    [["import", "nothing.json"], ["import", "-", "x.json"], ["export"],
     ["export", "x", "--trusted", "y"]],
)  # fmt: skip
def test_bad_usage(arguments: list[str]) -> None:
    run(*arguments, status=2)


def test_a_file_that_breaks_off_leaves_what_was_there(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = folder / "kept.jsonl"
    place.write_bytes(b"earlier")
    with pytest.raises(UnicodeEncodeError), whole(place) as out:
        out.writelines([b"half", "\ud800".encode()])
    assert [file.read_bytes() for file in folder.glob("*kept*")] == [b"earlier"]
    with whole(place) as out:
        out.write(b"new")
    assert [file.read_bytes() for file in folder.glob("*kept*")] == [b"new"]

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(typer.Exit), whole(place):
        pass
    monkeypatch.undo()
    assert place.read_bytes() == b"new"


def test_what_is_no_file_is_written_as_it_is(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    read: list[bytes] = []
    reader = Thread(target=lambda: read.append((folder / "pipe").read_bytes()))
    reader.start()
    with whole(folder / "pipe") as out:
        out.write(b"through")
    reader.join()
    assert read == [b"through"]
    assert [file.name for file in folder.iterdir()] == ["pipe"]
