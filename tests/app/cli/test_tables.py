"""Tables of every kind of result, of answers that a small database does not give."""

from __future__ import annotations

from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest

from app.bodies import (
    batches,
    certificates,
    common,
    datasets,
    health,
    judgments,
    leaderboards,
    reports,
)
from app.cli.console import Console
from app.cli.tables import boards
from app.cli.tables import certificates as certificate_tables
from app.cli.tables import service as service_tables
from app.cli.tables import verdicts as verdict_tables
from app.cli.tables.layout import Screen, Table
from tests.app.described import body_of

Body = dict[str, Any]


def shown(render: Callable[[Screen, Any], None], body: Any) -> str:
    """Return what a table and the sentences around it say, its blanks as one each."""
    out = StringIO()
    render(Screen(out, has_edge=False), body)
    return " ".join(out.getvalue().split())


def about(value: float, low: float | None = None, high: float | None = None) -> Body:
    found: Body = body_of(common.Estimate, value=value, low=low, high=high, n=9)
    return found


def test_a_leaderboard_says_why_it_ranks_nothing_and_what_it_rests_on() -> None:
    row = body_of(leaderboards.ModelRow, model="m1", rank_text="1-2", pairs=4, distinct_pairs=2,
                  unresolved=1, unresolved_share=0.25)  # fmt: skip
    silent = body_of(leaderboards.ModelRow, model="m2", pairs=4, distinct_pairs=4)
    style = body_of(leaderboards.CoefficientBody, name="length", estimate=about(0.5), scale=120)
    body = body_of(
        leaderboards.LeaderboardBody,
        id="lb_1", rows=[row, silent], rankable=False, not_rankable_because="two islands",
        coefficients=[style], promise="certified", notes=["few pairs"],
        rests_on=body_of(leaderboards.LeaderboardGround, label_set_hash="0123456789abcdef01"),
        certificate_now={"id": "cal_1", "status": "certified", "revoked_at": "2026-01-01T00:00"},
        groups=[body_of(leaderboards.SliceStandings, group="maths", error="one model", failed=3)],
    )  # fmt: skip
    said = shown(boards.leaderboard, body)
    for words in (
        "not rankable: two islands", "no verdict", "1 (25.0%)", "0 (-)", "length: .500",
        "difference of 120", "maths not rankable: one model left out: 3 failed",
        "certificate cal_1: revoked now; promise certified",
        "fingerprint of its labels: 0123456789abcdef (boards on the same labels have the same)",
        "note: few pairs",
    ):  # fmt: skip
        assert words in said
    tested = body_of(leaderboards.RankingTest, model_pairs=1, told_apart=1)
    plain = body_of(leaderboards.LeaderboardBody, rankable=True, rows=[silent], method="elo",
                    options={"k": 4, "start": 1000, "scale": 100}, ranking_test=tested)  # fmt: skip
    said = shown(boards.leaderboard, plain)
    assert "labels" not in said
    assert "rating: Elo points, in the order of the rows; a lead of 100 means ten points" in said
    assert "The two models certainly differ." in said
    more = {**plain, "ranking_test": {**tested, "model_pairs": 3}, "method": "bradley_terry"}
    said = shown(boards.leaderboard, more)
    assert "Of 3 couples of models, 1 certainly differ" in said
    assert "rating: log-odds of winning, 0 on average" in said


def test_a_comparison_names_models_that_came_and_went() -> None:
    changed = body_of(leaderboards.ModelChange, model="m", rank_before=1, rank_after=2)
    body = body_of(
        leaderboards.LeaderboardComparisonBody,
        rows=[changed], entered=["new"], left=["old", "older"],
        not_comparable_because="the methods differ",
        differs=[body_of(leaderboards.LeaderboardDifference, what="method")],
    )  # fmt: skip
    said = shown(boards.comparison, body)
    for words in ("entered: new", "left: old, older", "note: the methods differ",
                  "differs: method", "1 -> 2 no"):  # fmt: skip
        assert words in said


