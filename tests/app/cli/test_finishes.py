from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from app.cli import app
from tests.app.rows import labelled_rows, ndjson


def run(*arguments: str, typed: str | None = None, status: int = 0) -> Any:
    result = CliRunner().invoke(app, list(arguments), input=typed)
    assert result.exit_code == status, result.output
    return result


def test_a_dataset_is_finished_by_judges_and_people(folder: Path) -> None:
    rows = labelled_rows(330)
    for row in rows[300:]:
        row["human"] = []
    (folder / "rivers.jsonl").write_bytes(ndjson(rows))
    run("import", "rivers.jsonl")
    judges = ("--judges", "cheap,dear", "--max-error", "0.05")
    begun = json.loads(run("finish", "rivers", *judges, "--json").stdout)
    assert begun["status"] == "labelling"
    typed = "l\n" * begun["waiting"]
    run("queue", "label", begun["queue"], "--annotator", "ann", typed=typed)
    ended = run("finish", "--resume", begun["id"], "--results", "rows.ndjson")
    people = 300 + begun["waiting"]
    assert f"completed; of 330 rows judges gave {begun['judged']} verdicts, people {people}" in (
        " ".join(ended.output.split())
    )
    written = [json.loads(line) for line in (folder / "rows.ndjson").read_text().splitlines()]
    assert [row["id"] for row in written] == [row["id"] for row in rows]
    assert all(row["label"] for row in written)
    run("finish", "--resume", begun["id"], "--people", status=1)
    run("finish", "rivers", status=2)
