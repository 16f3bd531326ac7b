from __future__ import annotations

import csv
import json
from typing import Any

import httpx
import pytest

from tests.app.development_sets import reference, upload_set
from tests.data_sets import data_dir


async def rank(client: httpx.AsyncClient, name: str, **asked: Any) -> dict[str, Any]:
    body = {"dataset": name, "source": "human", **asked}
    answer = await client.post("/v1/leaderboards", json=body)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def column(made: dict[str, Any], name: str) -> dict[str, Any]:
    return {row["model"]: row[name] for row in made["rows"]}


async def test_mt_bench(client: httpx.AsyncClient) -> None:
    await upload_set(client, "mtbench_human")
    made = await rank(client, "mtbench_human")
    assert column(made, "strength") == pytest.approx(
        {
            "gpt-4": 0.340784,
            "claude-v1": 0.233447,
            "gpt-3.5-turbo": 0.223567,
            "vicuna-13b-v1.2": 0.115959,
            "alpaca-13b": 0.057309,
            "llama-13b": 0.028934,
        },
        abs=5e-6,
    )
    assert [row["model"] for row in made["rows"]] == [
        "gpt-4", "claude-v1", "gpt-3.5-turbo", "vicuna-13b-v1.2", "alpaca-13b", "llama-13b",
    ]  # fmt: skip
    assert (made["pairs"], made["comparisons"]) == (1814, 3355)


async def test_win_rates_by_people_and_by_peers(client: httpx.AsyncClient) -> None:
    await upload_set(client, "prd_vicuna80")
    expected = reference("prd_vicuna80")
    by_people = await rank(client, "prd_vicuna80", method="win_rate", votes="mean_sign")
    rates = {model: found["value"] for model, found in column(by_people, "win_rate").items()}
    assert rates == pytest.approx(expected["win_rate_human"]["value"], abs=1e-12)
    for judge in ("gpt4", "gpt35", "claude", "bard", "vicuna-13b"):
        # the mean of both orders is the recorded p_a
        asked = {"source": f"judge:{judge}", "method": "win_rate", "soft": True}
        by_judge = column(await rank(client, "prd_vicuna80", **asked), "win_rate")
        rates = {model: found["value"] for model, found in by_judge.items()}
        assert rates == pytest.approx(expected[f"win_rate_{judge}"]["value"], abs=1e-12)


async def test_fifty_nine_models(client: httpx.AsyncClient) -> None:
    await upload_set(client, "llmfao")
    folder = data_dir() / "llmfao"
    published = json.loads((folder / "published_leaderboard.json").read_text(encoding="utf-8"))
    made = await rank(client, "llmfao")
    assert len(made["rows"]) == 59
    by_people = published["crowd-comparisons.csv"]
    scores = {model: row["score"] for model, row in by_people.items()}
    assert column(made, "strength") == pytest.approx(scores, abs=5e-6)
    assert column(made, "pairs") == {model: row["pairs"] for model, row in by_people.items()}
    golden = data_dir() / "evalica_golden" / "llmfao-golden.csv"
    with golden.open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    for method in ("counting", "average_win_rate", "elo"):
        of_method = {r["item"]: float(r["score"]) for r in rows if r["algorithm"] == method}
        ratings = column(await rank(client, "llmfao", method=method), "rating")
        values = {model: rating["value"] for model, rating in ratings.items()}
        assert values == pytest.approx(of_method, abs=1e-9), method
