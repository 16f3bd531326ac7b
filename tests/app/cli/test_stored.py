"""What is stored can be listed, looked at again, withdrawn, stopped and deleted."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from app.cli import app
from app.cli.service import open_tribunal
from app.client import Tribunal
from app.core.settings import Settings
from tests.app.rows import labelled_rows, ndjson

runner = CliRunner()
JUDGES = ("--judges", "cheap,dear")


@pytest.fixture(autouse=True)
def folder(folder: Path, fill: Callable[[Path, Callable[[], None]], None]) -> Path:
    """An empty folder with its own database and two datasets."""

    def make() -> None:
        for name in ("rivers", "lakes"):
            (folder / f"{name}.jsonl").write_bytes(ndjson(labelled_rows(120)))
            run("import", f"{name}.jsonl")

    fill(folder, make)
    return folder


def invoke(*arguments: str, status: int = 0) -> Result:
    result = runner.invoke(app, list(arguments))
    assert result.exit_code == status, f"{result.output}\n{result.exception!r}"
    return result


def run(*arguments: str, status: int = 0) -> str:
    return " ".join(invoke(*arguments, status=status).output.split())


def run_json(*arguments: str) -> Any:
    return json.loads(invoke(*arguments, "--json").stdout)


def test_datasets_are_listed_page_by_page_shown_and_deleted() -> None:
    assert [one["name"] for one in run_json("datasets", "list")["data"]] == ["lakes", "rivers"]
    assert run_json("datasets", "list", "--order", "asc")["data"][0]["name"] == "rivers"
    first = run_json("datasets", "list", "--limit", "1")
    table = run("datasets", "list", "--limit", "1")
    assert "lakes" in table
    assert f"there are more: --after {first['last_id']}" in table
    rest = run("datasets", "list", "--after", first["last_id"])
    assert "rivers" in rest
    assert "lakes" not in rest
    assert "120 pairs, 120 groups, 120 labels" in run("datasets", "show", "lakes")
    assert "the dataset lakes is deleted" in run("datasets", "delete", "lakes")
    assert "there is no dataset" in run("datasets", "show", "lakes", status=1)


def test_certificates_are_listed_shown_and_revoked(folder: Path) -> None:
    made = run_json("certify", "rivers", *JUDGES, "--target-agreement", "0.7")
    listed = run("calibrations", "list")
    assert f"{made['id']} certified {made['created_at'][:19]} 70.0%" in listed
    assert "cheap, dear" in listed
    assert run_json("calibrations", "show", made["id"]) == made
    (folder / "new.csv").write_text("pair,label,annotator\np0,tie,anna\n")
    run("label", "rivers", "new.csv")
    shown = run("calibrations", "show", made["id"])
    assert "labels were given or replaced on a pair that" in shown
    # the promise in one sentence, and word by word for who asks
    assert made["summary"] in shown
    assert made["claim"] not in shown
    found = made["calibration"]
    assert f"It answered {found['answered']} of the {found['pairs']} pairs (" in shown
    assert made["claim"] in run("calibrations", "show", made["id"], "--words")
    revoked = run("calibrations", "revoke", made["id"])
    assert f"certificate {made['id']}: revoked revoked on 20" in revoked
    assert "it promises nothing any more" in revoked
    assert f"{made['id']} revoked 20" in run("calibrations", "list")
    refused = run("datasets", "delete", "rivers", status=1)
    assert made["id"] in refused
    run("datasets", "delete", "rivers", "--force")
    assert run_json("calibrations", "list")["data"] == []


def test_a_certificate_is_exported_and_verified_without_a_database(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = run_json("certify", "rivers", *JUDGES, "--target-agreement", "0.7")
    document = json.loads(invoke("calibrations", "export", made["id"]).stdout)
    public = run("keys", "signing")
    assert document["signature"]["public_key"] == public
    assert run_json("keys", "signing")["kept_in"] == "database"
    (folder / "certificate.json").write_text(json.dumps(document))
    monkeypatch.setenv("DATABASE_URL", "sqlite:////nowhere/at/all.db")
    said = run("verify", "certificate.json", "--key", f"ed25519:{public.upper()}")
    assert f"{made['id']} is verified: computed again, it is the same {made['claim']}" in said
    assert f"signed by {public} at " in said
    assert run_json("verify", "certificate.json")["verified"] is True
    other = run("verify", "certificate.json", "--key", "0" * 64, status=1)
    assert "signature.public_key" in other
    assert "--key is not a public key" in run("verify", "certificate.json", "--key", "x", status=2)
    assert "give one exported certificate" in run("verify", "rivers.jsonl", status=2)
    document["certificate"]["thresholds"][0]["threshold"] = 0.1
    (folder / "changed.json").write_text(json.dumps(document))
    tampered = run("verify", "changed.json", status=1)
    assert "certificate.thresholds was changed after it was signed" in tampered
    (folder / "other.json").write_text("{}")
    assert "object is not exported_certificate" in run("verify", "other.json", status=1)
    assert "none.json" in run("verify", "none.json", status=2)


def test_a_certificate_that_promises_nothing_is_verified_with_another_status(folder: Path) -> None:
    made = run_json("certify", "rivers", *JUDGES, "--target-agreement", "0.7")
    run("calibrations", "revoke", made["id"])
    run("calibrations", "export", made["id"], "--output", "revoked.json")
    assert "it was revoked at" in run("verify", "revoked.json", status=3)
    assert "was revoked at" in run("calibrations", "import", "revoked.json", status=1)


def test_a_certificate_that_ends_and_its_renewal_are_shown() -> None:
    made = run_json("certify", "rivers", *JUDGES, "--target-agreement", "0.7")
    renewal = ("--expires-in", "90d", "--supersedes", made["id"])
    renewed = run("certify", "lakes", *JUDGES, "--target-agreement", "0.75", *renewal)
    assert f"it supersedes {made['id']}; what changed:" in renewed
    assert "request.target_agreement: 0.7 -> 0.75" in renewed
    assert "it expires at 20" in renewed
    assert "superseded by cal_" in run("calibrations", "show", made["id"])
    wrong = run("certify", "rivers", *JUDGES, "--expires-in", "soon", status=1)
    assert "'soon' is no length of time; write 30m, 12h, 90d or 8w" in wrong


def test_a_look_at_the_database_says_what_the_service_says() -> None:
    run_json("certify", "rivers", *JUDGES, "--target-agreement", "0.7")
    run_json("batch", "rivers", *JUDGES)
    run_json("leaderboard", "rivers")
    with open_tribunal(None, None, only_reads=True) as tribunal:
        for collection in ("datasets", "calibrations", "batches", "leaderboards"):
            said = tribunal.get(f"/v1/{collection}", limit=20, order="desc")
            assert said["data"]
            assert run_json(collection, "list") == said
            for one in said["data"]:
                shown = tribunal.get(f"/v1/{collection}/{one['id']}")
                assert run_json(collection, "show", one["id"]) == shown


def test_a_calibration_that_never_was_is_said_to_be_none() -> None:
    assert "there is no calibration" in run("calibrations", "show", "cal_x", status=1)


def test_batches_are_listed_shown_and_not_cancelled_when_they_have_ended(folder: Path) -> None:
    rows = labelled_rows(120)
    rows[7]["judges"] = {"cheap": {"p_a": None}}
    (folder / "gaps.jsonl").write_bytes(ndjson(rows))
    run("import", "gaps.jsonl")
    gaps = json.loads(invoke("batch", "gaps", *JUDGES, "--json", status=4).stdout)
    shown = run("batches", "verdicts", gaps["id"], "--status", "failed")
    assert "8 p7 failed - cheap failed, says the record" in shown
    first = run_json("batches", "verdicts", gaps["id"], "--limit", "2")
    assert len(first["data"]) == 2
    said = run("batches", "verdicts", gaps["id"], "--after", first["last_id"])
    assert "there are more: --after" in said
    made = run_json("batch", "rivers", *JUDGES)
    listed = run("batches", "list")
    assert f"{made['id']} " in listed
    assert "completed 120/120 0 none" in listed
    assert f"batch {made['id']}: completed, 120 pairs" in run("batches", "show", made["id"])
    assert "already completed" in run("batches", "cancel", made["id"], status=1)


def test_looking_judges_nothing_and_a_batch_that_was_left_can_be_stopped() -> None:
    with Tribunal(settings=Settings(workers=0)) as tribunal:
        made = tribunal.create_batch(dataset="rivers", cascade={"judges": ["student"]})
    assert "in_progress 0/120 0 none" in run("batches", "list")
    with open_tribunal(None, None, only_reads=True) as looking:
        for _ in range(30):  # long enough for a worker to judge them all
            shown = looking.batch(made["id"])
            assert (shown["status"], shown["request_counts"]["completed"]) == ("in_progress", 0)
            time.sleep(0.05)
    assert f"batch {made['id']}: cancelled, 120 pairs" in run("batches", "cancel", made["id"])
    assert run_json("batches", "show", made["id"])["request_counts"]["completed"] == 0


CONFIG = """
[judges.dear]
kind = "openai"
base_url = "http://127.0.0.1:9/v1"
model = "judge-8b"
price_input = 2.0
price_output = 8.0
[cascades.default]
judges = ["student", "dear"]
"""


def test_judges_are_listed_with_what_their_templates_use(folder: Path) -> None:
    (folder / "tribunal.toml").write_text(CONFIG)
    said = run("judges")
    assert "student: student, ready" in said
    assert "dear: openai, not ready" in said
    assert "model judge-8b" in said
    assert "2 USD a million tokens read, 8 written" in said
    assert "template pairwise, version 1, labels A, B" in said
    assert "pair uses close, conversation, criterion, open, responses" in said
    shown = run("judges", "show", "dear")
    assert "open: open(name): the tag that begins a section" in shown
    assert run_json("judges", "show", "dear")["template"]["variables"]["verdict"] == []
    names = {one["name"]: one["template"] and one["template"]["name"] for one in run_json("judges")}
    assert names == {"student": None, "dear": "pairwise"}
    assert "there is no judge 'dead'" in run("judges", "show", "dead", status=1)


@pytest.mark.parametrize("group", ["monitors", "queue", "calibrations", "datasets", "shadows"])
def test_a_group_without_a_verb_lists(group: str) -> None:
    named = run(group, "list", "--limit", "3")
    assert run(group, "--limit", "3") == named
    assert run("queue", "status") == run("queue")


def test_every_list_says_where_it_goes_on() -> None:
    for name in ("one", "two"):
        run("queue", "create", "rivers", "--name", name)
    assert "there are more: --after queue_" in run("queue", "list", "--limit", "1")
    assert "there are more" not in run("queue", "list")
