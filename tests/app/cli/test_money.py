"""Budgets on the command line: what they cover, and going on with more."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app.cli import app
from tests.app.rows import labelled_rows, ndjson
from tests.judges.model_server import ModelServer
from tests.judges.model_server import running as serving

runner = CliRunner()
JUDGE = """
[judges.live]
kind = "openai"
base_url = "{url}"
model = "judge"
annotators = 1
examples = 0
attempts = 1
price_input = 10.0
price_output = 10.0
[cascades.default]
judges = ["live"]
"""


@pytest.fixture
def folder(folder: Path) -> Iterator[Path]:
    """A working folder with a dataset and a judge that costs money."""
    rows = [{**row, "judges": {}} for row in labelled_rows(40)]
    (folder / "rivers.jsonl").write_bytes(ndjson(rows))
    with serving(ModelServer()) as server:
        (folder / "tribunal.toml").write_text(JUDGE.format(url=server.base_url))
        yield folder


def run(*arguments: str, status: int = 0) -> str:
    result = runner.invoke(app, list(arguments))
    assert result.exit_code == status, f"{result.output}\n{result.exception!r}"
    return result.stdout


def test_a_budget_is_kept_and_taken_up_again(folder: Path) -> None:
    run("import", "rivers.jsonl")
    first: dict[str, Any] = json.loads(run("batch", "rivers", "--budget-usd", "0.06", "--json"))
    counts = first["request_counts"]
    assert 0 < counts["not_admitted"] < 40
    assert 0 < first["cost_usd"] <= 0.06
    told = run("batch", "--resume", first["id"])
    assert f"did not cover {counts['not_admitted']} pairs" in told
    assert "--retry" in told
    assert f"counts the {first['spent_usd']:.4f} USD that are spent" in " ".join(told.split())
    again = json.loads(run("batch", "--retry", first["id"], "--budget-usd", "10", "--json"))
    assert again["request_counts"]["not_admitted"] == 0
    assert again["request_counts"]["completed"] == 40
    assert again["cost_usd"] == pytest.approx(
        first["cost_usd"] * 40 / (40 - counts["not_admitted"])
    )


def test_options_that_say_nothing_together_are_refused(folder: Path) -> None:
    run("import", "rivers.jsonl")
    run("batch", "rivers", "--seed", "3", status=2)
    run("batch", "--retry", "batch_x", "--budget-usd", "1", "--soft-budget", status=2)
    run("batch", "--resume", "batch_x", "--budget-usd", "1", status=2)
    run("batch", "rivers", "--retry", "batch_x", status=2)
