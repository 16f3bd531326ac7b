"""Leaderboards over HTTP give the published tables, and labels put a judge's verdicts right."""

from __future__ import annotations

import csv
import json
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import httpx
import numpy as np
import pytest

from app.core.settings import Settings
from app.main import create_app
from tests.app.rows import upload
from tests.conftest import client_of
from tests.data_sets import data_dir, rows

REVIEWERS = ("gpt4", "claude", "gpt35", "bard", "vicuna-13b")
CONFIG = f"""
[judges.peers]
kind = "recorded"
members = {list(REVIEWERS)}
"""
_WINNER = {"left": "a", "right": "b", "tie": "tie"}


@pytest.fixture(scope="module")
async def client(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[httpx.AsyncClient]:
    data_dir()
    folder = tmp_path_factory.mktemp("leaderboards")
    config = folder / "tribunal.toml"
    config.write_text(CONFIG)
    app = create_app(Settings(database_url=f"sqlite:///{folder}/test.db", config=config))
    async with app.router.lifespan_context(app), client_of(app) as opened:
        yield opened


@pytest.fixture(scope="module")
async def prd(client: httpx.AsyncClient) -> str:
    return str((await upload(client, "prd", list(rows("prd_vicuna80"))))["id"])


@pytest.fixture(scope="module")
async def llmfao(client: httpx.AsyncClient) -> str:
    return str((await upload(client, "llmfao", list(rows("llmfao"))))["id"])


@pytest.fixture(scope="module")
async def mtbench(client: httpx.AsyncClient) -> str:
    return str((await upload(client, "mtbench", list(rows("mtbench_human"))))["id"])


async def rank(client: httpx.AsyncClient, dataset: str, **asked: Any) -> dict[str, Any]:
    answer = await client.post("/v1/leaderboards", json={"dataset": dataset, **asked})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def numbers() -> list[dict[str, Any]]:
    loaded: dict[str, Any] = json.loads((data_dir() / "reference.json").read_text("utf-8"))
    found: list[dict[str, Any]] = loaded["numbers"]
    return found


def values(made: dict[str, Any], name: str) -> dict[str, float]:
    return {row["model"]: row[name]["value"] for row in made["rows"]}


@pytest.mark.parametrize(
    ("source", "table"),
    [
        ("human", "crowd-comparisons.csv"),
        ("judge:gpt-3.5-turbo-instruct", "gpt3-crowd-comparisons.csv"),
    ],
)
async def test_the_published_strengths_of_59_models(
    client: httpx.AsyncClient, llmfao: str, source: str, table: str
) -> None:
    path = data_dir() / "llmfao" / "published_leaderboard.json"
    published = json.loads(path.read_text("utf-8"))[table]
    made = await rank(client, llmfao, source=source)
    strength = {row["model"]: row["strength"] for row in made["rows"]}
    total = sum(row["score"] for row in published.values())
    scores = {model: row["score"] / total for model, row in published.items()}
    assert strength == pytest.approx(scores, abs=5e-6)
    assert len(strength) == 59
    # published scores have six digits: equal ones may stand in any order
    ordered = [scores[row["model"]] for row in made["rows"]]
    assert all(above >= below - 1e-6 for above, below in pairwise(ordered))
    assert {row["model"]: row["pairs"] for row in made["rows"]} == {
        model: row["pairs"] for model, row in published.items()
    }


async def test_the_published_order_by_gpt4(client: httpx.AsyncClient, llmfao: str) -> None:
    """Its published strengths come from a fit that stopped early: the order alone is held to."""
    path = data_dir() / "llmfao" / "published_leaderboard.json"
    published = json.loads(path.read_text("utf-8"))["gpt4-crowd-comparisons.csv"]
    made = await rank(client, llmfao, source="judge:gpt-4")
    assert [row["model"] for row in made["rows"]] == sorted(
        published, key=lambda model: published[model]["rank"]
    )


@pytest.mark.parametrize("reviewer", ["human", *REVIEWERS, "all"])
async def test_win_rates_of_peers_to_the_last_digit(
    client: httpx.AsyncClient, prd: str, reviewer: str
) -> None:
    key = {"set": "prd_vicuna80", "id": f"win_rate_{reviewer}"}
    expected = next(one for one in numbers() if {"set": one["set"], "id": one["id"]} == key)
    asked: dict[str, Any] = {"votes": "mean_sign"}
    if reviewer != "human":
        judge = "peers" if reviewer == "all" else reviewer
        asked = {"source": f"judge:{judge}", "soft": True}
    made = await rank(client, prd, method="win_rate", **asked)
    assert values(made, "win_rate") == pytest.approx(expected["value"], abs=1e-12)


@pytest.mark.parametrize("name", ["simple", "food", "llmfao"])
async def test_golden_tables_of_evalica(client: httpx.AsyncClient, name: str) -> None:
    folder = data_dir() / "evalica_golden"
    with (folder / f"{name}.csv").open(encoding="utf-8") as file:
        played = [
            {
                "model_a": row["left"],
                "model_b": row["right"],
                "human": [{"annotator": None, "label": _WINNER[row["winner"]]}],
            }
            for row in csv.DictReader(file)
        ]
    await upload(client, f"golden-{name}", played)
    with (folder / f"{name}-golden.csv").open(encoding="utf-8") as file:
        golden = list(csv.DictReader(file))
    tolerances = {"counting": 1e-9, "average_win_rate": 1e-9, "elo": 1e-9, "bradley_terry": 1e-6}
    for method, tolerance in tolerances.items():
        made = await rank(client, f"golden-{name}", method=method)
        found = values(made, "rating")
        if method == "bradley_terry":
            found = {row["model"]: row["strength"] for row in made["rows"]}
        expected = {
            row["item"]: float(row["score"]) for row in golden if row["algorithm"] == method
        }
        assert found == pytest.approx(expected, abs=tolerance), method


async def test_the_strengths_by_the_votes_of_mt_bench(
    client: httpx.AsyncClient, mtbench: str
) -> None:
    made = await rank(client, mtbench)
    strengths = {
        "gpt-4": 0.340784,
        "claude-v1": 0.233447,
        "gpt-3.5-turbo": 0.223567,
        "vicuna-13b-v1.2": 0.115959,
        "alpaca-13b": 0.057309,
        "llama-13b": 0.028934,
    }
    found = {row["model"]: row["strength"] for row in made["rows"]}
    assert found == pytest.approx(strengths, abs=5e-6)
    assert list(found) == list(strengths)
    assert (made["pairs"], made["comparisons"]) == (1814, 3355)


async def test_task_slices_of_mt_bench(client: httpx.AsyncClient, mtbench: str) -> None:
    made = await rank(client, mtbench, group_by="category", ties="davidson")
    assert len(made["groups"]) == 8
    for part in made["groups"]:
        assert len(part["rows"]) == 6
        assert part["rankable"] in (True, False)
        assert all(row["rank_low"] <= row["rank"] <= row["rank_high"] for row in part["rows"])


async def test_style_control_of_mt_bench(client: httpx.AsyncClient, mtbench: str) -> None:
    made = await rank(client, mtbench, control=["length", "style"])
    assert [one["name"] for one in made["coefficients"]] == [
        "length", "headings", "list_items", "bold",
    ]  # fmt: skip
    assert made["rows"][0]["model"] == "gpt-4"


class Draws:
    """A tenth of the labels, again and again, against the value of all of them."""

    def __init__(self, truth: dict[str, float]) -> None:
        self.truth = truth
        self.hits: list[bool] = []
        self.widths: list[float] = []

    def add(self, made: dict[str, Any]) -> None:
        for row in made["rows"]:
            rating, alone = row["rating"], row["human_only"]
            self.hits.append(rating["low"] <= self.truth[row["model"]] <= rating["high"])
            if alone is not None and alone["low"] is not None:
                width = rating["high"] - rating["low"]
                self.widths.append(width / (alone["high"] - alone["low"]))


async def test_a_tenth_of_the_labels_and_gpt4_over_http(
    client: httpx.AsyncClient, mtbench: str
) -> None:
    """Six draws show that the service asks the right question; the coverage is tested below it."""
    whole = await rank(
        client, mtbench, source="prediction_powered", judge="gpt-4-pair", method="win_rate"
    )
    # all pairs are labelled: nothing is left to predictions but the same mean of all labels
    draws = Draws(values(whole, "rating"))
    for model, value in values(whole, "human_only").items():
        assert value == pytest.approx(draws.truth[model], abs=1e-9)
    every = list(rows("mtbench_human"))
    for draw in range(6):
        chosen = set(np.random.default_rng([41, draw]).choice(len(every), 181, replace=False))
        some = [
            {**row, "human": row["human"] if i in chosen else []} for i, row in enumerate(every)
        ]
        await upload(client, f"tenth-{draw}", some)
        asked = {"source": "prediction_powered", "judge": "gpt-4-pair", "method": "win_rate"}
        made = await rank(client, f"tenth-{draw}", **asked)
        assert made["prediction_powered"]["labelled"] == 181
        assert made["prediction_powered"]["predicted"] == 1814
        draws.add(made)
    assert len(draws.hits) == 36
    assert np.mean(draws.hits) >= 0.8
    assert np.mean(draws.widths) < 0.95