def test_a_report_shows_what_it_holds_and_nothing_else() -> None:
    judge = body_of(reports.JudgeFigures, judge="j", agreement=about(0.8))
    related = body_of(reports.CorrelationFigures, judges=["j", "k"], n=7, pearson=about(0.5))
    pair = body_of(reports.JudgePairFigures, judges=["j", "k"], agreement=about(0.9),
                   agreement_three_way=about(0.7), cohens_kappa_three_way=about(0.6))  # fmt: skip
    cascade = body_of(reports.CascadeFigures, coverage=about(0.75), composition={"j": 1.0})
    held = body_of(reports.AbstentionFigures, human_agreement_answered=about(0.9), p_value=0.04)
    human = body_of(reports.HumanFigures)
    part = body_of(reports.SliceFigures, group="maths", human=human, judges=[judge],
                   judge_pairs=[pair], cascade=cascade, abstention=held)  # fmt: skip
    body = body_of(
        reports.ReportBody, status="completed", id="rep_1", pairs=9, human=human, judges=[],
        correlations=body_of(reports.CorrelationsBody, by_response=[related]), cascade=cascade,
        abstention=None, groups=[part, {**part, "judge_pairs": None, "cascade": None}],
        group_by="task",
    )  # fmt: skip
    said = shown(boards.report, body)
    for words in (
        "correlation with people's mean score, by response judge criterion n Pearson",
        "j + k over criteria 7 .500", "cascade: coverage .750", "answered by j 100.0%",
        "task maths: 0 pairs; no pair has votes of two people", "j / k", "where it abstains", "(p 0.04)",
    ):  # fmt: skip
        assert words in said
    assert "by pair" not in said
    # the whole has no figures of judges: their table begins with the first slice
    assert said.index("task maths") < said.index("judge both decided agreement")


def test_a_report_says_of_how_many_pairs_a_judge_and_people_agree() -> None:
    judge = body_of(
        reports.JudgeFigures, judge="j", n=300, neither=97, agreement={**about(0.9375), "n": 176},
        ceiling_where_decided=body_of(
            reports.CeilingFigures, judge=about(0.95), people=about(0.875), difference=about(0.075)
        ),
    )  # fmt: skip
    human = body_of(
        reports.HumanFigures,
        percent_agreement={**about(50 / 88), "n": 88},
        percent_agreement_without_ties={**about(29 / 38), "n": 38},
        plurality={"a": 141, "b": 67, "tie": 106, "none": 18},
    )
    body = body_of(reports.ReportBody, id="rep_1", pairs=332, human=human, judges=[judge],
                   cascade=None, groups=[])  # fmt: skip
    said = shown(boards.report, body)
    for words in (
        "people agree on 29 of 38 couples of votes for a or b (.763), "
        "on 50 of 88 couples of votes (.568) with ties as a class",
        "a or b on 208 pairs, call 106 a tie, no majority on 18",
        "j agrees on 165 of 176 pairs that both decided (.938); a tie or no preference on 97 of its "
        "300 verdicts; no verdict on 32 pairs",
        "judge votes judge agrees a person agrees difference j 9 .950 .875 .075",
    ):
        assert words in said
    known = body_of(reports.CascadeFigures, pairs=0, excluded_calibration_pairs=332)
    said = shown(boards.report, {**body, "cascade": known})
    assert "the certificate was made from all these pairs (332), so none is left" in said
    # reports of earlier versions have the old figures alone
    for name in ("plurality", "percent_agreement_without_ties"):
        del human[name]
    del judge["neither"]
    old = shown(boards.report, body)
    assert "people agree on 50 of 88 couples of votes (.568) with ties as a class; Kripp" in old
    assert "both decided (.938); no verdict on 32 pairs" in old


def test_a_health_card_of_no_data_says_so() -> None:
    line = body_of(health.HealthLine, title="agreement")
    counts = {"pass": 0, "fail": 0, "not_enough_evidence": 0}
    body = body_of(health.HealthCardBody, judge="j", outcome="not_enough_evidence", counts=counts,
                   not_judged="no pair was judged: run a batch", lines=[line])  # fmt: skip
    said = shown(boards.health, body)
    assert "no data: no pair was judged: run a batch" in said
    assert "agreement - >= .000 no data 0" in said
    assert "0 open (not enough evidence), 1 without data" in said
    why = {**body, "not_judged": None, "lines": [{**line, "needs": "pairs with labels"}]}
    assert "agreement: no data; it takes pairs with labels" in shown(boards.health, why)
    one = {**line, "figure": about(1.0), "outcome": "not_enough_evidence", "remark": "1 person"}
    said = shown(boards.health, {**why, "lines": [one]})
    assert "agreement 1.000 >= .000 open 9 agreement: 1 person" in said


def verdict(**given: Any) -> Body:
    found: Body = body_of(judgments.VerdictBody, promise="none", **given)
    return found


