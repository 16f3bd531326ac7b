from __future__ import annotations

import json
from dataclasses import replace

import pytest

from benchmarks.__main__ import main
from benchmarks.catalogue import BENCHMARKS
from benchmarks.measuring import Baseline, Benchmark, Contender, Ratio, ResultsDiffer, measure
from benchmarks.statistics.memos import forget
from benchmarks.table import in_words, table
from calibration.binomial import unconditional_critical_errors

SUM = Benchmark(
    "the sum of 100 numbers",
    Baseline("sum", lambda: sum(range(100))),
    (Contender("half the product", lambda: 99 * 100 // 2, lambda ours, theirs: ours == theirs),),
)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark_runs_and_agrees_with_its_baseline(name: str) -> None:
    prepared = BENCHMARKS[name](is_small=True)
    ratios = measure(prepared, repeats=1)
    assert [one.contender for one in ratios] == [one.name for one in prepared.contenders]
    assert all(0 < one.lowest <= one.ratio <= one.highest for one in ratios)


def test_another_result_than_the_baseline_is_refused() -> None:
    wrong = replace(SUM.contenders[0], run=lambda: 4951)
    with pytest.raises(ResultsDiffer, match="half the product and sum disagree"):
        measure(replace(SUM, contenders=(wrong,)), repeats=1)


def test_work_before_a_round_is_done_in_every_round() -> None:
    done: list[str] = []
    watched = replace(
        SUM.contenders[0], before=lambda: done.append("before"), run=lambda: done.append("run"),
        agrees=lambda *_: True, loops=2,
    )  # fmt: skip
    measure(replace(SUM, contenders=(watched,)), repeats=2)
    assert done == ["run", *["before", "run", "run"] * 2]


def test_forgetting_empties_the_memo_of_critical_counts() -> None:
    unconditional_critical_errors(50, 0.2, 0.1)
    assert unconditional_critical_errors.cache_info().currsize > 0
    forget()
    assert unconditional_critical_errors.cache_info().currsize == 0


def test_the_table_says_how_many_times_faster_or_as_long() -> None:
    rows = table([Ratio("work", "ours", "theirs", 0.0005, 0.0004, 0.0006, 5, 0.001)]).splitlines()
    assert [cell.strip() for cell in rows[2].strip("|").split("|")] == [
        "work", "ours", "theirs", "0.0005", "2,000 times faster", "0.0004 .. 0.0006", "<= 0.001",
    ]  # fmt: skip
    assert in_words(12.3) == "12 times as long"


def test_the_command_prints_one_row_a_contender_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--only", "krippendorff", "--small", "--repeats", "1", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {row["name"] for row in rows} == {"krippendorff"}
    assert [row["wanted"] for row in rows] == [1, None]


def test_an_unknown_benchmark_is_bad_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--only", "nothing"])
    assert "invalid choice: 'nothing'" in capsys.readouterr().err
