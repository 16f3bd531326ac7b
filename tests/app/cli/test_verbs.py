from __future__ import annotations

import atexit
import gc
import io
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from app.cli import app, main
from tests.app.rows import labelled_rows, ndjson

runner = CliRunner()
HALF = ["--judges", "cheap,dear", "--part", "calibration:0.5:0"]


@pytest.fixture(autouse=True)
def folder(folder: Path) -> Path:
    """An empty working folder: no server, no configuration, a database of its own."""
    (folder / "rivers.jsonl").write_bytes(ndjson(labelled_rows(300)))
    (folder / "few.jsonl").write_bytes(ndjson(labelled_rows(2)))
    return folder


def run(*arguments: str, status: int = 0, text: str | None = None) -> str:
    result = runner.invoke(app, list(arguments), input=text)
    assert result.exit_code == status, f"{result.output}\n{result.exception!r}"
    return result.stdout


def run_json(*arguments: str, status: int = 0) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(run(*arguments, "--json", status=status))
    return body


def test_the_main_job_in_process(folder: Path) -> None:
    assert run_json("import", "rivers.jsonl")["pairs"] == 300
    certificate = run_json("certify", "rivers", *HALF, "--target-agreement", "0.8")
    assert certificate["status"] == "certified"
    held = ("--calibration", certificate["id"], "--part", "test:0.5:0")
    batch = run_json("batch", "rivers", *held, "--results", "verdicts.ndjson")
    assert batch["request_counts"]["completed"] == 150
    assert len((folder / "verdicts.ndjson").read_text().splitlines()) == 150
    board = run_json("leaderboard", "rivers", "--source", "cascade", *held)
    assert {row["model"] for row in board["rows"]} == {"left", "right"}
    report = run_json("report", "rivers", *held)
    assert report["cascade"]["agreement"]["value"] > 0.7
    plan = run_json("plan", "rivers", "--judges", "cheap,dear", "--target-agreements", "0.8")
    assert len(plan["frontier"]) == 1


def test_a_certificate_for_other_traffic() -> None:
    run("import", "rivers.jsonl")
    traffic = ["--method", "weighted", "--traffic", "rivers", "--traffic-feature", "metadata.task"]
    asked = ["certify", "rivers", *HALF, "--target-agreement", "0.7", *traffic]
    certificate = run_json(*asked, "--max-ratio", "5")
    assert certificate["status"] == "certified"
    assert certificate["traffic"]["max_ratio"] == 5
    assert "assumed" in run(*asked).replace("\n", " ")
    result = runner.invoke(app, ["certify", "rivers", *HALF, "--traffic", "rivers"])
    assert result.exit_code == 1
    assert "method weighted" in result.stderr


def test_tables_for_people() -> None:
    assert "300 pairs" in run("import", "rivers.jsonl")
    out = run("certify", "rivers", "--judges", "cheap,dear", "--target-agreement", "0.8")
    assert "certified" in out
    assert "threshold" in out
    assert "Krippendorff" in run("report", "rivers").replace("\n", " ")
    assert "left" in run("leaderboard", "rivers")
    assert "labels needed" in run("plan", "rivers", "--judges", "cheap,dear")


def test_judge_reads_pairs_from_standard_input() -> None:
    pair = {"id": "x", "prompt": "Why?", "response_a": "Because of the rain.", "response_b": ""}
    out = run("judge", "-", "--json", text=json.dumps(pair))
    assert json.loads(out)["verdicts"][0]["judge"] == "student"
    assert "student" in run("judge", "-", text=json.dumps(pair))


def test_exit_status_3_where_nothing_is_certifiable(folder: Path) -> None:
    rows = labelled_rows(150, cheap=0.5, dear=0.55)
    (folder / "guesses.jsonl").write_bytes(ndjson(rows))
    run("import", "guesses.jsonl")
    out = run("certify", "guesses", "--judges", "cheap,dear", status=3)
    assert "not_certifiable" in out
    assert "No number of labels will do" in out.replace("\n", " ")
    named = out.split("certificate ")[1].split(":")[0]
    judged = " ".join(run("batch", "guesses", "--calibration", named, status=3).split())
    assert f"no judge was asked: {named} certifies nothing, so that every pair abstains" in judged
    posted = run("judge", "-", "--calibration", named, text=ndjson(rows[:1]).decode(), status=3)
    assert f"no judge was asked: {named}" in " ".join(posted.split())


