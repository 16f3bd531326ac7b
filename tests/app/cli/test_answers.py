"""Verbs on answers of a server that take a stored past, money or people: words and exit statuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from app.bodies import (
    batches,
    certificates,
    common,
    finishes,
    judgments,
    monitors,
    queues,
    shadows,
)
from app.cli import app
from tests.app.described import body_of
from tests.app.rows import labelled_rows, ndjson

Answers = dict[str, Any]


@pytest.fixture(autouse=True)
def _as_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRIBUNAL_OUTPUT", "table")


def run(*arguments: str, status: int = 0, typed: str | bytes | None = None) -> str:
    """Return what a verb says on both outputs, its blanks as one each."""
    ended = CliRunner().invoke(app, list(arguments), input=typed)
    assert isinstance(ended.exception, SystemExit | None), ended.exception
    assert ended.exit_code == status, ended.output
    return " ".join(ended.output.split())


def page(*data: Any, has_more: bool = False) -> Any:
    body = {"object": "list", "data": list(data), "first_id": None, "last_id": "x_9"}
    return {**body, "has_more": has_more}


def about(value: float | None, n: int = 3) -> Any:
    return body_of(common.Estimate, value=value, n=n)


@pytest.mark.parametrize(
    ("state", "exits", "words"),
    [
        ({"status": "sampling", "queue": "q_1"}, 0, "go on: tribunal finish --resume fin_1"),
        ({"status": "completed", "unfinishable": 2}, 0, "2 rows have neither texts nor a label"),
        ({"status": "not_certifiable", "calibration": "cal_1"}, 3, "certificate cal_1: at most"),
        ({"status": "failed", "error": "no judge answers"}, 1, "tribunal: no judge answers"),
        ({"status": "failed"}, 1, "tribunal: the finish failed"),
    ],
)
def test_a_finish_says_how_it_stands(
    answers: Answers, state: dict[str, Any], exits: int, words: str
) -> None:
    answers["GET /v1/finishes/fin_1"] = body_of(finishes.FinishBody, id="fin_1", **state)
    said = run("finish", "--resume", "fin_1", status=exits)
    assert words in said
    assert ("label: tribunal queue label q_1" in said) is ("queue" in state)


def test_a_finish_is_asked_for_or_gone_on_with() -> None:
    for words, reason in (
        (("--resume", "fin_1", "--max-error", "0.1"), "--resume: what was asked is stored"),
        (("rivers", "--max-error", "0.1", "--retry"), "--retry and --people go with --resume"),
    ):
        assert reason in run("finish", *words, status=2)


def test_shadows_say_what_a_promotion_would_change(answers: Answers) -> None:
    one = body_of(
        shadows.ShadowBody, id="sh_1", judges=["new"], coverage_change=about(0.25),
        labels_needed=80, notes=["few prompts"], error="its server is away",
    )  # fmt: skip
    enough = body_of(shadows.ShadowBody, id="sh_2", enough=True)
    answers["GET /v1/shadows"] = page(one, enough)
    said = run("shadows", "list")
    for words in ("coverage would change by .250", "not enough to say yet; about 80 labels",
                  "few prompts its server is away", "shadow sh_2", "enough to say"):  # fmt: skip
        assert words in said
    answers["POST /v1/shadows/sh_1/end"] = {**one, "status": "ended"}
    assert "sh_1 of : ended" in run("shadows", "end", "sh_1")


def test_a_monitor_shows_its_slices_and_its_canaries(answers: Answers) -> None:
    part = body_of(monitors.MonitorSlice, slice="maths", audits=4, e_value=30.0, is_alarmed=True)
    canaries = body_of(monitors.CanaryCounts, status="asking", asked=6, failed=1, e_value=1.5)
    body = body_of(monitors.MonitorBody, id="mon_1", slices=[part, {**part, "is_alarmed": False}],
                   canaries=canaries, webhook_secret="whsec_1", queue="q_1")  # fmt: skip
    answers["GET /v1/monitors/mon_1"] = body
    said = run("monitors", "show", "mon_1")
    for words in ("canaries asking: 6 answers compared, 1 failed, e-value 1.5",
                  "webhooks are signed with whsec_1", "maths 4 - 30 yes maths 4 - 30 no"):  # fmt: skip
        assert words in said


def test_queues_show_whose_labels_to_look_at(answers: Answers) -> None:
    person = body_of(queues.AnnotatorBody, annotator="ann", answered=9, weak=["always left"])
    people = body_of(queues.PeopleBody, percent_agreement=about(0.5), disagreed=2)
    body = body_of(queues.QueueBody, id="q_1", name="team", annotators=[person], people=people)
    answers["GET /v1/queues"] = page(body, has_more=True)
    said = run("queue", "status")
    for words in ("people agree on .500 of the pairs of votes", "2 pairs have votes that differ",
                  "look at the labels of ann: always left",
                  "there are more: tribunal queue list --after x_9"):  # fmt: skip
        assert words in said


def test_answers_of_another_tool_are_told_with_what_was_refused(
    answers: Answers, folder: Path
) -> None:
    body = body_of(queues.QueueImportBody, stored=1, warnings=["a control was not read"],
                   rejected=[{"line": 2, "reason": "no pair has this id"}])  # fmt: skip
    answers["POST /v1/queues/team/import"] = body
    lines = '{"id": 1}\n\n{"id": 2}\n'
    said = run("queue", "import", "team", "-", typed=lines, status=4)
    for words in ("a control was not read", "line 2: no pair has this id", "1 answers are new"):
        assert words in said
    answers["POST /v1/queues/team/import"] = {**body, "rejected": [], "warnings": []}
    (folder / "tasks.json").write_text('[{"id": 1}]')
    assert "tribunal:" not in run("queue", "import", "team", "tasks.json")
    assert "neither label_studio nor argilla" in run(
        "queue", "export", "team", "--format", "xml", status=2
    )


def test_a_batch_that_did_not_complete_is_a_failure(answers: Answers) -> None:
    counts = body_of(batches.RequestCounts, total=4, failed=4)
    failed = body_of(batches.BatchBody, id="b_1", status="failed", error="no disk",
                     request_counts=counts)  # fmt: skip
    answers["GET /v1/batches/b_1"] = failed
    answers["GET /v1/batches/b_1/results"] = b""
    said = run("batch", "--resume", "b_1", status=1)
    assert "the batch ended as failed: no disk" in said


def test_a_batch_of_files_counts_the_failures_of_its_sums(answers: Answers) -> None:
    tier = body_of(batches.JudgeProgress, judge="j", asked=4, failed=3)
    progress = body_of(batches.Progress, tiers=[tier])
    body = body_of(batches.BatchBody, id="b_1", status="completed", output="out", input_files=1,
                   progress=progress, also_running=["b_0"])  # fmt: skip
    answers["POST /v1/batches"] = answers["GET /v1/batches/b_1"] = body
    said = run("batch", "--input", "in/*.parquet", "--output", "out", "--judges", "j", status=4)
    assert "a judge failed on 3 pairs" in said
    assert "b_0 is asking the same judges about the same pairs" in said
    for words, reason in (
        (("--input", "x.parquet"), "--input and --output belong together"),
        (("--rows-per-part", "5"), "--rows-per-part needs --input and --output"),
        (("rivers", "--input", "x", "--output", "y"), "--input goes without dataset"),
        (("rivers", "--with", "texts"), "--with belongs to a file of verdicts"),
    ):
        assert reason in run("batch", *words, "--judges", "j", status=2)


def test_verdicts_of_a_batch_are_written_as_a_table(answers: Answers, folder: Path) -> None:
    done = body_of(batches.BatchBody, id="b_1", status="completed")
    answers["GET /v1/batches/b_1"] = done
    row = json.dumps(body_of(judgments.ResultBody, id="p0", label="a")).encode()

    def results(request: httpx.Request) -> bytes:
        return b"id,label\np0,a\n" if "csv" in request.headers["accept"] else row

    answers["GET /v1/batches/b_1/results"] = results
    run("batch", "--resume", "b_1", "--results", "verdicts.csv")
    assert (folder / "verdicts.csv").read_bytes().startswith(b"id,label")


def test_a_seed_of_a_budget_is_sent(answers: Answers) -> None:
    done = body_of(batches.BatchBody, id="b_1", status="completed")
    asked: list[Any] = []

    def created(request: httpx.Request) -> Any:
        asked.append(json.loads(request.content))
        return done

    answers["POST /v1/batches"], answers["GET /v1/batches/b_1"] = created, done
    answers["GET /v1/batches/b_1/results"] = b""
    run("batch", "rivers", "--judges", "j", "--budget-usd", "1", "--seed", "4")
    assert (asked[0]["budget_usd"], asked[0]["seed"]) == (1, 4)
    assert "need --budget-usd" in run("batch", "rivers", "--seed", "4", status=2)


def test_a_judgment_that_a_judge_failed_on_ends_with_4(answers: Answers, folder: Path) -> None:
    (folder / "two.jsonl").write_bytes(b"\n" + ndjson(labelled_rows(2)))
    failure = {"kind": "unavailable", "detail": "it is away"}
    tier = body_of(judgments.TierBody, judge="j", failure=failure)
    said = body_of(judgments.VerdictBody, id="p0", status="failed", tiers=[tier])
    body = body_of(judgments.JudgmentsBody, verdicts=[said])
    answers["POST /v1/judgments"] = body
    assert "a judge failed on 1 pairs" in run("judge", "two.jsonl", "--judges", "j", status=4)


def test_a_calibration_that_failed_says_why(answers: Answers) -> None:
    body = body_of(certificates.CertificateBody, id="cal_1", status="failed", error="no scores")
    answers["GET /v1/calibrations/cal_1"] = body
    assert "tribunal: no scores" in run("certify", "--resume", "cal_1", status=1)
    expired = {**body, "status": "certified", "expires_at": "2020-01-01T00:00:00Z"}
    answers["GET /v1/calibrations/cal_1"] = expired
    said = run("calibrations", "show", "cal_1")
    assert "certificate cal_1: expired" in said


def test_a_replay_shows_the_first_changes(answers: Answers) -> None:
    change = {"pair": "p0", "before": {"status": "accepted", "label": "a", "judge": "j"},
              "after": {"status": "abstained", "label": None, "judge": None}}  # fmt: skip
    changed = {"count": 12, "compared": 20, "pairs": [change] * 12}
    body = body_of(judgments.ReplayBody, pairs=20, changed=changed, cost_usd=1.5)
    answers["POST /v1/replays"] = body
    said = run("replay", "rivers")
    assert "it would have cost 1.5000 USD" in said
    assert "p0: accepted a -> abstained and 2 more" in said
    few = {**changed, "count": 1, "pairs": [change]}
    answers["POST /v1/replays"] = {**body, "cost_usd": None, "changed": few}
    assert "cost" not in run("replay", "rivers")


def test_an_experiment_says_which_rule_was_not_there(answers: Answers) -> None:
    row = body_of(certificates.ExperimentRow, rule="learned", target_agreement=0.9,
                  unavailable="too few labels", coverage=about(0.5),
                  agreement={**about(0.75), "low": 0.5, "high": 0.8})  # fmt: skip
    body = body_of(certificates.ExperimentBody, dataset="rivers", rows=[row, {**row, "rule": "x"}])
    answers["POST /v1/experiments"] = body
    said = run("experiment", "rivers", "--judges", "j")
    assert "learned 50.0 75.0 ±25.0 - - - -" in said
    assert "learned: too few labels" in said


def test_one_thing_of_a_server_is_shown(answers: Answers) -> None:
    answers["GET /v1/batches/b_1"] = body_of(batches.BatchBody, id="b_1", status="expired")
    assert "batch b_1: expired" in run("batches", "show", "b_1")
    assert "no /v1/batches/b_2" in run("batches", "show", "b_2", status=1)


def test_trusted_preferences_go_to_standard_output_with_their_terms(answers: Answers) -> None:
    card = {"object": "preferences_card", "summary": "2 pairs of batch b_1"}
    answers["GET /v1/batches/b_1/preferences"] = b'{"prompt": "q"}\n'
    answers["GET /v1/batches/b_1/preferences/card"] = card
    assert json.loads(json.dumps(card))["summary"] in run("export", "--trusted", "b_1")


def test_the_only_row_of_a_file_may_be_written_over_lines_or_alone(folder: Path) -> None:
    (folder / "broken.json").write_text('{"id": ')
    (folder / "two.jsonl").write_text('{"id": 1}\n{"id": 2}\n')
    for name, reason in (("broken.json", "Expecting value"), ("two.jsonl", "it holds 2 rows")):
        assert reason in run("judges", "try", "student", name, status=2)