def test_verdicts_say_what_a_reader_may_miss() -> None:
    orders = {"a_first": 1.0, "a_second": 0.25}
    flipped = body_of(judgments.TierBody, judge="j", orders=orders, flags=["no_logprobs"])
    failed = body_of(judgments.TierBody, judge="k", p_a=None)
    leans = [body_of(judgments.TierBody, judge=name, p_a=p) for name, p in (("j", 0.4), ("k", 0.9))]
    body = body_of(
        judgments.JudgmentsBody,
        verdicts=[
            verdict(id="p0", tiers=leans, label="a", judge="k", confidence=0.857),
            verdict(id="p1", tiers=[flipped], label="a", judge="j"),
            {**verdict(id="p2", tiers=[failed], calibration_pair=True), "promise": "certified"},
        ],
        suspended_because="an alarm", calibration_pairs=1,
    )  # fmt: skip
    failures = {"pairs": 1, "judges": {"k": {"asked": 2, "failed": 1, "first_reason": "slow"}}}
    said = shown(verdict_tables.verdicts, {**body, "judge_failures": failures})
    for words in (
        "p0: k says a and j b: together a at 86%", "p1: j flipped: a first 1.00, second .25", "no_logprobs: the judge's server gave no",
        "the promise does not apply to this pair", "suspended: an alarm", "a judge failed on 1 pairs",
        "k failed on 1 of 2 pairs; the first: slow", "calibration pair",
    ):  # fmt: skip
        assert words in said


def test_of_a_running_batch_its_speed_its_judges_and_its_providers_are_shown() -> None:
    tier = body_of(batches.JudgeProgress, judge="j", asked=4, accepted=3, failed=1, cost_usd=None,
                   reasons=3, reasons_contradicting=2, reasons_failed=1, cut_off=2)  # fmt: skip
    quiet = body_of(batches.JudgeProgress, judge="k", cost_usd=0.5)
    files = [
        body_of(batches.ProviderBatchBody, judge="j", status=status, questions=5, answered=n,
                error=error)
        for n, (status, error) in enumerate([("completed", None), ("failed", "no quota")])
    ]  # fmt: skip
    progress = body_of(batches.Progress, pairs_per_second=2.5, seconds_left=300.0,
                       tiers=[tier, quiet], at_providers=files)  # fmt: skip
    body = body_of(batches.BatchBody, status="in_progress", progress=progress, known_usd=0.25)
    said = shown(verdict_tables.batch, body)
    for words in (
        "cost at least 0.2500 USD", "2.5 pairs a second, 5 min left",
        "judge asked answered failed USD j 4 3 1 unknown k 0 0 0 0.5000",
        "at the provider of j: 2 files (completed, failed), 1 of 10 questions answered, 0 left out",
        "its last file: no quota",
        "j: 3 reasons, 2 contradict their verdict, 1 did not come",
        "a worker stopped while j was asked about 2 pairs",
    ):  # fmt: skip
        assert words in said
    for seconds, told in ((90.0, "90 s left"), (9_000.0, "2.5 h left"), (None, "a second")):
        begun = {**progress, "seconds_left": seconds, "tiers": []}
        said = shown(verdict_tables.batch, {**body, "progress": begun})
        assert told in said
        assert "judge asked" not in said
    waiting = {**progress, "pairs_per_second": None, "at_providers": files[:1]}
    said = shown(verdict_tables.batch, {**body, "progress": waiting})
    assert "a second" not in said
    assert "its last file" not in said


def test_an_estimate_says_how_much_is_known_of_each_number() -> None:
    def judge(name: str, basis: str, cost: Body | None) -> Body:
        found: Body = body_of(
            batches.JudgeEstimateBody, judge=name, basis=basis, pairs=about(4, 4, 4), cost_usd=cost
        )
        return found

    unknown = {**about(0, 1, 2), "value": None}
    judges = [judge("j", "unknown", None), judge("k", "prices", unknown),
              judge("l", "stored_scores", about(1, 0.5, 2))]  # fmt: skip
    body = body_of(batches.BatchEstimateBody, pairs=9, looked_at=5, judges=judges)
    said = shown(verdict_tables.batch_estimate, body)
    for words in (
        "9 pairs; 0 of 5 looked at cost nothing", "j 0 4 unknown unknown unknown unknown",
        "1.0000 to 2.0000", "1.0000 (0.5000 to 2.0000)", "j: it has no price and no stored scores",
        "k: it has no stored scores here", "cost: unknown USD; nothing was started",
    ):  # fmt: skip
        assert words in said
    assert "l: it" not in said


