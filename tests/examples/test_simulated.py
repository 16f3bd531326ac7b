"""The labels follow the severities; the recorded judges are as good as the README says."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from examples.flaws import Response
from examples.make_pairs import PAIRS_FILE
from examples.simulated import (
    CLOSE,
    COST_USD,
    FLIP_RATE,
    LARGE,
    SMALL,
    TIE_RATE,
    constructed_label,
    labels,
    large_judge,
)
from judges.records import score_from_record

Row = dict[str, Any]

README = (PAIRS_FILE.parent / "README.md").read_text(encoding="utf-8")


def difference(row: Row) -> int:
    severity = row["metadata"]["severity"]
    return int(severity["b"] - severity["a"])


def plurality(row: Row) -> str | None:
    counts = Counter(human["label"] for human in row["human"]).most_common(2)
    return counts[0][0] if len(counts) == 1 or counts[0][1] > counts[1][1] else None


def accuracy_and_confidence(rows: list[Row], judge: str) -> tuple[float, float]:
    right, confidences = [], []
    for row in rows:
        p_a = score_from_record(judge, row["judges"][judge]).p_a
        if p_a is None or not difference(row):
            continue
        right.append((p_a > 0.5) == (difference(row) > 0))
        confidences.append(max(p_a, 1 - p_a))
    return float(np.mean(right)), float(np.mean(confidences))


def test_constructed_label_is_the_sign_of_the_severities(example_rows: list[Row]) -> None:
    for row in example_rows:
        sign = (difference(row) > 0) - (difference(row) < 0)
        assert row["metadata"]["constructed_label"] == {1: "a", 0: "tie", -1: "b"}[sign]


def test_three_different_annotators_label_each_pair(example_rows: list[Row]) -> None:
    for row in example_rows:
        names = [human["annotator"] for human in row["human"]]
        assert len(set(names)) == 3
        assert set(names) <= set(FLIP_RATE)
        assert {human["label"] for human in row["human"]} <= {"a", "b", "tie"}


@pytest.mark.parametrize("annotator", FLIP_RATE)
def test_annotator_flips_at_about_the_stated_rate(annotator: str, example_rows: list[Row]) -> None:
    rate = FLIP_RATE[annotator]
    clear = [row for row in example_rows if abs(difference(row)) > CLOSE]
    flips = [
        human["label"] != row["metadata"]["constructed_label"]
        for row in clear
        for human in row["human"]
        if human["annotator"] == annotator
    ]
    assert abs(np.mean(flips) - rate) < 3 * np.sqrt(rate * (1 - rate) / len(flips))


def test_ties_are_called_on_close_pairs_only(example_rows: list[Row]) -> None:
    close = [h["label"] for r in example_rows if abs(difference(r)) <= CLOSE for h in r["human"]]
    clear = [h["label"] for r in example_rows if abs(difference(r)) > CLOSE for h in r["human"]]
    assert "tie" not in clear
    assert abs(np.mean([label == "tie" for label in close]) - TIE_RATE) < 0.15


def test_majority_agrees_with_the_constructed_label(example_rows: list[Row]) -> None:
    agree = [
        plurality(row) == row["metadata"]["constructed_label"]
        for row in example_rows
        if difference(row) and plurality(row) in ("a", "b")
    ]
    assert f"on {np.mean(agree):.0%} of" in " ".join(README.split())


def test_neither_side_is_favoured_and_length_tells_little(example_rows: list[Row]) -> None:
    decided = [row for row in example_rows if plurality(row) in ("a", "b")]
    assert 0.45 < np.mean([plurality(row) == "a" for row in decided]) < 0.55
    longer_wins = [
        (len(row["response_a"]) > len(row["response_b"])) == (plurality(row) == "a")
        for row in decided
        if len(row["response_a"]) != len(row["response_b"])
    ]
    assert f"{np.mean(longer_wins):.2f}"[1:] + " of the decided" in " ".join(README.split())
    assert np.mean(longer_wins) < 0.65


def test_labels_rank_the_models_by_their_flaw_rate(example_rows: list[Row]) -> None:
    points: dict[str, list[float]] = {}
    for row in example_rows:
        for side in "ab":
            won = {side: 1.0, "tie": 0.5, None: 0.5}.get(plurality(row), 0.0)
            points.setdefault(row[f"model_{side}"], []).append(won)
    ranked = sorted(points, key=lambda model: -float(np.mean(points[model])))
    assert ranked == ["alder-large", "birch-medium", "cedar-small", "dogwood-tiny"]


@pytest.mark.parametrize(("judge", "low", "high"), [(SMALL, 0.7, 0.8), (LARGE, 0.89, 0.95)])
def test_recorded_judge_is_as_accurate_as_the_readme_says(
    judge: str, low: float, high: float, example_rows: list[Row]
) -> None:
    accuracy, confidence = accuracy_and_confidence(example_rows, judge)
    assert low < accuracy < high
    assert abs(confidence - accuracy) < 0.03
    assert f"{accuracy:.3f}"[1:] in README
    assert f"{confidence:.3f}"[1:] in README


@pytest.mark.parametrize("judge", [SMALL, LARGE])
def test_confident_half_is_the_more_accurate_one(judge: str, example_rows: list[Row]) -> None:
    scored = [
        (p_a, difference(row) > 0)
        for row in example_rows
        if difference(row)
        and (p_a := score_from_record(judge, row["judges"][judge]).p_a) is not None
    ]
    scored.sort(key=lambda pair: -abs(pair[0] - 0.5))
    right = [(p_a > 0.5) == is_a for p_a, is_a in scored]
    half = len(right) // 2
    assert np.mean(right[:half]) > np.mean(right[half:]) + 0.05


def test_small_judge_leans_to_the_first_response_and_sometimes_fails(
    example_rows: list[Row],
) -> None:
    records = [row["judges"][SMALL] for row in example_rows]
    failed = sum(record is None for record in records)
    assert f"| failures (`null`) | {failed} |" in README
    assert 0 < failed < 0.03 * len(records)
    for record in records:
        if record is not None:
            assert len(record["annotators"]) == 3
            assert all(first > second for first, second in record["annotators"])


@pytest.mark.parametrize("judge", [SMALL, LARGE])
def test_recorded_scores_have_a_cost_and_a_preference(judge: str, example_rows: list[Row]) -> None:
    for row in example_rows:
        score = score_from_record(judge, row["judges"][judge])
        if score.failure is None:
            assert score.p_a != 0.5
            assert score.cost_usd == COST_USD[judge]
            assert score.usage.prompt > 0
            assert score.seconds is not None


def test_large_judge_is_right_as_often_as_it_is_confident() -> None:
    rng = np.random.default_rng(7)
    good, spoilt = Response("yes", None), Response("", "empty")
    wrong = Response("no", "wrong_fact")
    drawn = [
        large_judge(good, flawed, 20, rng)["p_a"]
        for flawed in (spoilt, wrong, Response("yes yes", "padding"))
        for _ in range(2_000)
    ]
    confidence = np.maximum(drawn, 1 - np.array(drawn))
    assert abs(np.mean(np.array(drawn) > 0.5) - confidence.mean()) < 0.02


def test_responses_without_a_flaw_are_a_tie_and_draw_both_labels() -> None:
    rng = np.random.default_rng(3)
    one, other = Response("yes", None), Response("it is", None)
    assert constructed_label(one, other) == "tie"
    seen = Counter(h["label"] for _ in range(200) for h in labels(one, other, rng))
    assert seen["tie"] > seen["a"] > 0
    assert 0.6 < seen["a"] / seen["b"] < 1.6
