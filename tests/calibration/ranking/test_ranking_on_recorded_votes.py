"""Published leaderboards of public comparison data, and scores of another implementation."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable

import numpy as np
import pytest

from calibration.intervals import ClusterBootstrap
from calibration.labels import mean_sign
from calibration.ranking import Comparisons, Leaderboard, Method, RankingOptions, rank_models
from tests.calibration.recorded_votes import (
    battles,
    human_battles,
    human_counts,
    judge_battles,
    label_lines,
    pairs,
    reference,
    reference_table,
)
from tests.data_sets import data_dir

PRD_JUDGES = ["gpt4", "gpt35", "claude", "bard", "vicuna-13b"]
ORDERS = ("label_original", "label_swapped")
GOLDEN = ["simple", "food", "llmfao"]
NAMED_SCORE = {"left": 1.0, "right": 0.0, "tie": 0.5}


def mtbench_verdicts() -> Comparisons:
    lines = label_lines("mtbench_human", "gpt4_pair.jsonl")
    score = {"model_a": 1.0, "model_b": 0.0}
    return Comparisons.between(
        [line["model_a"] for line in lines],
        [line["model_b"] for line in lines],
        [score.get(line["winner"], 0.5) for line in lines],
    )


def by_prd_judge(judge: str) -> Callable[[], Comparisons]:
    return lambda: judge_battles(pairs("prd_vicuna80"), judge, *ORDERS)


TABLES: dict[str, Callable[[], Comparisons]] = {
    "mtbench_human: every human vote one battle (3355)": lambda: human_battles(
        pairs("mtbench_human")
    ),
    "mtbench_human: gpt4_pair.jsonl (2400)": mtbench_verdicts,
    "mtbench_human: GPT-4 verdicts on the 1814 human-labelled pairs": lambda: judge_battles(
        pairs("mtbench_human"), "gpt-4-pair", "label"
    ),
    "prd_vicuna80: every human vote one battle (1760)": lambda: human_battles(
        pairs("prd_vicuna80")
    ),
    **{
        f"prd_vicuna80: judge {name}, both orders (1600)": by_prd_judge(name) for name in PRD_JUDGES
    },
    "pandalm: every human vote one battle (2997)": lambda: human_battles(pairs("pandalm")),
    "pandalm: gpt-3.5-turbo verdicts, unparsed = tie (999)": lambda: judge_battles(
        pairs("pandalm"), "gpt-3.5-turbo", "label"
    ),
    "tulu_human: every human vote one battle (1141)": lambda: human_battles(pairs("tulu_human")),
}


@pytest.mark.parametrize("name", TABLES)
def test_bradley_terry_table(name: str) -> None:
    wanted = reference_table(name)
    found = {row.model: row for row in rank_models(TABLES[name]()).rows}
    assert set(found) == set(wanted)
    for model, row in found.items():
        assert row.strength == pytest.approx(wanted[model]["bt"], abs=5e-6)
        assert row.win_rate.value == pytest.approx(wanted[model]["win"], abs=1e-9)
        assert row.n == wanted[model]["games"]
        assert row.rating.value is not None
        elo = 400 / np.log(10) * row.rating.value
        assert elo == pytest.approx(wanted[model]["elo"], abs=0.01)


def golden_battles(name: str) -> tuple[Comparisons, list[str]]:
    """Comparisons of one golden file in file order, and their prompts (empty where none)."""
    with (data_dir() / "evalica_golden" / f"{name}.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    comparisons = Comparisons.between(
        [line["left"] for line in lines],
        [line["right"] for line in lines],
        [NAMED_SCORE[line["winner"]] for line in lines],
    )
    return comparisons, [line.get("prompt", "") for line in lines]


@pytest.mark.parametrize("name", GOLDEN)
@pytest.mark.parametrize(
    ("method", "tolerance"),
    [("counting", 1e-9), ("average_win_rate", 1e-12), ("bradley_terry", 1e-6), ("elo", 1e-9)],
)
def test_scores_of_another_implementation(name: str, method: Method, tolerance: float) -> None:
    with (data_dir() / "evalica_golden" / f"{name}-golden.csv").open(newline="") as file:
        lines = [line for line in csv.DictReader(file) if line["algorithm"] == method]
    board = rank_models(golden_battles(name)[0], RankingOptions(method=method))
    is_strength = method == "bradley_terry"
    found = {row.model: row.strength if is_strength else row.rating.value for row in board.rows}
    assert found == pytest.approx(
        {line["item"]: float(line["score"]) for line in lines}, abs=tolerance, rel=0
    )


def llmfao(judge: str | None) -> Leaderboard:
    rows = pairs("llmfao")
    if judge is None:
        return rank_models(human_battles(rows))
    return rank_models(judge_battles(rows, judge, "label"))


def published(table: str) -> dict[str, dict[str, float]]:
    text = (data_dir() / "llmfao" / "published_leaderboard.json").read_text(encoding="utf-8")
    loaded: dict[str, dict[str, float]] = json.loads(text)[table]
    return loaded


@pytest.mark.parametrize(
    ("judge", "table"),
    [(None, "crowd-comparisons.csv"), ("gpt-3.5-turbo-instruct", "gpt3-crowd-comparisons.csv")],
)
def test_llmfao_scores_and_order_are_the_published_ones(judge: str | None, table: str) -> None:
    wanted = published(table)
    found = llmfao(judge).rows
    assert [row.model for row in found] == sorted(wanted, key=lambda m: wanted[m]["rank"])
    scores = {row.model: row.strength for row in found}
    assert scores == pytest.approx({m: wanted[m]["score"] for m in wanted}, abs=5e-6, rel=0)
    assert {row.model: row.n for row in found} == {m: wanted[m]["pairs"] for m in wanted}


def test_llmfao_order_by_gpt4_is_the_published_one() -> None:
    wanted = published("gpt4-crowd-comparisons.csv")
    found = [row.model for row in llmfao("gpt-4").rows]
    assert found == sorted(wanted, key=lambda m: wanted[m]["rank"])


@pytest.mark.parametrize(("judge", "key"), [("gpt-4", "gpt4"), ("gpt-3.5-turbo-instruct", "gpt35")])
def test_llmfao_ranks_of_judge_and_people_correlate(judge: str, key: str) -> None:
    human = {row.model: row.rank for row in llmfao(None).rows}
    judged = {row.model: row.rank for row in llmfao(judge).rows}
    found = np.corrcoef([human[m] for m in human], [judged[m] for m in human])[0, 1]
    wanted = reference("llmfao", f"rank_correlation_human_{key}")
    assert found == pytest.approx(wanted.value, abs=wanted.tolerance)


def prd_win_rates(by: str) -> dict[str, float | None]:
    rows = pairs("prd_vicuna80")
    judges = PRD_JUDGES if by == "all" else [by]
    if by == "human":
        sides = np.array(["A", "B", "tie"])[mean_sign(human_counts(rows))]
        comparisons = battles(rows, enumerate(sides.tolist()))
    else:
        labels = [
            (i, row["judges"][judge][order])
            for i, row in enumerate(rows)
            for judge in judges
            for order in ORDERS
        ]
        comparisons = battles(rows, labels)
    board = rank_models(comparisons, RankingOptions(method="win_rate"))
    return {row.model: row.rating.value for row in board.rows}


@pytest.mark.parametrize("by", ["human", "all", *PRD_JUDGES])
def test_prd_win_rates(by: str) -> None:
    wanted = reference("prd_vicuna80", f"win_rate_{by}")
    assert prd_win_rates(by) == pytest.approx(wanted.value, abs=1e-12, rel=0)


def test_a_thousand_resamples_of_59_models_are_all_defined() -> None:
    comparisons, prompts = golden_battles("llmfao")
    board = rank_models(comparisons, None, ClusterBootstrap.over(prompts, np.random.default_rng(0)))
    assert board.n_resamples == 1000
    assert board.n_resamples_undefined == 0
    for row in board.rows:
        assert row.rating.low is not None
        assert row.rating.value is not None
        assert row.rating.high is not None
        assert row.rating.low < row.rating.value < row.rating.high
        assert row.rank_low <= row.rank <= row.rank_high


def test_mtbench_order_is_certain_between_distant_models() -> None:
    rows = pairs("mtbench_human")
    votes = [(i, vote["label"]) for i, row in enumerate(rows) for vote in row["human"]]
    questions = [rows[i]["question_id"] for i, _ in votes]
    boot = ClusterBootstrap.over(questions, np.random.default_rng(1))
    board = rank_models(battles(rows, votes), None, boot)
    assert [row.model for row in board.rows] == [
        "gpt-4", "claude-v1", "gpt-3.5-turbo", "vicuna-13b-v1.2", "alpaca-13b", "llama-13b",
    ]  # fmt: skip
    sets = [(row.rank_low, row.rank_high) for row in board.rows]
    assert sets == [(1, 1), (2, 3), (2, 3), (4, 4), (5, 5), (6, 6)]