def test_a_preview_names_judges_and_rejected_rows() -> None:
    body = body_of(datasets.PreviewBody, recorded_judges=["gpt"], rejected_count=1,
                   rejected=[{"line": 3, "reason": "id: is missing"}])  # fmt: skip
    said = shown(certificate_tables.preview, body)
    assert "recorded judges: gpt" in said
    assert "line 3: id: is missing" in said


def test_a_certificate_tells_what_its_promise_is_on() -> None:
    part = {"status": "pending", "revoked_at": None}
    body = body_of(certificates.CertificateBody, id="cal_1", **part)
    assert shown(certificate_tables.certificate, body) == "certificate cal_1: pending"
    figures = body_of(certificates.CalibrationFigures, answered=4.0, error_upper_bound=0.05,
                      level=0.1, agreement_lower_bound=None)  # fmt: skip
    panel = body_of(certificates.PanelFigures, two_votes=9, split=2, assumption="tested")
    made = {**body, "status": "certified", "claim": "It holds.", "thresholds": [],
            "calibration": figures, "method": "auto"}  # fmt: skip
    said = shown(certificate_tables.certificate, {**made, "scope": "dataset", "panel": panel})
    assert "wrong on at most 5.0% of all pairs with confidence 90%" in said
    assert "a panel by two votes on 9 pairs, 2 of them split" in said
    assert "rests" not in said
    said = shown(certificate_tables.certificate, made)
    assert "and nothing shows a least agreement" in said
    assert "a panel" not in said


def test_a_plan_for_a_whole_dataset_says_what_coverage_means() -> None:
    row = body_of(certificates.FrontierRow, scope="dataset", max_error=0.1, saving=0.5,
                  labels_needed=200)  # fmt: skip
    said = shown(certificate_tables.plan, body_of(certificates.PlanBody, frontier=[row]))
    assert "the share answered is the share of labels that people are saved" in said


def test_judges_are_shown_with_what_they_have() -> None:
    ready = body_of(common.ComponentHealth, ready=True)
    bare = body_of(judgments.JudgeBody, name="student", kind="student", health=ready)
    assert shown(service_tables.judge, bare) == "student: student, ready"
    priced = {**bare, "model": "m-1", "price_input": 1.5, "price_output": 3.0}
    said = shown(service_tables.judge, priced)
    assert "model m-1 1.5 USD a million tokens read, 3 written" in said


def test_a_try_of_a_judge_that_rates_shows_its_ratings() -> None:
    tried = body_of(judgments.TriedBody, judge="j", ratings={"a": 4.0, "b": 2.5}, tau=0.5,
                    flags=["no_logprobs"])  # fmt: skip
    said = shown(service_tables.tried, tried)
    assert "rated: a 4.000, b 2.500; tau 0.5, so that p_a is sigmoid((a - b) / 0.5)" in said
    assert "flags: no_logprobs" in said
    assert "flags" not in shown(service_tables.tried, {**tried, "flags": [], "tau": None})


def test_keys_say_when_they_ended() -> None:
    key = {"name": "n", "id": "key_1", "scopes": ["read"], "annotator": None, "last_used_at": None,
           "revoked_at": "2026-02-03T04:05:06", "expires_at": None}  # fmt: skip
    said = shown(service_tables.keys, [key, {**key, "revoked_at": None}])
    assert "key_1 read - revoked 2026-02-03" in said
    assert said.endswith("key_1 read - -")


def test_a_table_that_is_made_wrongly_is_a_fault_of_the_program() -> None:
    with pytest.raises(ValueError, match="no such columns: name, other"):
        Table("name", "pairs", drops=("name", "other"))
    table = Table("name", "pairs")
    with pytest.raises(ValueError, match="2 cells are expected, not 1"):
        table.add_row("one")


def test_long_sentences_and_empty_tables_fit_a_narrow_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    out = StringIO()
    screen = Screen(out, has_edge=True)
    screen.print("a sentence of several words that is too long for one line")
    table = Table("the name of a model", "the number of pairs", drops=("the number of pairs",))
    screen.print(table)
    wide = Table("the name of a model", "the number of its pairs")
    screen.print(wide)
    assert max(map(len, out.getvalue().splitlines())) <= 20
    assert "left out, because 20" in out.getvalue()
    assert "one line for each column" not in out.getvalue()


def test_a_result_is_json_where_it_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    Console(True).show({"n": 1}, lambda screen, body: screen.print("a table"))
    Console(False).show({"n": 1}, lambda screen, body: screen.print("a table"))
    assert capsys.readouterr().out == '{\n  "n": 1\n}\na table\n'
