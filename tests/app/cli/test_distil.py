"""A student of a recorded judge: made, configured, certified on other prompts, and asked."""

from __future__ import annotations

import json
import re
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app.cli.program import app
from judges.student.training import distilled
from judges.student.training.fit import Growth, Recipe
from tests.app.rows import labelled_rows, ndjson
from tests.judges.model_server import ModelServer
from tests.judges.model_server import running as serving

PAIRS = Path(__file__).resolve().parents[3] / "examples" / "pairs.jsonl"
SMALL = Recipe(rounds=1, folds=3, bilinear_steps=8, growth=Growth(trees=6, depth=2))


def told(*arguments: str, status: int = 0) -> Any:
    """Run a verb, and return what it printed as JSON, or on standard error where it fails."""
    done = CliRunner().invoke(app, [*arguments])
    assert done.exit_code == status, done.output
    return json.loads(done.stdout) if status in (0, 3) else done.stderr


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Train in a second, and replay two splits."""
    monkeypatch.setattr(distilled, "Task", partial(distilled.Task, recipe=SMALL))
    monkeypatch.setattr(distilled, "SPLITS", 2)


@pytest.fixture(autouse=True)
def as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    """Print JSON throughout."""
    monkeypatch.setenv("TRIBUNAL_OUTPUT", "json")


@pytest.mark.usefixtures("small")
def test_a_student_is_distilled_configured_and_certified_on_prompts_it_never_saw(
    folder: Path,
) -> None:
    told("import", str(PAIRS), "--name", "example")
    learn = ("distil", "example", "--teacher", "simulated-large", "--part", "calibration:0.5:0")
    made = told(*learn, "--out", "deep/own", "--slices", "task")
    assert made["pairs"] > 150
    assert {row["reference"] for row in made["rows"]} == {"teacher", "people"}
    assert made["saving"]["with_student"]["coverage"] > 0
    card = (folder / "deep/own/MODEL_CARD.md").read_text(encoding="utf-8")
    assert made["weights_hash"] in card
    assert "What does it save?" in card
    assert 'weights = "student.npz"' in (folder / "deep/own/judges.toml").read_text()
    assert "holds student.npz already" in told(*learn, "--out", "deep/own", status=2)

    # the path starts at the file of the configuration, wherever the service was started
    configuration = folder / "deep" / "tribunal.toml"
    configuration.write_text(
        '[judges.own]\nkind = "student"\nweights = "own/student.npz"\n', encoding="utf-8"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRIBUNAL_CONFIG", str(configuration))
        listed = {one["name"]: one for one in told("judges")}
        assert listed["own"]["training_prompts"] == made["prompts"]
        assert listed["own"]["fingerprint"] != listed["student"]["fingerprint"]
        certify = ("certify", "example", "--judges", "own,simulated-large")
        assert "known to a judge from its training" in told(
            *certify, "--part", "calibration:0.5:0", status=1
        )
        whole = told(*certify, "--target-agreement", "0.7")
        assert whole["calibration"]["seen_in_training"] == made["pairs"]


JUDGE = """
[judges.dear]
kind = "openai"
base_url = "{url}"
model = "judge"
annotators = 1
examples = 0
attempts = 1
price_input = 10.0
price_output = 10.0
"""


@pytest.mark.usefixtures("small")
def test_a_teacher_that_costs_money_is_asked_with_consent_and_never_twice(folder: Path) -> None:
    rows = [
        {**row, "judges": {}, side: f"It is a good one, number {number}."}
        for number, row in enumerate(labelled_rows(40))
        for side in [("response_a", "response_b")[number % 2]]
    ]
    (folder / "rivers.jsonl").write_bytes(ndjson(rows))
    with serving(ModelServer()) as server:
        (folder / "tribunal.toml").write_text(JUDGE.format(url=server.base_url))
        told("import", "rivers.jsonl")
        learn = ("distil", "rivers", "--teacher", "dear", "--out")
        assert "--yes, or --budget-usd" in told(*learn, "own", status=2)
        assert not server.requests
        assert told(*learn, "own", "--yes")["pairs"] == 40
        asked = len(server.requests)
        assert asked == 80
        assert told(*learn, "again")["pairs"] == 40
        assert len(server.requests) == asked
        assert (folder / "own/student.npz").read_bytes() == (
            folder / "again/student.npz"
        ).read_bytes()


def test_a_share_that_is_none_is_refused() -> None:
    assert "--target-agreement" in told(
        "distil", "x", "--teacher", "y", "--out", "z", "--target-agreement", "1", status=2
    )


def test_an_adapter_needs_its_base() -> None:
    said = told("distil", "x", "--teacher", "y", "--out", "z", "--lora", status=2)
    assert "--lora goes with --base" in said


def test_a_missing_torch_is_named_before_the_teacher_is_asked(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    learn = ("distil", "x", "--teacher", "y", "--out", "z")
    said = told(*learn, "--lora", "--base", "no/model", status=2)
    assert "trained with torch, transformers and safetensors" in said
    assert "missing" in said
    assert not (folder / "z").exists()


def test_a_teacher_that_is_not_there_is_told_of_by_the_option_s_name(folder: Path) -> None:
    told("import", str(PAIRS), "--name", "example")
    said = told("distil", "example", "--teacher", "nobody", "--out", "z", status=1)
    assert "--teacher: 'nobody' is no cascade, and no judge that is configured or recorded" in said
    assert "student, simulated-large" in said


def test_judges_are_listed_with_the_prompts_that_they_know(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRIBUNAL_OUTPUT", "table")
    said = CliRunner().invoke(app, ["judges"]).stdout
    assert re.search(r"student: student, ready\n +model student\n +knows \d+ prompts, which", said)


def test_a_dataset_that_is_not_there_is_named(folder: Path) -> None:
    said = told("distil", "nothing", "--teacher", "student", "--out", "z", status=1)
    assert "nothing" in said
    assert not (folder / "z" / "student.npz").exists()
