from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app.cli import app
from tests.app.hand_made import ROWS

runner = CliRunner()


@pytest.fixture(autouse=True)
def folder(folder: Path, fill: Callable[[Path, Callable[[], None]], None]) -> Path:
    """An empty folder with its own database and the hand-made pairs."""

    def make() -> None:
        rows = [
            {**row, "human": [
                *row["human"],
                *({**vote, "criterion": "style"} for vote in row["human"]),
            ]}
            for row in ROWS
        ]  # fmt: skip
        (folder / "hand.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
        run("import", "hand.jsonl")

    fill(folder, make)
    return folder


def run(*arguments: str, status: int = 0) -> str:
    result = runner.invoke(app, list(arguments))
    assert result.exit_code == status, f"{result.output}\n{result.exception!r}"
    return result.output


def run_json(*arguments: str) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(run(*arguments, "--json"))
    return body


def test_pairs_are_counted_beside_the_votes_on_them() -> None:
    lines = run("leaderboard", "hand", "--method", "win_rate").splitlines()
    header = next(line for line in lines if line.startswith("model  "))
    first = next(line for line in lines if line.startswith("z "))
    assert header.split()[-3:] == ["pairs", "comparisons", "w/l/t"]
    assert first.split()[-3:] == ["5", "10", "6/1/3"]
    one_a_pair = run("leaderboard", "hand", "--method", "win_rate", "--votes", "majority")
    assert "pairs" in one_a_pair
    assert "comparisons" not in one_a_pair


def test_slices_are_shown_to_people() -> None:
    out = run("leaderboard", "hand", "--method", "win_rate", "--group-by", "task")
    blocks = out.split("\nt")
    assert len(blocks) == 3
    assert all("rating" in block and "z" in block for block in blocks)
    assert "tied for" in out


def test_a_slice_that_cannot_be_ranked_says_why_to_people() -> None:
    out = run("leaderboard", "hand", "--group-by", "task", "--ties", "exclude")
    assert "not rankable: strengths are not finite" in out.replace("\n", " ")


def test_every_option_reaches_the_service() -> None:
    made = run_json(
        "leaderboard", "hand", "--method", "elo", "--elo-k", "8", "--votes", "majority",
        "--confidence-level", "0.9", "--seed", "3", "--ties", "exclude",
    )  # fmt: skip
    assert made["options"] == {"k": 8, "start": 1000, "scale": 400}
    assert (made["votes"], made["ties"], made["confidence_level"], made["seed"]) == (
        "majority", "exclude", 0.9, 3,
    )  # fmt: skip
    soft = run_json("leaderboard", "hand", "--source", "judge:cheap", "--soft")
    assert soft["soft"] is True
    powered = run_json(
        "leaderboard", "hand", "--source", "prediction_powered", "--judge", "cheap",
        "--method", "win_rate", "--baseline", "x",
    )  # fmt: skip
    assert (powered["judge"], powered["baseline"]) == ("cheap", "x")
    assert "labelled" in run(
        "leaderboard", "hand", "--source", "prediction_powered", "--judge", "cheap",
        "--method", "win_rate",
    )  # fmt: skip
    controlled = run_json("leaderboard", "hand", "--control", "length,style")
    assert controlled["control"] == ["length", "style"]


def test_weights_are_moved_and_leaderboards_compared(folder: Path) -> None:
    made = run_json("leaderboard", "hand", "--criterion", "overall=2", "--criterion", "style=1")
    assert made["criteria"] == {"overall": 2, "style": 1}
    moved = run("leaderboards", "reweight", made["id"], "--criterion", "style=1")
    assert "by style, weight 1" in moved
    listed = run_json("leaderboards", "list")["data"]
    assert listed[1]["id"] == made["id"], "newest first"
    assert made["id"] in run("leaderboards", "list")
    out = run("leaderboards", "compare", made["id"], listed[0]["id"])
    assert "differs: criteria" in out
    out = run("leaderboards", "show", made["id"], "--csv", "rows.csv", "--html", "board.html")
    assert "<svg" in (folder / "board.html").read_text()
    run("report", "hand", "--html", "report.html")
    assert "One by one" in (folder / "report.html").read_text()
    sliced = run_json(
        "leaderboards", "reweight", made["id"], "--group-by", "task", "--slice", "t1=2"
    )
    assert sliced["slice_weights"] == {"t1": 2}
    assert "by overall, weight 0.667" in out
    with (folder / "rows.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["criterion"] for row in rows} == {"", "overall", "style"}


@pytest.mark.parametrize(
    "arguments",
    [
        ("leaderboard", "hand", "--criterion", "style"),
        ("leaderboard", "hand", "--criterion", "=2"),
        ("leaderboard", "hand", "--csv", "no/such/folder.csv"),
        ("leaderboards", "reweight", "lb_1"),
    ],
)
def test_bad_usage_exits_with_2(arguments: tuple[str, ...]) -> None:
    run(*arguments, status=2)


def test_an_unknown_leaderboard_fails() -> None:
    assert "lb_none" in run("leaderboards", "show", "lb_none", status=1)