def test_exit_status_4_where_lines_were_rejected(folder: Path) -> None:
    (folder / "bad.jsonl").write_bytes(ndjson(labelled_rows(3)) + b"{broken\n")
    out = run("import", "bad.jsonl", status=4)
    assert "line 4" in out


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["import", "nothing.jsonl"], 2),
        (["import", "-"], 2),
        (["certify", "nothing"], 1),
        (["certify", "x", "--part", "half"], 2),
        (["certify", "x", "--judges", "a", "--cascade", "b"], 2),
        (["plan", "x", "--target-agreements", "high"], 2),
        (["judge", "nothing.jsonl"], 2),
        (["no-such-verb"], 2),
        (["report", "nothing"], 1),
        (["judge", "few.jsonl", "--server", "http://127.0.0.1:9"], 1),
    ],
)
def test_what_is_wrong_is_said_and_has_a_status(arguments: list[str], status: int) -> None:
    result = runner.invoke(app, arguments)
    assert result.exit_code == status, result.output
    assert result.stderr
    assert "Traceback" not in result.stderr


def test_strict_says_which_lines_it_refuses(folder: Path) -> None:
    (folder / "bad.jsonl").write_bytes(ndjson(labelled_rows(3)) + b"{broken\n" * 23)
    result = runner.invoke(app, ["import", "bad.jsonl", "--strict"])
    assert result.exit_code == 1
    lines = result.stderr.splitlines()
    assert "23 rows were rejected" in lines[0]
    (reason,) = lines[1:]
    assert reason.startswith("  lines 4-26: not JSON: ")
    assert "lines 4-26: not JSON" in run("import", "bad.jsonl", status=4)


def test_reasons_for_which_rows_were_rejected_are_cut_off_and_counted(folder: Path) -> None:
    faulty = b"".join(b'{"prompt": %d}\n' % number for number in range(23))
    (folder / "bad.jsonl").write_bytes(ndjson(labelled_rows(3)) + faulty)
    lines = runner.invoke(app, ["import", "bad.jsonl", "--strict"]).stderr.splitlines()
    assert [line.split(":")[0] for line in lines[1:21]] == [f"  line {n}" for n in range(4, 24)]
    assert lines[21:] == ["  and 3 more"]


def test_what_is_wrong_with_a_file_comes_before_the_formats_there_are(folder: Path) -> None:
    (folder / "odd.jsonl").write_text('{"question": "?", "answer": "!"}\n')
    lines = runner.invoke(app, ["import", "odd.jsonl"]).stderr.splitlines()
    assert "no known format: 'question', 'answer'" in lines[0]
    assert "known formats, by their fields:" in lines[1:3]
    assert "  reward_bench: prompt, chosen, rejected" in lines


def test_a_file_of_labels_alone_is_sent_to_the_verb_that_adds_them(folder: Path) -> None:
    (folder / "labels.csv").write_text("id,label\np0,a\np1,b\n")
    result = runner.invoke(app, ["import", "labels.csv", "--name", "rivers"])
    assert result.exit_code == 1
    assert "`tribunal label DATASET FILE`" in result.stderr.splitlines()[0]


def test_an_address_needs_no_scheme() -> None:
    result = runner.invoke(app, ["report", "x"], env={"TRIBUNAL_SERVER": "127.0.0.1:9"})
    assert result.exit_code == 1
    assert "no server answers at http://127.0.0.1:9" in result.stderr


@pytest.mark.parametrize("address", ["ftp://x", "http://", "http://a:nan"])
def test_what_is_no_address_is_bad_usage(address: str) -> None:
    result = runner.invoke(app, ["report", "x", "--server", address])
    assert result.exit_code == 2
    assert result.stderr.startswith(f"tribunal: {address!r} is not the address of a server")


def test_in_process_no_key_is_needed_where_keys_exist() -> None:
    run("keys", "create", "ci")
    assert run_json("import", "rivers.jsonl")["pairs"] == 300


def test_judges_that_failed_are_shown_beside_certificate_and_batch(folder: Path) -> None:
    rows = labelled_rows(100)
    for row in rows[:7]:
        row["judges"]["cheap"] = None
    (folder / "gaps.jsonl").write_bytes(ndjson(rows))
    run("import", "gaps.jsonl")
    judges = ("gaps", "--judges", "cheap,dear")
    certified = run("certify", *judges, "--target-agreement", "0.6")
    assert re.search(r"cheap failed on \d+ of \d+ pairs", certified)
    out = run("batch", *judges, "--results", "verdicts.ndjson", status=4)
    assert "a judge failed on 7 pairs" in out
    assert "cheap failed on 7 of 100 pairs; the first: " in out
    verdicts = [json.loads(line) for line in (folder / "verdicts.ndjson").read_text().splitlines()]
    assert sum(any(t["failure"] for t in v["tiers"]) for v in verdicts) == 7
    batch = run_json("batch", *judges, status=4)
    assert batch["judge_failures"]["pairs"] == 7
    assert batch["judge_failures"]["judges"]["cheap"]["failed"] == 7


