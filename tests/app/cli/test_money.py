"""Budgets on the command line: what they cover, and going on with more."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app.cli import app
from app.cli.tables import verdicts as verdict_tables
from app.cli.tables.layout import Screen
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


def test_an_estimate_comes_before_the_money(folder: Path) -> None:
    """It holds what the batch then costs, and after it nothing more is to be paid."""
    run("import", "rivers.jsonl")
    said = run("batch", "rivers", "--estimate", "--part", "test:0.5:0")
    assert "nothing was started" in said
    assert "live" in said
    before = json.loads(run("batch", "rivers", "--estimate", "--json"))
    [live] = before["judges"]
    assert (before["pairs"], live["scored"], live["basis"]) == (40, 0, "texts")
    run("batch", "rivers", "--part", "test:0.5:0")
    half = json.loads(run("batch", "rivers", "--estimate", "--json"))
    assert half["judges"][0]["basis"] == "stored_scores"
    paid = json.loads(run("batch", "rivers", "--json"))["cost_usd"]
    low, high = half["cost_usd"]["low"], half["cost_usd"]["high"]
    assert low * 0.999 <= paid <= high * 1.001
    assert json.loads(run("batch", "rivers", "--estimate", "--json"))["cost_usd"]["high"] == 0
    assert [one["status"] for one in json.loads(run("batches", "list", "--json"))["data"]] == [
        "completed",
        "completed",
    ]


@pytest.mark.parametrize("option", [("--retry", "batch_1"), ("--results", "out.jsonl")])
def test_an_estimate_is_of_a_new_batch(folder: Path, option: tuple[str, str]) -> None:
    run("import", "rivers.jsonl")
    dataset = () if option[0] == "--retry" else ("rivers",)
    result = runner.invoke(app, ["batch", *dataset, "--estimate", *option])
    assert result.exit_code == 2
    assert option[0] in result.output


def test_a_batch_that_runs_shows_its_speed_and_its_judges() -> None:
    counts = {
        "total": 100, "accepted": 30, "abstained": 5, "failed": 5, "completed": 35,
        "not_admitted": 0,
    }  # fmt: skip
    tiers = [
        {"judge": "cheap", "asked": 40, "accepted": 20, "failed": 1, "obtained": 40, "cost_usd": 0.1},
        {"judge": "dear", "asked": 20, "accepted": 15, "failed": 4, "obtained": 20, "cost_usd": None},
    ]  # fmt: skip
    body: dict[str, Any] = {
        "id": "batch_1", "status": "in_progress", "request_counts": counts, "cost_usd": None,
        "promise": "none", "calibration": None, "calibration_pairs": 0, "error": None,
        "suspended_because": None, "also_running": [], "judge_failures": None,
        "progress": {"pairs_per_second": 2.0, "seconds_left": 3600.0, "tiers": tiers},
    }  # fmt: skip
    written = StringIO()
    verdict_tables.batch(Screen(written, has_edge=False), body)
    said = written.getvalue()
    assert "2 pairs a second, 60 min left" in said
    assert re.search(r"dear +20 +15 +4 +unknown", said)
    body["known_usd"], tiers[1]["cut_off"] = 12.5, 3
    written = StringIO()
    verdict_tables.batch(Screen(written, has_edge=False), body)
    said = " ".join(written.getvalue().split())
    assert "cost at least 12.5000 USD" in said
    assert "a worker stopped while dear was asked about 3 pairs: what those calls cost is" in said
