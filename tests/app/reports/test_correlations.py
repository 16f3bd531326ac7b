"""Correlations in agreement reports: of scored responses, over criteria, and of recorded votes."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import scipy

from tests.app.rows import upload

STATISTICS: dict[str, Any] = {
    "pearson": scipy.stats.pearsonr,
    "spearman": scipy.stats.spearmanr,
    "kendall": scipy.stats.kendalltau,
}
CRITERIA = ("overall", "wit")
MODELS = ("x", "y", "z")
PANDALM = Path(__file__).parents[4] / "shared" / "data" / "pandalm" / "pairs.jsonl"


def scored(prompts: int) -> list[dict[str, Any]]:
    """Responses with scores of two people by two criteria and the ratings of two judges."""
    rng = np.random.default_rng(3)
    rows = []
    for prompt in range(prompts):
        for model in MODELS:
            level = rng.integers(2, 9)
            human = [
                {"annotator": name, "criterion": criterion, "score": int(level + rng.integers(-1, 2))}
                for name in ("ann", "bob") for criterion in CRITERIA
            ]  # fmt: skip
            judges = {
                name: {"rating": float(level + rng.normal())}
                for name in ("alpha", "beta", "beta:wit")
            }
            rows.append({
                "prompt": f"Prompt {prompt}?", "response": f"{model} {prompt}", "model": model,
                "human": human, "judges": judges, "half": "even" if prompt % 2 == 0 else "odd",
            })  # fmt: skip
    return rows


async def report(client: httpx.AsyncClient, status: int = 200, **query: Any) -> Any:
    answer = await client.get("/v1/reports/agreement", params=query)
    assert answer.status_code == status, answer.text
    return answer.json()


def agrees(row: dict[str, Any], judge: Any, people: Any) -> None:
    for name, of in STATISTICS.items():
        assert row[name]["value"] == pytest.approx(of(judge, people).statistic, abs=1e-12)
        assert row[name]["low"] < row[name]["value"] < row[name]["high"]


async def test_people_and_judges_are_correlated_by_response(client: httpx.AsyncClient) -> None:
    rows = scored(8)
    dataset = await upload(client, "scored", rows)
    found = await report(client, dataset="scored", group_by="metadata.half")
    whole = found["correlations"]
    # each response counts once, though it stands in two pairs
    assert (found["pairs"], whole["responses"]) == (24, 24)
    people = {
        criterion: np.array([np.mean([one["score"] for one in row["human"]
                                      if one["criterion"] == criterion]) for row in rows])
        for criterion in CRITERIA
    }  # fmt: skip
    rated = {name: np.array([row["judges"][name]["rating"] for row in rows])
             for name in rows[0]["judges"]}  # fmt: skip
    by_name = {(*row["judges"], row["criterion"]): row for row in whole["by_response"]}
    agrees(by_name["alpha", "overall"], rated["alpha"], people["overall"])
    # a judge without a criterion stands for each; one with criteria answers by its own
    agrees(by_name["alpha", "wit"], rated["alpha"], people["wit"])
    agrees(by_name["beta", "wit"], rated["beta:wit"], people["wit"])
    both = (rated["alpha"] + rated["beta:wit"]) / 2
    agrees(by_name["alpha", "beta", "wit"], both, people["wit"])
    agrees(by_name["beta", None], rated["beta"] + rated["beta:wit"],
           people["overall"] + people["wit"])  # fmt: skip
    assert whole["weights"] == {"overall": 1.0, "wit": 1.0}
    moved = await report(client, dataset="scored", criterion=["overall=1", "wit=3"])
    [row] = [one for one in moved["correlations"]["by_response"]
             if one["judges"] == ["beta"] and one["criterion"] is None]  # fmt: skip
    agrees(row, rated["beta"] + 3 * rated["beta:wit"], people["overall"] + 3 * people["wit"])
    assert moved["id"] != found["id"]
    assert [part["correlations"]["responses"] for part in found["groups"]] == [12, 12]
    for wrong in ("style=1", "wit", "wit=-1", "wit=0"):
        refused = await report(client, 422, dataset="scored", criterion=wrong)
        assert refused["errors"][0]["loc"] == ["query", "criterion"]
    assert dataset["recorded_judges"] == ["alpha", "beta", "beta:wit"]


async def test_votes_are_correlated_with_recorded_verdicts(client: httpx.AsyncClient) -> None:
    if not PANDALM.is_file():
        pytest.skip(f"no {PANDALM}")
    rows = [json.loads(line) for line in PANDALM.read_text("utf-8").splitlines()[:300]]
    await upload(client, "real", rows)
    plain = await report(client, dataset="real")
    assert "correlations" not in plain
    found = (await report(client, dataset="real", include="correlations"))["correlations"]
    assert found["by_response"] == []
    votes, said = [], defaultdict(list)
    points = {"a": 1.0, "tie": 0.5, "b": 0.0}
    exported = await client.get("/v1/datasets/real/export")
    for line in exported.text.splitlines():
        row = json.loads(line)
        labels = [points[one["label"]] for one in row["human"] if one["criterion"] == "overall"]
        votes.append(np.mean(labels) if labels else np.nan)
        for judge in {one["judges"][0] for one in found["by_pair"]}:
            record = row["judges"].get(judge) or {}
            both = [p for order in record.get("annotators", []) for p in order[:2] if p is not None]
            p_a = record.get("p_a", np.mean(both) if both else np.nan)
            said[judge].append(np.nan if p_a is None else p_a)
    assert found["by_pair"]
    for row in found["by_pair"]:
        [judge] = row["judges"]
        x, y = np.array(said[judge]), np.array(votes)
        known = ~np.isnan(x) & ~np.isnan(y)
        assert row["n"] == known.sum() > 100
        agrees(row, x[known], y[known])


async def test_a_response_has_all_scores_of_its_pairs(client: httpx.AsyncClient) -> None:
    """Pairs that were not formed from single responses may each hold other scores of one response."""
    rng = np.random.default_rng(5)
    said: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    rows = []
    for number in range(30):
        prompt, models = (
            f"Prompt {number % 10}?",
            [("x", "y"), ("y", "z"), ("x", "z")][number // 10],
        )
        scores = rng.integers(1, 6, 2).tolist()
        for model, score in zip(models, scores, strict=True):
            said[prompt, model].append(score)
        rows.append({
            "id": f"p{number}", "prompt": prompt, "model_a": models[0], "model_b": models[1],
            "response_a": f"{models[0]} {prompt}", "response_b": f"{models[1]} {prompt}",
            "metadata": {"oracle_label_a": scores[0], "oracle_label_b": scores[1]},
            "judges": {"alpha": {"ratings": [float(ord(m) + number % 10) for m in models]}},
        })  # fmt: skip
    await upload(client, "several", rows)
    found = (await report(client, dataset="several", include="correlations"))["correlations"]
    assert found["responses"] == len(said) == 30
    [row] = found["by_response"]
    rated = [ord(model) + int(prompt[7:-1]) for prompt, model in said]
    agrees(row, rated, [np.mean(scores) for scores in said.values()])


@pytest.mark.parametrize(
    "odd", [10**400, -(10**400), True, "7"], ids=["large", "small", "truth", "text"]
)
async def test_a_score_that_no_float_holds_is_left_out(client: httpx.AsyncClient, odd: Any) -> None:
    rows = [
        {
            "id": f"p{n}", "prompt": f"Prompt {n}?", "response_a": f"a {n}", "response_b": f"b {n}",
            "metadata": {"oracle_label_a": n if n else odd, "oracle_label_b": 0.5 * n + 1},
            "judges": {"alpha": {"p_a": 0.5 + n / 20}},
        }
        for n in range(8)
    ]  # fmt: skip
    await upload(client, "odd", rows)
    found = await report(client, dataset="odd", include="correlations")
    assert found["correlations"]["responses"] == 15