@pytest.mark.parametrize(
    "arguments",
    [
        ["batch"],
        ["batch", "x", "--resume", "batch_1"],
        ["batch", "--resume", "batch_1", "--cascade", "default"],
        ["batch", "rivers", "--results", "no/such/folder/verdicts.ndjson"],
        ["certify"],
        ["certify", "--resume", "cal_1", "--seed", "3"],
    ],
)
def test_what_does_not_go_together_is_bad_usage(arguments: list[str], folder: Path) -> None:
    result = runner.invoke(app, arguments)
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("tribunal: ")
    assert not (folder / "cli.db").exists(), "it is refused before anything starts"


def test_results_that_cannot_be_written_leave_no_half_file(folder: Path) -> None:
    run("import", "rivers.jsonl")
    arguments = ["batch", "rivers", "--judges", "cheap", "--results", "/dev/full"]
    result = runner.invoke(app, arguments)
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == "tribunal: /dev/full: No space left on device"


def test_an_unknown_batch_cannot_be_resumed() -> None:
    result = runner.invoke(app, ["batch", "--resume", "batch_1/../x"])
    assert result.exit_code == 1
    assert "404" in result.stderr


def test_rows_that_are_not_json_or_not_text_are_named(folder: Path) -> None:
    (folder / "latin.jsonl").write_bytes(b'{"prompt": "\xe9"}\n')
    result = runner.invoke(app, ["judge", "latin.jsonl"])
    assert (result.exit_code, "not UTF-8" in result.stderr) == (2, True)
    (folder / "half.jsonl").write_text('{"prompt": "x"}\n{"prompt"\n')
    result = runner.invoke(app, ["judge", "half.jsonl"])
    assert (result.exit_code, "line 2" in result.stderr) == (2, True)


def test_a_report_by_slice_with_judges_beside_each_other() -> None:
    run("import", "rivers.jsonl")
    out = run("report", "rivers", "--group-by", "task", "--include", "judge_pairs")
    assert "task lakes" in out.replace("metadata.", "")
    assert "task rivers" in out.replace("metadata.", "")
    assert out.count("cheap / dear") == 3
    assert out.count("no pair has votes of two people") == 3
    assert "a person agrees" not in out


def test_a_judges_health_card_with_a_line_of_ones_own(folder: Path) -> None:
    run("import", "rivers.jsonl")
    page = folder / "card.html"
    moved = ("--line", "agreement=0.5", "--line", "kappa=off")
    card = run_json("report", "rivers", "--health", "dear", "--html", str(page), *moved)
    agreement = next(line for line in card["lines"] if line["name"] == "agreement")
    assert (agreement["line"], agreement["outcome"]) == (0.5, "pass")
    assert "kappa" not in [line["name"] for line in card["lines"]]
    assert page.read_text().startswith("<!doctype html>")
    assert "lines passed" in run("report", "rivers", "--health", "dear").replace("\n", " ")
    run("report", "rivers", "--line", "kappa=0.5", status=2)
    run("report", "rivers", "--health", "dear", "--line", "kappa", status=2)
    run("report", "rivers", "--health", "dear", "--line", "kapa=0.5", status=1)


def test_a_rule_without_a_promise_shows_no_thresholds_as_if_in_use() -> None:
    run("import", "rivers.jsonl")
    rule = ("--judges", "cheap,dear", "--method", "published_code")
    out = run("certify", "rivers", *rule, status=3)
    assert "it is no promise" in " ".join(out.split())
    assert "no thresholds passed" not in out
    table = [line for line in out.splitlines() if line.startswith(("cheap ", "dear "))]
    assert [line.split()[1:] for line in table] == [["-", "-"], ["-", "-"]]


def test_a_dataset_is_read_from_standard_input() -> None:
    rows = ndjson(labelled_rows(3))
    ended = CliRunner().invoke(app, ["import", "-", "--name", "typed", "--json"], input=rows)
    assert json.loads(ended.stdout)["pairs"] == 3


def test_the_program_says_its_version_and_spells_what_its_output_cannot_hold(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(out, "ascii", write_through=True))
    monkeypatch.setattr(sys, "argv", ["tribunal", "--version"])
    before = gc.get_threshold()
    try:
        with pytest.raises(SystemExit) as ended:
            main()
    finally:
        gc.set_threshold(*before)
        atexit.unregister(gc.freeze)
    assert ended.value.code == 0
    assert out.getvalue().startswith(b"tribunal ")
    sys.stdout.write("\u6771\n")
    assert out.getvalue().endswith(b"\\u6771\n")
